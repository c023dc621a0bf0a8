"""The runtime: one revision of one ONNX model behind the Open Inference Protocol v2.

`settings.py` what was asked for → `process.py` start, readiness, drain → `app.py` one HTTP request →
`protocol.py` bytes to tensors and back → `model.py` ONNX Runtime. `telemetry.py` holds the process's own
series.
"""

__all__ = ["main"]


def main() -> int:
    """Entry point of `headgate-serve`."""
    from .process import main as run

    return run()
