"""The set of documents that Envoy follows, in the form in which they are written.

`render` is called by the agent; `lingering` keeps what requests on their way may still need.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from headgate_serving.router.envoy.config import names
from headgate_serving.router.envoy.config.clusters import cluster_documents, endpoint_document
from headgate_serving.router.envoy.config.routes import route_document
from headgate_serving.router.policy.endpoints import Endpoints, serving, usable
from headgate_serving.router.policy.pod_tls import NO_SECRETS, PodTls
from headgate_serving.router.policy.traffic import Intent


@dataclass(frozen=True, slots=True)
class Documents:
    """One consistent configuration."""

    clusters: Mapping[str, Mapping[str, Any]]
    """By name."""
    routes: Mapping[str, Any]
    endpoints: Mapping[str, Mapping[str, Any]]
    """By service, as `names` calls them."""

    @property
    def routed(self) -> frozenset[str]:
        """The clusters that requests are sent to."""
        return routed_clusters(self.routes)


def render(
    intent: Intent,
    endpoints: Endpoints,
    lingering: Mapping[str, Mapping[str, Any]] | None = None,
    tls: PodTls = NO_SECRETS,
) -> Documents:
    """The configuration for `intent`; `lingering` are clusters of before that stay as they were, `tls` is for pods.

    A cluster that lingers gives way to a new one of the same name. Every cluster has its endpoints' document,
    if only an empty one: Envoy would wait for a missing file.
    """
    clusters: dict[str, Mapping[str, Any]] = dict(lingering or {})
    clusters.update({cluster["name"]: cluster for cluster in cluster_documents(intent, tls)})
    in_order = sorted(clusters, key=lambda name: ("eds_cluster_config" not in clusters[name], name))
    services = {
        cluster["eds_cluster_config"]["service_name"]
        for cluster in clusters.values()
        if "eds_cluster_config" in cluster
    }
    return Documents(
        clusters={name: clusters[name] for name in in_order},
        routes=route_document(intent),
        endpoints={service: _endpoints(service, intent, endpoints) for service in sorted(services)},
    )


def _endpoints(service: str, intent: Intent, endpoints: Endpoints) -> dict[str, Any]:
    """Of stable also those that are not ready, where no other is left: nobody else could answer."""
    revision = names.Cluster.of_service(service).revision
    found = endpoints.get(revision, ())
    is_stable = intent.stable is not None and revision == intent.stable.revision
    return endpoint_document(service, found, frozenset(usable(found) if is_stable else serving(found)))


def routed_clusters(routes: Mapping[str, Any]) -> frozenset[str]:
    """The clusters that a route table names, but those that Envoy has by its bootstrap."""
    actions = [route["route"] for host in routes["virtual_hosts"] for route in host["routes"] if "route" in route]
    weighted = (
        cluster["name"] for action in actions for cluster in action.get("weighted_clusters", {}).get("clusters", ())
    )
    found = frozenset(weighted).union(action["cluster"] for action in actions if "cluster" in action)
    return found - frozenset(names.FALLBACK.values())


def discovery_response(*resources: Mapping[str, Any]) -> tuple[str, str]:
    """The text of an xDS file, and its version: a hash of the content, so that the same content is the same file."""
    content = orjson.dumps(resources, option=orjson.OPT_SORT_KEYS)
    version = hashlib.sha256(content).hexdigest()[:12]
    return f'{{"version_info":"{version}","resources":{content.decode()}}}\n', version
