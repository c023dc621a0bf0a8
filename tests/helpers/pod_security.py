"""A checker for the "restricted" level of the Pod Security Standards, over a pod's spec."""

from collections.abc import Iterator
from typing import Any

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: dict[str, Any]) -> list[Any]:
    """Everything for which the admission controller would refuse the pod."""
    found = [f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    found += [f"volume {v['name']} is a {kind}" for v in pod.get("volumes", []) for kind in set(v) - {"name"} - VOLUMES]
    shared = pod.get("securityContext", {})
    for container in [*pod.get("initContainers", []), *pod["containers"], *pod.get("ephemeralContainers", [])]:
        found += [f"{container['name']}: {text}" for text in _container(container, shared)]
    return found


def _container(container: dict[str, Any], shared: dict[str, Any]) -> Iterator[Any]:
    own = container.get("securityContext", {})

    def effective(field: Any) -> Any:
        return own.get(field, shared.get(field))

    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if effective("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if effective("runAsUser") == 0:
        yield "runs as root"
    if (effective("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile is not RuntimeDefault or Localhost"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort is set"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
