"""Where the pods of each revision are, read from raw EndpointSlices.

The agent calls `endpoints_by_revision` with all slices of its model; `config` writes one EDS document per
revision from the result.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from headgate_serving.router.errors import InvalidEndpoint

REVISION_LABEL = "headgate.dev/revision"
PORT_NAME, GRPC_PORT_NAME = "http", "grpc"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One address of a pod that may get requests; `ready` is false for a pod that still serves while it ends."""

    address: str
    port: int
    pod: str
    ready: bool = True
    grpc_port: int = 0
    """0 for a pod that takes no gRPC."""


Endpoints: TypeAlias = Mapping[str, tuple[Endpoint, ...]]


def endpoints_by_revision(slices: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Endpoint, ...]]:
    """Endpoints of each revision, sorted, each pod once.

    As kube-proxy does it: the ready ones; where none is ready, those that still serve while they terminate.
    """
    found: dict[str, dict[str, Endpoint]] = {}
    for item in slices:
        revision = (item.get("metadata", {}).get("labels") or {}).get(REVISION_LABEL)
        if not revision:
            continue
        known = found.setdefault(revision, {})
        for endpoint in _read_slice(item):
            who = endpoint.pod or endpoint.address
            # A pod may be in two slices, for a moment while it moves between them, or for ever with two IP
            # families.
            known[who] = min(known.get(who, endpoint), endpoint, key=_preference)
    return {revision: usable(known.values()) for revision, known in found.items()}


def _preference(endpoint: Endpoint) -> tuple[bool, bool, str]:
    return (not endpoint.ready, ":" in endpoint.address, endpoint.address)


def usable(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The ready endpoints, or, if there is none, the ones that still serve."""
    everyone = sorted(endpoints)
    return tuple(endpoint for endpoint in everyone if endpoint.ready) or tuple(everyone)


def _read_slice(item: Mapping[str, Any]) -> list[Endpoint]:
    name = item.get("metadata", {}).get("name", "?")
    try:
        ports = {port.get("name"): int(port["port"]) for port in item.get("ports") or ()}
        if PORT_NAME not in ports or item.get("addressType") not in {"IPv4", "IPv6"}:
            return []
        return [
            Endpoint(
                address=endpoint["addresses"][0],
                port=ports[PORT_NAME],
                pod=(endpoint.get("targetRef") or {}).get("name", ""),
                ready=ready,
                grpc_port=ports.get(GRPC_PORT_NAME, 0),
            )
            for endpoint in item.get("endpoints") or ()
            if (ready := _is_ready(endpoint.get("conditions") or {})) is not None
        ]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidEndpoint(f"EndpointSlice {name} can't be read: {error!r}") from error


def _is_ready(conditions: Mapping[str, bool | None]) -> bool | None:
    """True when ready, False when only still serving, None when neither. Unknown counts as ready, as the API says."""
    terminating = conditions.get("terminating") or False
    if conditions.get("ready") is not False and not terminating:
        return True
    return False if terminating and conditions.get("serving") else None
