"""One place that opens ONNX models, quietly: v3's failures are expected and counted, not logged."""

from __future__ import annotations

import onnx
import onnxruntime as ort

FATAL = 4


def session_of(model: onnx.ModelProto | bytes) -> ort.InferenceSession:
    """A session on the CPU."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
