"""The runtime: one revision of one ONNX model behind the Open Inference Protocol v2.

`settings.py` what was asked for → `process.py` start, readiness, drain → `app.py` one HTTP request →
`protocol.py` bytes to tensors and back → `model.py` ONNX Runtime. `telemetry.py` holds the process's own
series.
"""

import os

# ONNX Runtime's builds report to their maker over the network, and keep a database in the home folder for it.
# A model server in somebody's cluster does neither; this has to be said before ONNX Runtime is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["main"]


def main() -> int:
    """Entry point of `headgate-serve`."""
    from .process import main as run

    return run()
