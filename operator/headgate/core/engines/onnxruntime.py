"""Headgate's own server, on ONNX Runtime."""

from typing import ClassVar

from headgate.api import contract
from headgate.core.engines.engine import (
    INFERENCE_PORTS,
    TLS_FOLDER,
    Engine,
    Manifest,
    identity,
)
from headgate.core.model import Observation, RevisionView


class OnnxRuntime(Engine):
    name: ClassVar = "onnxruntime"

    def process(self, o: Observation, view: RevisionView) -> Manifest:
        health = {"name": contract.HEALTH_PORT_NAME, "containerPort": contract.RUNTIME_HEALTH_PORT}
        secured = view.spec.runtime.tls is not None
        return {
            "command": ["headgate-serve"],
            "args": [
                *(
                    contract.RuntimeArgument.MODEL,
                    "/artifact",
                    contract.RuntimeArgument.NAME,
                    o.name,
                    contract.RuntimeArgument.VERSION,
                    view.spec.model.version,
                ),
                *(
                    contract.RuntimeArgument.HTTP_PORT,
                    str(contract.RUNTIME_HTTP_PORT),
                    contract.RuntimeArgument.GRPC_PORT,
                    str(contract.RUNTIME_GRPC_PORT),
                ),
                *(
                    contract.RuntimeArgument.METRICS_PORT,
                    str(contract.RUNTIME_METRICS_PORT),
                    contract.RuntimeArgument.BASELINE,
                    "/baseline",
                ),
                *(_tls_arguments() if secured else ()),
            ],
            "env": [*identity(o, view), *view.spec.runtime.podTemplate.env],
            "ports": [
                *INFERENCE_PORTS,
                {"name": "metrics", "containerPort": contract.RUNTIME_METRICS_PORT},
                *([health] if secured else ()),
            ],
        }


def _tls_arguments() -> list[str]:
    argument = contract.RuntimeArgument
    return [argument.TLS, TLS_FOLDER, argument.HEALTH_PORT, str(contract.RUNTIME_HEALTH_PORT)]
