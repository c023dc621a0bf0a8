"""The runtime: one revision of one ONNX model behind the Open Inference Protocol v2.

`settings.py` what was asked for → `supervisor.py` sockets, and a new process for one that crashed → `worker.py` start,
readiness, drain. In that process, `http1.py` → `app.py` and `http2.py` → `grpc.py` are the two sides of the protocol;
`protocol.py` and `tensors.py` turn bytes and messages into tensors and back; `inference.py` is one request on its way,
`runner.py` the queue and the batches, `model.py` ONNX Runtime, `telemetry.py` the process's own series.
"""

import os

# ONNX Runtime's builds report to their maker over the network, and keep a database in the home folder for it.
# A model server in somebody's cluster does neither; this has to be said before ONNX Runtime is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["main"]


def main() -> int:
    """Entry point of `headgate-serve`."""
    from .supervisor import main as run

    return run()
