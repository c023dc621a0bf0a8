"""An API server in a dictionary, and a Prometheus that says what it is told to say."""

import asyncio
import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from kubernetes.aio import client

from headgate.api import MODEL_LABEL
from headgate.core.statistics.counters import Series
from headgate.edges.kube import ApiServer
from headgate.edges.promql import Labels
from headgate.errors import AlreadyThere, Conflict, KubernetesError, MetricsError, NameTaken, NotFound
from headgate.observe import Children


def connected_to(url: Any) -> ApiServer:
    """The real client, to a server of the test's."""
    configuration = client.Configuration()
    configuration.host = str(url).rstrip("/")
    return ApiServer(client.ApiClient(configuration))


class FakeKube:
    """`edges.kube.Kube` over a dictionary. Every request is recorded as (verb, kind, name)."""

    def __init__(self) -> None:
        self.objects: dict[Any, Any] = {}
        self.requests: list[Any] = []
        self.failing: dict[Any, Any] = {}
        """(verb, kind) -> error that the next such request meets."""
        self.before: Callable[[str, str, str], object] = lambda verb, kind, name: None
        """Called before each request: somebody else may act."""
        self._versions = itertools.count(1)

    @property
    def writes(self) -> list[Any]:
        """What was asked for but reads."""
        return [r for r in self.requests if r[0] not in ("get", "list", "discover", "owned")]

    def put(self, manifest: dict[str, Any]) -> None:
        """Store an object as somebody else would."""
        meta = manifest["metadata"]
        self.objects[manifest["kind"], meta["namespace"], meta["name"]] = self._stamped(manifest)

    def find(self, kind: str, name: str, namespace: str = "models") -> Any:
        """The stored object, or None."""
        return self.objects.get((kind, namespace, name))

    def children(self, namespace: str, model: str) -> Children:
        """As the informer would have them."""
        own = [
            o
            for (_, ns, _), o in self.objects.items()
            if ns == namespace and (o["metadata"].get("labels") or {}).get(MODEL_LABEL) == model
        ]

        def of(kind: str) -> Any:
            return [copy.deepcopy(o) for o in own if o["kind"] == kind]

        return Children(of("Deployment"), of("Pod"), of("ModelRevision"))

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self._note("get", kind, name)
        if (kind, namespace, name) not in self.objects:
            raise NotFound(f"no {kind} {name}")
        return copy.deepcopy(self.objects[kind, namespace, name])

    async def list(self, api_version: str, kind: str, namespace: str | None, labels: Mapping[str, Any]) -> list[Any]:
        self._note("list", kind, "")
        return [copy.deepcopy(o) for (k, ns, _), o in self.objects.items() if k == kind and namespace in (None, ns)]

    async def resources(self, api_version: str) -> frozenset[Any]:
        self._note("discover", api_version, "")
        return frozenset({"modeldeployments", "modelrevisions"})

    async def create(self, manifest: dict[str, Any]) -> Any:
        meta = manifest["metadata"]
        self._note("create", manifest["kind"], meta["name"])
        if (manifest["kind"], meta["namespace"], meta["name"]) in self.objects:
            raise AlreadyThere("it exists")
        self.put(manifest)
        return self.find(manifest["kind"], meta["name"], meta["namespace"])

    async def replace(self, manifest: dict[str, Any]) -> Any:
        meta = manifest["metadata"]
        self._note("replace", manifest["kind"], meta["name"])
        self._must_be_newest(manifest)
        self.put(manifest)
        return self.find(manifest["kind"], meta["name"], meta["namespace"])

    async def owned(self, api_version: str, kind: str, namespace: str, name: str, owner: str) -> dict[str, Any]:
        self._note("owned", kind, name)
        found = self.find(kind, name, namespace)
        if found is None:
            raise NotFound(f"no {kind} {name}")
        if (found["metadata"].get("ownerReferences") or [{}])[0].get("uid") != owner:
            raise NameTaken(f"the {kind} {namespace}/{name} is not ours")
        return copy.deepcopy(found)

    async def apply(self, manifest: dict[str, Any], force: bool = True) -> dict[str, Any]:
        kind, meta = manifest["kind"], manifest["metadata"]
        self._note("apply", kind, meta["name"])
        before = self.find(kind, meta["name"], meta["namespace"])
        if before and not force:
            raise Conflict("another manager has other values")
        if "uid" in meta and (before or {"metadata": {"uid": ""}})["metadata"]["uid"] != meta["uid"]:
            raise Conflict("uid mismatch")
        if before and kind == "ModelRevision" and before["spec"] != manifest["spec"]:
            raise KubernetesError("a revision is immutable")
        self.put({**manifest, "status": (before or {}).get("status", {})})
        return copy.deepcopy(self.find(kind, meta["name"], meta["namespace"]))

    async def apply_status(self, manifest: dict[str, Any]) -> dict[str, Any]:
        kind, meta = manifest["kind"], manifest["metadata"]
        self._note("status", kind, meta["name"])
        self._must_be_newest(manifest)
        before = self.find(kind, meta["name"], meta["namespace"])
        if before is None:
            raise NotFound(f"no {kind} {meta['name']}")
        self.put({**before, "status": manifest["status"]})
        return copy.deepcopy(self.find(kind, meta["name"], meta["namespace"]))

    async def delete(self, api_version: str, kind: str, namespace: str, name: str, uid: str) -> None:
        self._note("delete", kind, name)
        if (found := self.find(kind, name, namespace)) and found["metadata"]["uid"] == uid:
            del self.objects[kind, namespace, name]

    async def close(self) -> None:
        self.closed = True

    def _note(self, verb: str, kind: str, name: str) -> None:
        self.before(verb, kind, name)
        self.requests.append((verb, kind, name))
        if error := self.failing.pop((verb, kind), None):
            raise error

    def _must_be_newest(self, manifest: dict[str, Any]) -> None:
        meta = manifest["metadata"]
        before = self.find(manifest["kind"], meta["name"], meta["namespace"])
        told = meta.get("resourceVersion")
        if before and told and told != before["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")

    def _stamped(self, manifest: dict[str, Any]) -> dict[str, Any]:
        stored, meta = copy.deepcopy(manifest), manifest["metadata"]
        before = self.objects.get((manifest["kind"], meta["namespace"], meta["name"]))
        old = before["metadata"] if before else {"generation": 0}
        changed = before is None or before.get("spec") != manifest.get("spec")
        stored["metadata"] |= {
            "uid": old.get("uid") or meta.get("uid") or f"uid-{meta['name']}",
            "creationTimestamp": old.get("creationTimestamp") or "2026-11-20T12:00:00Z",
            "generation": old.get("generation", 0) + changed,
            "resourceVersion": str(next(self._versions)),
        }
        return stored


class FakeMetrics:
    """`edges.prometheus.MetricsSource` that answers with what was put into it."""

    def __init__(self) -> None:
        self.time = 0.0
        self.times_asked = 0
        self.takes = 0.0
        """Seconds for an answer."""
        self.series: Sequence[Series] = ()
        self.sums: dict[Any, Any] = {}
        self.points: Sequence[Series] = ()
        self.error: MetricsError | None = None
        self.error_after: float = math.inf
        """How many questions are answered."""
        self.asked: list[Any] = []

    async def now(self) -> float:
        self.times_asked += 1
        await self._wait()
        if self.error:
            raise self.error
        return self.time

    async def samples(
        self,
        metrics: tuple[str, ...],
        labels: Mapping[str, Any],
        now: float,
        since: float | None,
        look_back: float = 60.0,
    ) -> tuple[Any, ...]:
        self.asked.append((metrics, labels, since, look_back))
        if self.error or len(self.asked) > self.error_after:
            raise self.error or MetricsError("no more")
        await self._wait()
        return tuple(s for s in self.series if s.labels.get("__name__") in metrics)

    async def _wait(self) -> None:
        if self.takes:
            await asyncio.sleep(self.takes)

    async def largest(self, metric: str, labels: Mapping[str, Any], by: tuple[str, ...]) -> Any:
        self.asked.append((metric, labels, by))
        await self._wait()
        if self.error:
            raise self.error
        return self.sums.get(metric, {})

    async def gains(
        self, metric: str, whose: Labels, more: Labels, by: tuple[str, ...], ends: Sequence[float], seconds: float
    ) -> dict[tuple[str, ...], Any]:
        self.asked.append((metric, {**whose, **more}, (tuple(ends), seconds)))
        if self.error or len(self.asked) > self.error_after:
            raise self.error or MetricsError("no more")
        found: dict[tuple[str, ...], Any] = {}
        for series in self.points:
            gained = np.array([_height(series, end) - _height(series, end - seconds) for end in ends])
            whose_bin = tuple(series.labels[name] for name in by)
            found[whose_bin] = found.get(whose_bin, 0.0) + gained
        return found


def _height(series: Series, at: float) -> float:
    """Of a counter that began at 0."""
    return max((value for t, value in series.samples if t <= at), default=0.0)
