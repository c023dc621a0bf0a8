"""`make conformance`: models that others made, each served by a real headgate-serve and compared with ONNX Runtime."""
