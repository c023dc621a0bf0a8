"""What is around the operator at a real API server without controllers or nodes: pods that start, routers that follow
`status.traffic`, users who ask a hundred times a second, and what a Prometheus has scraped of all that.

A version whose name begins with `bad` fails three requests of ten.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from headgate.api import COMPONENT_LABEL, MODEL_LABEL, REVISION_LABEL, contract
from headgate.core.dataplane.envoy.series import ERRORS, SUCCESSES, UPTIME
from model_pods import pod_of
from models_there import DEPLOYMENTS, GROUP, MERGE, pods_are_ready
from real_apiserver import Cluster
from told_series import ToldSeries

PODS = "/api/v1/namespaces/models/pods"
REQUESTS = 200.0
"""A second, of each model."""
FAILING = 0.3
"""Of what a bad version is asked."""
_EVERY = 0.5
"""Seconds between two scrapes."""

Labels = tuple[tuple[str, str], ...]


class MadeUpModels:
    """Lives on until it is cancelled, whatever the operator does."""

    def __init__(self, cluster: Cluster, series: ToldSeries) -> None:
        self._cluster = cluster
        self._series = series
        self._counted: dict[Labels, float] = defaultdict(float)
        self._started = self._last = time.time()
        cluster.create("/api/v1/namespaces/models/serviceaccounts", {"metadata": {"name": "default"}})

    async def live(self) -> None:
        """For ever."""
        while True:
            began = time.monotonic()
            await asyncio.to_thread(self._turn)
            await asyncio.sleep(max(0.0, began + _EVERY - time.monotonic()))

    def _turn(self) -> None:
        pods_are_ready(self._cluster)
        deployments = {each["metadata"]["name"]: each for each in self._items(DEPLOYMENTS)}
        pods = self._pods_of(deployments)
        now, took = time.time(), time.time() - self._last
        self._last = now
        scraped = dict[Labels, float]()
        for model in self._items(f"{GROUP}/modeldeployments"):
            scraped |= self._scrape(model, pods, took, now)
        self._series.add(now, scraped)

    def _items(self, collection: str) -> list[Any]:
        found: list[Any] = self._cluster.request("GET", collection)["items"]
        return found

    def _pods_of(self, deployments: Mapping[str, Any]) -> dict[str, list[str]]:
        """Pods as the Deployments ask for; their names, by Deployment."""
        wanted = {
            name: [f"{number:05}" for number in range(each["spec"].get("replicas", 1))]
            for name, each in deployments.items()
        }
        manifests = {
            (pod := self._pod(deployments[name], which))["metadata"]["name"]: (name, pod)
            for name, all_of_it in wanted.items()
            for which in all_of_it
        }
        present = {each["metadata"]["name"] for each in self._items(PODS)}
        for name in present - set(manifests):
            self._cluster.request("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})
        for name in set(manifests) - present:
            self._cluster.create(PODS, manifests[name][1])
            ready = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
            self._cluster.request("PATCH", f"{PODS}/{name}/status", {"status": ready}, MERGE)
        found: dict[str, list[str]] = defaultdict(list)
        for pod, (name, _) in sorted(manifests.items()):
            found[name].append(pod)
        return found

    @staticmethod
    def _pod(deployment: Any, which: str) -> Any:
        meta = deployment["metadata"]
        revision = meta["labels"].get(REVISION_LABEL, "")
        pod = pod_of(meta["name"], revision, meta["labels"][MODEL_LABEL], which=which)
        pod["metadata"]["labels"][COMPONENT_LABEL] = meta["labels"][COMPONENT_LABEL]
        pod["spec"] = {"nodeName": "node", "containers": [{"name": "runtime", "image": "none"}]}
        return pod

    def _scrape(self, model: Any, pods: Mapping[str, list[str]], took: float, now: float) -> dict[Labels, float]:
        """What the routers and the pods of one model say, after users have asked for so many seconds."""
        name, status = model["metadata"]["name"], model.get("status") or {}
        versions = {
            each["revision"]: each["version"] for each in (status.get(role) for role in ("stable", "candidate")) if each
        }
        weights = {each["revision"]: each["weight"] / 100 for each in status.get("traffic") or ()}
        routers = pods.get(f"{name}-router", [])
        said = dict[Labels, float]()
        for pod in routers:

            def of_router(series: str, revision: str = "", pod: str = pod) -> Labels:
                return _labels(series, name, revision, pod)

            said[of_router(contract.ROUTER_WATCH_AGE)] = 0.0
            for revision in weights:
                said[of_router(contract.ROUTER_ROUTES, revision)] = 1.0
            for revision, version in versions.items():
                asked = REQUESTS * took / len(routers) * weights.get(revision, 0.0)
                failed = asked * FAILING if version.startswith("bad") else 0.0
                for series, gained in ((SUCCESSES, asked - failed), (ERRORS, failed)):
                    labels = of_router(series, revision)
                    self._counted[labels] += gained
                    said[labels] = float(int(self._counted[labels]))
                said[of_router(UPTIME, revision)] = float(int(now - self._started + 1000))
        for revision in versions:
            for pod in pods.get(revision, []):
                said[_labels(contract.RUNTIME_READY, name, revision, pod)] = 1.0
        return said


def _labels(series: str, model: str, revision: str, pod: str) -> Labels:
    named = {"__name__": series, "namespace": "models", "pod": pod, "instance": pod, "headgate_model": model}
    named |= {"headgate_namespace": "models", **({"headgate_revision": revision} if revision else {})}
    return tuple(sorted(named.items()))
