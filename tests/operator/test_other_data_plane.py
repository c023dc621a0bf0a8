"""A data plane that is not Envoy's: whole percents, no shadow, one route and no pods of its own."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from headgate.api import API_VERSION, contract
from headgate.api.spec import Spec
from headgate.api.status import Retiring
from headgate.core.dataplane import DataPlane, Read
from headgate.core.manifests.metadata import metadata
from headgate.core.model import BaselineRate, Capabilities, MetricsUnavailable, NoNewSamples, Observation, Workload
from headgate.core.signals.signal import Comparison, PairBlock, Samples
from headgate.core.statistics.counters import Series, read_since
from headgate.core.statistics.rates import AttemptBlock
from small_cluster import Cluster

REQUESTS = "gateway_requests_total"


class GatewaySamples(Samples):
    def attempts(self) -> AttemptBlock:
        counts = []
        for revision in (self.compared.candidate, self.compared.stable):
            mine = [i for i in self.increments if i.labels.get(contract.REVISION) == revision]
            counts += [sum(i.gained for i in mine), sum(i.gained for i in mine if i.labels.get("code") == "5xx")]
        return AttemptBlock(*counts)

    def slow_answers(self) -> None:
        return None

    def pairs(self) -> Any:
        return PairBlock()


class NoHistory:
    def failures(self) -> BaselineRate:
        return BaselineRate()

    def slow_answers(self, edge: Any) -> Any:
        return BaselineRate()

    def time_of(self, part: float) -> float | None:
        return None


class Gateway(DataPlane):
    capabilities = Capabilities(shadow=False, weight_step=1.0)
    comparison_series = history_series = (REQUESTS,)
    pair_series = release_series = ()
    left = True
    """Whether it sends nothing to what retires."""

    def compared(self, spec: Spec, stable: str, candidate: str) -> Comparison:
        return Comparison(stable, candidate)

    def read(
        self, series: Iterable[Series], now: float, cursor: float | None, compared: Comparison, stale_after: float
    ) -> Read | NoNewSamples | MetricsUnavailable:
        found = [s for s in series if s.samples]
        if not found:
            return MetricsUnavailable("The gateway has no samples.")
        reading = read_since(cursor, found, stale_after)
        return Read(reading.cursor, GatewaySamples(found, reading.increments, compared)) if reading else NoNewSamples()

    def read_pairs(self, series: Any, now: Any, cursor: Any, compared: Any, stale_after: Any) -> Read:
        raise AssertionError("it can't copy requests")

    def history(self, series: Iterable[Series], cursor: float, compared: Comparison) -> NoHistory:
        return NoHistory()

    def released(
        self, retiring: Iterable[Retiring], routers: Iterable[str], series: Iterable[Series], clock_ahead: float
    ) -> frozenset[Any]:
        return frozenset(each.revision for each in retiring) if self.left else frozenset()

    def pods(self, name: str, pods: Sequence[Any]) -> frozenset[str]:
        return frozenset()

    def is_own(self, labels: Any, pods: frozenset[str]) -> bool:
        return bool(labels.get("instance") == "gateway")

    def workload(self, name: str, deployments: Sequence[Any], pods: Sequence[Any]) -> Workload:
        return Workload(1, 1, True, available=1)

    def unwanted(self, o: Observation) -> list[Any]:
        return []

    def manifests(self, o: Observation) -> list[Any]:
        route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
        backends = [{"name": t.revision, "weight": t.weight} for t in o.status.traffic]
        meta = metadata(o, o.name, "router")
        return [{**route, "metadata": meta, "spec": {"rules": [{"backendRefs": backends}]}}]


class Routed(Cluster):
    def serve(
        self, candidate: tuple[int, int] = (0, 0), stable: tuple[int, int] = (1000, 0), seconds: float = 1
    ) -> None:
        """Successes and errors of both since the cursor."""
        status = self.status
        start = status["rollout"].get("cursor") or self.now - 2
        self.metrics.series = [
            Series(
                {"__name__": REQUESTS, contract.REVISION: status[who]["revision"], "code": code, "instance": "gateway"},
                ((start, 0.0), (self.now + seconds, float(count))),
            )
            for who, counts in (("candidate", candidate), ("stable", stable))
            for code, count in zip(("2xx", "5xx"), counts, strict=True)
        ]

    @property
    def weights(self) -> list[Any]:
        (rule,) = self.kube.find("HTTPRoute", "fraud")["spec"]["rules"]
        return [backend["weight"] for backend in rule["backendRefs"]]


@pytest.fixture
def cluster() -> Routed:
    return Routed(Gateway())


async def test_a_bad_candidate_is_rolled_back_and_the_route_follows(cluster: Routed) -> None:
    await cluster.canary()
    assert all(weight == int(weight) for weight in cluster.weights)
    assert len(cluster.weights) == 2
    cluster.serve(candidate=(10, 90))
    await cluster.look()
    assert (cluster.status["phase"], cluster.status["rollout"]["reason"]) == ("RollingBack", "ErrorsHigher")
    assert cluster.weights == [100]


async def test_a_good_candidate_is_promoted(cluster: Routed) -> None:
    await cluster.canary()
    for _ in range(8):
        if cluster.status["phase"] != "Canary":
            break
        cluster.serve(candidate=(2000, 0), stable=(8000, 0), seconds=2)
        await cluster.look(2)
        assert all(weight == int(weight) for weight in cluster.weights)
    assert cluster.status["phase"] == "Promoting"
    assert cluster.weights[-1] == 100


async def test_what_it_can_not_do_is_left_out(cluster: Routed) -> None:
    await cluster.live()
    cluster.ask("v2", rollout={"shadow": {}})
    await cluster.look()
    cluster.ready()
    cluster.serve()
    await cluster.look()
    assert cluster.status["phase"] == "Canary", "no shadow first"
    assert "shadow" not in [entry["name"] for entry in cluster.status["rollout"]["evidence"]["signals"]]


async def test_nothing_of_envoy_is_applied(cluster: Routed) -> None:
    await cluster.canary()
    kinds = {(kind, name) for kind, _, name in cluster.kube.objects}
    assert not [name for _, name in kinds if name.endswith("-router")]
    assert ("ModelDeployment", "fraud") in kinds
    assert cluster.kube.find("ModelDeployment", "fraud")["apiVersion"] == API_VERSION


async def test_pods_stay_until_the_gateway_has_left_them(cluster: Routed) -> None:
    await cluster.canary()
    candidate = cluster.status["candidate"]["revision"]
    plane = cluster.plane
    assert isinstance(plane, Gateway)
    plane.left = False
    cluster.serve(candidate=(10, 90))
    for seconds in (1, 10, 10, 10):
        await cluster.look(seconds)
    assert cluster.kube.find("Deployment", candidate)
    plane.left = True
    for seconds in (20, 2):
        await cluster.look(seconds)
    assert cluster.kube.find("Deployment", candidate) is None
