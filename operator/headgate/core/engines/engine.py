"""What an engine is: the process of a serving pod, what stands beside it, and who counts its predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from headgate.api import contract
from headgate.core.model import Observation, RevisionView

Manifest = dict[str, Any]

TLS_FOLDER = "/tls"
"""Where the pods' certificate is, of a revision that has one."""

INFERENCE_PORTS = (
    {"name": contract.HTTP_PORT_NAME, "containerPort": contract.RUNTIME_HTTP_PORT},
    {"name": contract.GRPC_PORT_NAME, "containerPort": contract.RUNTIME_GRPC_PORT},
)


class Engine(ABC):
    """One engine. All of them speak the Open Inference Protocol at the same ports, with its health paths."""

    name: ClassVar[str]
    """In `spec.runtime.engine`."""
    counts_itself: ClassVar[bool] = True
    """Whether it counts inputs and predictions. Beside another one a monitor does, from requests that the routers copy
    to it, and the revision freezes Headgate's image as well, for the monitor and the fetcher."""
    writes: ClassVar[Sequence[str]] = ()
    """Folders that its process may write to."""

    @abstractmethod
    def process(self, o: Observation, view: RevisionView) -> Manifest:
        """Command, arguments, environment and ports of the container `runtime`."""

    def sidecars(self, o: Observation, view: RevisionView, mounts: Sequence[Manifest]) -> Sequence[Manifest]:
        """Native sidecars, which start before the engine and outlive it. `mounts` hold the artifact, read-only."""
        return ()

    def fetcher_arguments(self) -> Sequence[str]:
        """Further arguments of the fetcher for artifacts of this engine."""
        return ()

    def service_ports(self) -> Sequence[Manifest]:
        """Ports of the revision's Service besides those for inference."""
        return ()


def identity(o: Observation, view: RevisionView) -> list[Manifest]:
    """The labels of a container's series, in the environment."""
    labels = {
        contract.NAMESPACE_VARIABLE: o.namespace,
        contract.MODEL_VARIABLE: o.name,
        contract.REVISION_VARIABLE: view.name,
    }
    return [{"name": name, "value": value} for name, value in labels.items()]
