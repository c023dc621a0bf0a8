"""Ours beside other model servers on one machine: `python -m bench.serving` measures and writes docs/benchmarks.md.

`cases` makes models and inputs, `messages` turns an input into requests, `servers` knows how each server is started,
`process` starts it and reads what it costs, `load` drives it, `rounds` does all that in turn, `report` writes it down.
`soak` is a command of its own: one server for an hour. So is `alone`: ours beside ONNX Runtime without a server, with
the `larger` models.
"""
