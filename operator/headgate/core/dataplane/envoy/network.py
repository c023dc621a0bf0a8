"""Who may connect to a model's routers and to its pods: NetworkPolicies, enforced where the cluster's network does so.

Users reach the routers alone, and can't pass by what these ask, limit and count; the model's pods take requests of no
one but their own routers. Kubelets' probes come from the node, which policies let through.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.api import COMPONENT_LABEL, contract
from headgate.core.dataplane import ChildName
from headgate.core.dataplane.envoy.router import router_name
from headgate.core.manifests.metadata import Manifest, metadata, selector
from headgate.core.model import NetworkAccess, Observation

_API_VERSION, _KIND = "networking.k8s.io/v1", "NetworkPolicy"
_INFERENCE = (contract.RUNTIME_HTTP_PORT, contract.RUNTIME_GRPC_PORT)
_EVERYBODY: Sequence[Mapping[str, Any]] = ()


def network_policies(o: Observation) -> list[Manifest]:
    """Of the routers and of the model's pods of all revisions; none where the operator's settings want none."""
    access = o.defaults.network
    if access is None:
        return []
    routers = [{"podSelector": {"matchLabels": selector(o.name, contract.ROUTER_COMPONENT)}}]
    preflights = [{"podSelector": {"matchLabels": selector(o.name, contract.PREFLIGHT_COMPONENT)}}]
    # A custom engine's monitor takes its samples at the port of its metrics.
    return [
        _policy(
            o,
            router_name(o),
            contract.ROUTER_COMPONENT,
            _let_in(_clients(o), contract.ROUTER_HTTP_PORT),
            _let_in(access.scrapers, contract.ROUTER_METRICS_PORT, contract.AGENT_PORT),
        ),
        _policy(
            o,
            o.name,
            contract.RUNTIME_COMPONENT,
            _let_in(routers, *_INFERENCE),
            _let_in(preflights, contract.RUNTIME_HTTP_PORT),
            _let_in(_scrapers_and(routers, access), contract.RUNTIME_METRICS_PORT),
        ),
    ]


def unwanted_policies(o: Observation) -> list[ChildName]:
    """Both, where the operator's settings want none."""
    return [] if o.defaults.network else [ChildName(_API_VERSION, _KIND, name) for name in (router_name(o), o.name)]


def _clients(o: Observation) -> Sequence[Mapping[str, Any]]:
    """Who may ask the routers: those that the spec names, and routers of models beside it that may fall back to it."""
    named = o.spec.traffic.clients
    beside = {"podSelector": {"matchLabels": {COMPONENT_LABEL: contract.ROUTER_COMPONENT}}}
    return [*named, beside] if named else _EVERYBODY


def _scrapers_and(routers: Sequence[Mapping[str, Any]], access: NetworkAccess) -> Sequence[Mapping[str, Any]]:
    return [*access.scrapers, *routers] if access.scrapers else _EVERYBODY


def _policy(o: Observation, name: str, component: str, *ingress: Manifest) -> Manifest:
    return {
        "apiVersion": _API_VERSION,
        "kind": _KIND,
        "metadata": metadata(o, name, component),
        "spec": {
            "podSelector": {"matchLabels": selector(o.name, component)},
            "policyTypes": ["Ingress"],
            "ingress": list(ingress),
        },
    }


def _let_in(peers: Sequence[Mapping[str, Any]], *ports: int) -> Manifest:
    """A rule: these peers (none: everybody) at these ports, by number: networks don't all find a sidecar's by name."""
    where = {"ports": [{"protocol": "TCP", "port": port} for port in ports]}
    return {**({"from": [*peers]} if peers else {}), **where}
