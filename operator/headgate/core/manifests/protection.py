"""How a router protects itself and its model: what the agent is told when its pod is made. `router` adds it."""

from headgate.core.manifests.metadata import Manifest
from headgate.core.model import Observation


def protection_arguments(o: Observation) -> list[str]:
    """The agent's arguments."""
    return ["--access-log", o.spec.traffic.accessLog, "--envoy-memory-mib", "$(ENVOY_MEMORY_MIB)"]


def protection_environment() -> list[Manifest]:
    """What only the kubelet knows: how much memory Envoy may use, or the node has where nobody limits that."""
    memory = {"containerName": "envoy", "resource": "limits.memory", "divisor": "1Mi"}
    return [{"name": "ENVOY_MEMORY_MIB", "valueFrom": {"resourceFieldRef": memory}}]
