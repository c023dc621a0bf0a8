"""Any server of the Open Inference Protocol in the user's image, with Headgate's monitor beside it."""

from collections.abc import Sequence
from typing import ClassVar

from headgate.api import contract
from headgate.core.engines.engine import INFERENCE_PORTS, Engine, Manifest, identity
from headgate.core.manifests.metadata import container_security
from headgate.core.model import Observation, RevisionView


class Custom(Engine):
    name: ClassVar = "custom"
    counts_itself: ClassVar = False
    writes: ClassVar = ("/tmp",)

    def process(self, o: Observation, view: RevisionView) -> Manifest:
        """What the user's image starts, unless the spec says otherwise."""
        runtime = view.spec.runtime
        version = {"name": contract.VERSION_VARIABLE, "value": view.spec.model.version}
        return {
            **({"command": runtime.command} if runtime.command else {}),
            **({"args": runtime.args} if runtime.args else {}),
            "env": [*identity(o, view), version, *runtime.podTemplate.env],
            "ports": [*INFERENCE_PORTS],
        }

    def sidecars(self, o: Observation, view: RevisionView, mounts: Sequence[Manifest]) -> Sequence[Manifest]:
        """The monitor: it outlives the engine whose last answers it counts."""
        return [
            {
                "name": "monitor",
                "image": view.spec.runtime.tools,
                "imagePullPolicy": o.defaults.pull_policy,
                "restartPolicy": "Always",
                "command": ["headgate-monitor"],
                "args": [
                    *(
                        contract.MonitorArgument.ARTIFACT,
                        "/artifact",
                        contract.MonitorArgument.BASELINE,
                        "/baseline",
                        contract.MonitorArgument.MODEL,
                        o.name,
                    ),
                    *(contract.MonitorArgument.ENGINE, f"http://127.0.0.1:{contract.RUNTIME_HTTP_PORT}"),
                    *(contract.MonitorArgument.PORT, str(contract.RUNTIME_METRICS_PORT)),
                ],
                "env": identity(o, view),
                "ports": [{"name": "metrics", "containerPort": contract.RUNTIME_METRICS_PORT}],
                "securityContext": container_security(),
                "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
                "volumeMounts": list(mounts),
            }
        ]

    def fetcher_arguments(self) -> Sequence[str]:
        return [contract.FetchArgument.ANY_MODEL]

    def service_ports(self) -> Sequence[Manifest]:
        # By number: Kubernetes of before 1.33 does not find a sidecar's port by its name.
        return [{"name": "samples", "port": contract.RUNTIME_METRICS_PORT, "targetPort": contract.RUNTIME_METRICS_PORT}]
