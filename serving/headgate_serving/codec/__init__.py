"""The Open Inference Protocol: bytes and messages into tensors, and back. Runs no model and knows no connection.

`rest_codec.py` is JSON and `binary.py` its extension for binary tensors, `grpc_codec.py` the messages of
`oip_messages.py`; `lenient.py` reads what other engines and clients send, for counting only. `conversion.py` is the one
conversion of plain values into tensors; `large.py` reads and writes large ones in pieces, and `accounting.py` counts
what they take.
"""
