"""PURE: one step of the agent, from what it knows to what Envoy should follow, and when the next step is due.

A cluster that no route names any more stays for a while: a request that is on its way may still be tried
again in it. `Memory` says until when. It is made anew from the files when the agent starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate_serving.router.envoy.config import Documents, render
from headgate_serving.router.envoy.config.clusters import cluster_documents
from headgate_serving.router.policy.endpoints import Endpoints
from headgate_serving.router.policy.pod_tls import NO_SECRETS, PodTls
from headgate_serving.router.policy.traffic import Intent

LINGER_SECONDS = 5.0
"""How long a cluster stays beyond the time budget of the last request that it may have got."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the last step left: the clusters that Envoy knows, and when those without a route may go."""

    clusters: Mapping[str, Mapping[str, Any]]
    until: Mapping[str, float]

    @property
    def next_due(self) -> float | None:
        """When there is something to do even if nothing changes."""
        return min(self.until.values(), default=None)


def step(
    memory: Memory, intent: Intent, endpoints: Endpoints, now: float, tls: PodTls = NO_SECRETS
) -> tuple[Documents, Memory]:
    """What Envoy should follow from `now` on."""
    needed = {cluster["name"] for cluster in cluster_documents(intent)}
    linger = now + intent.policy.timeout_ms / 1000 + LINGER_SECONDS
    until = {name: memory.until.get(name, linger) for name in memory.clusters if name not in needed}
    until = {name: deadline for name, deadline in until.items() if deadline > now}
    documents = render(intent, endpoints, {name: memory.clusters[name] for name in until}, tls)
    return documents, Memory(documents.clusters, until)
