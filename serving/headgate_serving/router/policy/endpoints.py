"""Where the pods of each revision are, read from raw EndpointSlices.

The agent calls `endpoints_by_revision` with all slices of its model; `config` writes one EDS document per
revision from the result.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from typing import Any, TypeAlias

from headgate.api import contract
from headgate.api.pod_tls import read_port_name


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
    identity: str = ""
    """Of a pod that speaks TLS: which of the routers' Secrets lets them in (`headgate.api.pod_tls`)."""

    def authority(self, port: int) -> str:
        """The address with a port, as it stands in a URL."""
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"


Endpoints: TypeAlias = Mapping[str, tuple[Endpoint, ...]]


def endpoints_by_revision(
    slices: Iterable[Mapping[str, Any]], complain: Callable[[str], None] = lambda _: None
) -> dict[str, tuple[Endpoint, ...]]:
    """Endpoints of each revision, sorted, each pod once, but those that end and serve no more.

    A slice, or an endpoint in it, that can't be read is left out, and `complain` hears of it: the others are followed.
    """
    found: dict[str, dict[str, Endpoint]] = {}
    for item in slices:
        revision = _revision(item)
        if revision is None:
            continue
        known = found.setdefault(revision, {})
        for endpoint in _read_slice(item, complain):
            who = endpoint.pod or endpoint.address
            # A pod may be in two slices, for a moment while it moves between them, or for ever with two IP
            # families.
            known[who] = min(known.get(who, endpoint), endpoint, key=_preference)
    return {revision: tuple(sorted(known.values())) for revision, known in found.items()}


def _preference(endpoint: Endpoint) -> tuple[State, bool, str]:
    return (endpoint.state, ":" in endpoint.address, endpoint.address)


def usable(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Endpoints in the best state that any of them has.

    As kube-proxy does it: the ready ones; where none is ready, those that still serve while they end. And where there
    are none of those either, the ones that are not ready.
    """
    everyone = tuple(endpoints)
    best = min((endpoint.state for endpoint in everyone), default=State.READY)
    return tuple(endpoint for endpoint in everyone if endpoint.state == best)


def serving(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The usable ones, if Kubernetes says that they serve."""
    return tuple(endpoint for endpoint in usable(endpoints) if endpoint.state is not State.UNREADY)


def _revision(item: Mapping[str, Any]) -> str | None:
    labels = (item.get("metadata") or {}).get("labels")
    revision = labels.get(contract.REVISION_LABEL) if isinstance(labels, Mapping) else None
    return revision if revision and isinstance(revision, str) else None


def _read_slice(item: Mapping[str, Any], complain: Callable[[str], None]) -> list[Endpoint]:
    name = item["metadata"].get("name", "?")
    try:
        ports, identity = _ports(item)
        if contract.HTTP_PORT_NAME not in ports or item.get("addressType") not in {"IPv4", "IPv6"}:
            return []
        entries = list(item.get("endpoints") or ())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        complain(f"EndpointSlice {name}: its ports can't be read: {error!r}")
        return []
    found = list[Endpoint]()
    for number, entry in enumerate(entries):
        try:
            state = _state(entry.get("conditions") or {})
            if state is not None:
                found.append(_endpoint(entry, state, ports, identity))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            complain(f"EndpointSlice {name}: endpoint {number} can't be read: {error!r}")
    return found


def _ports(item: Mapping[str, Any]) -> tuple[dict[str, int], str]:
    """Numbers of the ports that requests go to, by name, and the identity that they want to see; "" in plain text.

    Raises ValueError for a port without a number, and for one that wants another identity than the others.
    """
    found, identities = dict[str, int](), set[str]()
    for port in item.get("ports") or ():
        name, identity = read_port_name(port.get("name") or "")
        if name not in (contract.HTTP_PORT_NAME, contract.GRPC_PORT_NAME, contract.SAMPLES_PORT_NAME):
            continue
        number = port.get("port")
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 65535:
            raise ValueError(f"port {name} is {number!r}")
        found[name] = number
        if name != contract.SAMPLES_PORT_NAME:
            identities.add(identity)
    if len(identities) > 1:
        raise ValueError("its ports want different certificates")
    return found, next(iter(identities), "")


def _endpoint(entry: Mapping[str, Any], state: State, ports: Mapping[str, int], identity: str) -> Endpoint:
    address, pod = entry["addresses"][0], (entry.get("targetRef") or {}).get("name", "")
    ip_address(address if isinstance(address, str) and "%" not in address else "")
    if not isinstance(pod, str):
        raise TypeError(f"targetRef.name is {pod!r}")
    return Endpoint(
        address=address,
        port=ports[contract.HTTP_PORT_NAME],
        pod=pod,
        state=state,
        grpc_port=ports.get(contract.GRPC_PORT_NAME, 0),
        samples_port=ports.get(contract.SAMPLES_PORT_NAME, 0),
        identity=identity,
    )


def _state(conditions: Mapping[str, bool | None]) -> State | None:
    """None for a pod that ends and serves no more. Unknown counts as ready, as the API says."""
    if conditions.get("terminating"):
        return State.ENDING if conditions.get("serving") else None
    return State.UNREADY if conditions.get("ready") is False else State.READY
