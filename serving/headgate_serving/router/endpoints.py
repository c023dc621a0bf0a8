"""Where the pods of each revision are, read from raw EndpointSlices.

The agent calls `endpoints_by_revision` with all slices of its model; `config` writes one EDS document per
revision from the result.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from headgate_serving.router.errors import InvalidEndpoint

REVISION_LABEL = "headgate.dev/revision"
PORT_NAME, GRPC_PORT_NAME, SAMPLES_PORT_NAME = "http", "grpc", "samples"


class State(IntEnum):
    """What Kubernetes says of a pod; the lowest that there is gets the requests."""

    READY = 0
    ENDING = 1
    """It still serves while it ends."""
    UNREADY = 2
    """It may serve all the same: of a node that nobody has heard from, Kubernetes calls all pods unready."""


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One address of a pod."""

    address: str
    port: int
    pod: str
    state: State = State.READY
    grpc_port: int = 0
    """0 for a pod that takes no gRPC."""
    samples_port: int = 0
    """0 for a pod whose engine counts all of its requests itself."""

    def authority(self, port: int) -> str:
        """The address with a port, as it stands in a URL."""
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"


Endpoints: TypeAlias = Mapping[str, tuple[Endpoint, ...]]


def endpoints_by_revision(slices: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Endpoint, ...]]:
    """Endpoints of each revision, sorted, each pod once, but those that end and serve no more."""
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
    return {revision: tuple(sorted(known.values())) for revision, known in found.items()}


def _preference(endpoint: Endpoint) -> tuple[State, bool, str]:
    return (endpoint.state, ":" in endpoint.address, endpoint.address)


def usable(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Those in the best state that there is.

    As kube-proxy does it: the ready ones; where none is ready, those that still serve while they end. And where there
    are none of those either, the ones that are not ready.
    """
    everyone = tuple(endpoints)
    best = min((endpoint.state for endpoint in everyone), default=State.READY)
    return tuple(endpoint for endpoint in everyone if endpoint.state == best)


def serving(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The usable ones, if Kubernetes says that they serve."""
    return tuple(endpoint for endpoint in usable(endpoints) if endpoint.state is not State.UNREADY)


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
                state=state,
                grpc_port=ports.get(GRPC_PORT_NAME, 0),
                samples_port=ports.get(SAMPLES_PORT_NAME, 0),
            )
            for endpoint in item.get("endpoints") or ()
            if (state := _state(endpoint.get("conditions") or {})) is not None
        ]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidEndpoint(f"EndpointSlice {name} can't be read: {error!r}") from error


def _state(conditions: Mapping[str, bool | None]) -> State | None:
    """None for a pod that ends and serves no more. Unknown counts as ready, as the API says."""
    if conditions.get("terminating"):
        return State.ENDING if conditions.get("serving") else None
    return State.UNREADY if conditions.get("ready") is False else State.READY
