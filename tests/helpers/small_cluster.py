"""A fake API server with one ModelDeployment, and the reconciler that looks at it."""

from typing import Any, Self

from fakes import FakeKube, FakeMetrics
from headgate.api import API_VERSION, REVISION_LABEL
from headgate.background import BackgroundReadings
from headgate.core.dataplane import DataPlane
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.statistics.counters import Series
from headgate.edges.events import Events
from headgate.edges.telemetry import Telemetry
from headgate.observe import Observer
from headgate.queue import Key
from headgate.reconcile import Reconciler
from headgate.status_writes import StatusWrites
from model_pods import pod_of, scraped
from world import DEFAULTS, START

KEY = Key("models", "fraud")


class Cluster:
    """See above. `plane` instead of Envoy routers."""

    def __init__(self, plane: DataPlane | None = None) -> None:
        self.plane = plane or EnvoyDataPlane()
        self.kube, self.metrics, self.telemetry = FakeKube(), FakeMetrics(), Telemetry()
        self.now, self.leading, self.defaults = START, True, DEFAULTS
        self.preflight = False
        self.events, self.statuses = Events(self.kube, lambda: self.now), StatusWrites(self.kube)
        self.reconciler = self.restarted()
        self.ask("v1")

    def restarted(self) -> Reconciler:
        """A new operator, which knows nothing."""
        observer = Observer(self.metrics, self.plane, self.defaults, 30.0)
        self.news: list[Any] = []
        self.background = BackgroundReadings(self.metrics, self.plane, self.news.append, lambda: self.now)
        return Reconciler(
            self.kube,
            self.kube,
            observer,
            self.background,
            self.telemetry,
            self.events,
            self.statuses,
            lambda: self.leading,
            lambda: self.now,
        )

    def ask(self, version: str, **spec: Any) -> None:
        meta = {"namespace": "models", "name": "fraud"}
        before = self.kube.find("ModelDeployment", "fraud") or {}
        model = {"version": version, "uri": f"file:///models/{version}"}
        off = {"preflight": {"enabled": self.preflight}, "shadow": {"enabled": False}}
        rollout = {**off, **spec.get("rollout", {})}
        self.kube.put(
            {
                "apiVersion": API_VERSION,
                "kind": "ModelDeployment",
                "metadata": meta,
                "spec": {"model": model, **spec, "rollout": rollout},
                "status": before.get("status", {}),
            }
        )

    async def look(self, seconds: float = 1.0) -> float | None:
        self.now += seconds
        self.metrics.time = self.now
        self.kube.requests.clear()
        try:
            return await self.reconciler.reconcile(KEY)
        finally:
            await self.background.settled()
            await self.events.settled()

    def ready(self) -> None:
        """All pods that are asked for are ready."""
        for (kind, *_), found in self.kube.objects.items():
            if kind == "Deployment":
                wanted = found["spec"].get("replicas", 1)
                counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted)
                found["status"] = {"observedGeneration": found["metadata"]["generation"], **counts}
        for (kind, _, name), found in list(self.kube.objects.items()):
            if kind == "Deployment":
                self.kube.put(pod_of(name, (found["metadata"].get("labels") or {}).get(REVISION_LABEL, "")))

    def serve(
        self, candidate: tuple[int, int] = (0, 0), stable: tuple[int, int] = (1000, 0), seconds: float = 1
    ) -> None:
        """What the routers are going to have counted since the cursor: successes and errors."""
        status = self.status
        start = status["rollout"].get("cursor") or self.now - 2
        pairs = ((status["candidate"]["revision"], candidate), (status["stable"]["revision"], stable))
        router = scraped("fraud-router")
        self.metrics.series = [
            Series(
                {"__name__": f"envoy_cluster_endpoint_{name}", "headgate_revision": revision, **router},
                ((start, 0.0), (self.now + seconds, float(count))),
            )
            for revision, counts in pairs
            for name, count in zip(("rq_success", "rq_error"), counts, strict=True)
        ]
        ready = {"__name__": "headgate_ready", "headgate_revision": pairs[1][0], **scraped(pairs[1][0])}
        counting = Series(ready, ((start, 1.0), (self.now + seconds, 1.0)))
        self.metrics.series = [*self.metrics.series, counting]

    async def live(self) -> Self:
        """v1 is stable."""
        await self.look()
        self.ready()
        for seconds in (1, 1, 15, 1):
            await self.look(seconds)
        return self

    async def canary(self) -> Self:
        """... and v2 has its first traffic."""
        await self.live()
        self.ask("v2")
        await self.look()
        self.ready()
        self.serve()
        await self.look()
        assert self.status["phase"] == "Canary"
        return self

    @property
    def status(self) -> Any:
        return self.kube.find("ModelDeployment", "fraud")["status"]

    @property
    def routed(self) -> dict[str, Any]:
        return {t["role"]: t["weight"] for t in self.status["traffic"]}
