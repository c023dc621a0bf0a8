"""`headgate-serve`: one revision of one ONNX model behind the Open Inference Protocol v2.

`supervisor.py` sockets, and a new process for one that crashed → `worker.py` start, readiness, drain. In that process
`http.http1` → `rest_app.py` and `http.http2` → `grpc_app.py` are the two sides of the protocol; `inference.py` is one
request on its way: the codec's tensors, then the queue and the model of `runtime`, and the status of what went wrong.
"""

__all__ = ["main"]


def main() -> int:
    """Entry point of `headgate-serve`."""
    from .supervisor import main as run

    return run()
