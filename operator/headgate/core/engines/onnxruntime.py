"""Headgate's own server, on ONNX Runtime."""

from typing import ClassVar

from headgate.core.engines.engine import (
    GRPC_PORT,
    HTTP_PORT,
    INFERENCE_PORTS,
    METRICS_PORT,
    Engine,
    Manifest,
    identity,
)
from headgate.core.model import Observation, RevisionView


class OnnxRuntime(Engine):
    name: ClassVar = "onnxruntime"

    def process(self, o: Observation, view: RevisionView) -> Manifest:
        return {
            "command": ["headgate-serve"],
            "args": [
                *("--model", "/artifact", "--name", o.name, "--version", view.spec.model.version),
                *("--http-port", str(HTTP_PORT), "--grpc-port", str(GRPC_PORT)),
                *("--metrics-port", str(METRICS_PORT), "--baseline", "/baseline"),
            ],
            "env": [*identity(o, view), *view.spec.runtime.podTemplate.env],
            "ports": [*INFERENCE_PORTS, {"name": "metrics", "containerPort": METRICS_PORT}],
        }
