"""Who reaches which port under NetworkPolicies, as networking.k8s.io/v1 defines it: an evaluator for ingress."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chart_objects import of_kind

NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Pod:
    """A pod on the network. `ports` are its containers' named ports."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


def pod_of(deployment: Mapping[str, Any]) -> Pod:
    """The pods of a Deployment."""
    template = deployment["spec"]["template"]
    containers = [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]
    ports = {port["name"]: port["containerPort"] for each in containers for port in each.get("ports", [])}
    return Pod(deployment["metadata"]["namespace"], template["metadata"]["labels"], ports)


def reaches(objects: Iterable[dict[str, Any]], source: Pod, target: Pod, port: int) -> bool:
    """Whether a connection from `source` to a TCP port of `target` is let through."""
    about = [each for each in of_kind([*objects], "NetworkPolicy") if _is_about(each, target)]
    rules = [(each["metadata"]["namespace"], rule) for each in about for rule in each["spec"].get("ingress", [])]
    return not about or any(_lets_in(namespace, rule, source, target, port) for namespace, rule in rules)


def _is_about(policy: Mapping[str, Any], pod: Pod) -> bool:
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    return policy["metadata"]["namespace"] == pod.namespace and _picks(policy["spec"]["podSelector"], pod.labels)


def _lets_in(namespace: str, rule: Mapping[str, Any], source: Pod, target: Pod, port: int) -> bool:
    ports = [
        target.ports.get(each["port"], each["port"]) for each in rule.get("ports", []) if each["protocol"] == "TCP"
    ]
    peers = rule.get("from", [])
    return port in ports and (not peers or any(_is_peer(namespace, peer, source) for peer in peers))


def _is_peer(namespace: str, peer: Mapping[str, Any], source: Pod) -> bool:
    assert set(peer) <= {"namespaceSelector", "podSelector"}, "the evaluator knows no addresses"
    where = peer.get("namespaceSelector", {"matchLabels": {NAME_LABEL: namespace}})
    return _picks(where, {NAME_LABEL: source.namespace}) and _picks(peer.get("podSelector", {}), source.labels)


def _picks(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "the evaluator knows no expressions"
    return bool(selector.get("matchLabels", {}).items() <= labels.items())
