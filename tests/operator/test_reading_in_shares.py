"""A model with more pods than one answer of Prometheus holds is judged all the same."""

import asyncio
import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import httpx
import pytest

from fakes import FakeMetrics
from headgate import reconcile
from headgate.api import contract
from headgate.api.spec import Spec
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.provenance import ModelPods
from headgate.core.signals.predictions import PREDICTION_SHIFT, Predictions, PredictionState
from headgate.core.statistics.counters import TARGET_POD, Series
from headgate.edges import prometheus
from headgate.edges.prometheus import MOST_BYTES, Prometheus
from headgate.edges.prometheus_access import Access
from headgate.edges.promql import AnyOf, Labels
from headgate.errors import TooMuchData
from headgate.observe import METRICS_SECONDS, SPARE_SECONDS, _OwnSeries
from headgate.shares import MOST_REMEMBERED, MOST_SHARES, REMEMBERED_SECONDS, Share, TooLarge, read_in_shares
from model_pods import pod_name, pod_of
from small_cluster import Cluster
from virtual_time import run

SUCCESSES, ERRORS = "envoy_cluster_endpoint_rq_success", "envoy_cluster_endpoint_rq_error"


class Large:
    """A Prometheus with a model of many pods whose candidate fails half of its requests."""

    def __init__(
        self, cluster: Cluster, pods: int, routers: int, bins: int, every: float = 5.0, fails: float = 1.0
    ) -> None:
        self.cluster, self.bins, self.every, self.fails = cluster, bins, every, fails
        self.revisions = [cluster.status[who]["revision"] for who in ("stable", "candidate")]
        self.which = [f"p{at:04}" for at in range(pods)]
        self.routers = [pod_name("fraud-router", f"r{at:03}") for at in range(routers)]
        for revision, which in product(self.revisions, self.which):
            cluster.kube.put(pod_of(revision, revision, which=which))
        for at in range(routers):
            cluster.kube.put(pod_of("fraud-router", which=f"r{at:03}"))
        self.began = cluster.now
        self.sizes, self.longest = list[int](), 0
        self.series = [(labels, json.dumps(labels), gain) for labels, gain in self._series()]
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))
        cluster.metrics = Prometheus(Access(("http://p",)), lambda *_, **__: client)  # type: ignore[assignment]
        cluster.metrics.__dict__["time"] = 0.0
        cluster.reconciler = cluster.restarted()

    def _series(self) -> Iterator[tuple[dict[str, str], float]]:
        """Labels, and how much a counter gains in each scrape."""
        common = {"headgate_model": "fraud", "headgate_namespace": "models", "namespace": "models"}
        for revision, which in product(self.revisions, self.which):
            pod = {**common, "headgate_revision": revision, "pod": pod_name(revision, which), "job": "models/runtime"}
            yield {"__name__": contract.RUNTIME_READY, **pod}, 0.0
            for bin_ in range(self.bins):
                bins = {"layout": "0123456789ab", "output": "label", "bin": f"c{bin_:02} class-{bin_:02}"}
                yield {"__name__": contract.PREDICTIONS, **pod, **bins}, 1.0
        for revision, router, which in product(self.revisions, self.routers, self.which):
            to = {**common, "headgate_revision": revision, "pod": router, "job": "models/router"}
            to["envoy_endpoint_address"] = f"10.0.{which}:8080"
            failing = revision == self.revisions[1]
            yield {"__name__": SUCCESSES, **to}, 1.0
            yield {"__name__": ERRORS, **to}, self.fails if failing else 0.0

    def _handle(self, request: httpx.Request) -> httpx.Response:
        query, at = request.url.params["query"], float(request.url.params.get("time", self.cluster.now))
        self.longest = max(self.longest, len(str(request.url)))
        if query == "time()":
            scalar = {"resultType": "scalar", "result": [self.cluster.now, "0"]}
            return httpx.Response(200, json={"status": "success", "data": scalar})
        text = self._answer(query, at)
        self.sizes.append(len(text))
        return httpx.Response(200, content=text)

    def _answer(self, query: str, at: float) -> bytes:
        span = float(query.rpartition("[")[2].rstrip("s]"))
        wanted = [
            (label, cache(re.compile(json.loads(f'"{value}"') if how == "=~" else re.escape(value)).fullmatch))
            for label, how, value in re.findall(r'(\w+)(=~|=)"((?:[^"\\]|\\.)*)"', query)
        ]
        first, last = int((at - span) // self.every) + 1, int(at // self.every)
        times = [each * self.every for each in range(first, last + 1) if each * self.every > self.began - 60]
        values = {
            gain: json.dumps([[t, str(int(gain * (t - self.began + 60) / self.every))] for t in times])
            for gain in (0.0, 1.0)
        }
        found = ",".join(
            f'{{"metric":{text},"values":{values[gain]}}}'
            for labels, text, gain in self.series
            if all(matches(labels.get(label, "")) for label, matches in wanted)
        )
        return f'{{"status":"success","data":{{"resultType":"matrix","result":[{found}]}}}}'.encode()


async def looked(cluster: Cluster, looks: int = 4) -> None:
    for _ in range(looks):
        await cluster.look(10)
        if cluster.status["phase"] != "Canary":
            return


def healthy(cluster: Cluster) -> Any:
    return next(each for each in cluster.status["conditions"] if each["type"] == "RolloutHealthy")


async def test_a_failing_candidate_with_two_hundred_pods_is_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "LONGEST_RECONCILIATION", 600.0)  # counting bytes takes most of the time
    cluster = await Cluster().canary()
    large = Large(cluster, pods=200, routers=20, bins=20)
    tracemalloc.start()
    await looked(cluster)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(large.sizes) > MOST_BYTES, "it was too much for one answer"
    assert cluster.status["phase"] in ("RollingBack", "RolledBack"), healthy(cluster)
    assert peak < 256 << 20


@pytest.mark.parametrize("every", [1.0, 5.0])
async def test_predictions_that_are_too_much_even_in_shares_keep_no_errors_from_being_counted(
    every: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "MOST_BYTES", 128 << 10)
    cluster = await Cluster().canary()
    Large(cluster, pods=10, routers=2, bins=200, every=every)
    await cluster.look(10)
    await cluster.look(10)
    assert "TooManyPredictions" in healthy(cluster)["message"] or cluster.status["phase"] != "Canary"
    await looked(cluster)
    assert cluster.status["phase"] in ("RollingBack", "RolledBack"), healthy(cluster)
    assert cluster.status["rollout"]["reason"] == "ErrorsHigher"


async def test_what_was_too_much_is_not_asked_again_for_some_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MOST_BYTES", 64 << 10)
    cluster = await Cluster().canary()
    large = Large(cluster, pods=10, routers=2, bins=20, fails=0.0)
    cluster.reconciler.observer.too_large.clock = lambda: cluster.now
    refused = list[int]()
    for seconds in (10, 10, 10, REMEMBERED_SECONDS):
        large.sizes.clear()
        await cluster.look(seconds)
        refused.append(sum(size > prometheus.MOST_BYTES for size in large.sizes))
        assert cluster.status["phase"] == "Canary", healthy(cluster)
    assert refused[0] > 0
    assert refused[1:3] == [0, 0]
    assert refused[3] > 0, "it may fit by now"


def test_what_was_too_much_is_remembered_of_a_bounded_number_of_questions_for_a_bounded_time() -> None:
    now = 0.0
    known = TooLarge(lambda: now)
    for number in range(2 * MOST_REMEMBERED):
        known.add(Share((str(number),), LABELS))
    assert len(known._until) == MOST_REMEMBERED
    assert Share((str(2 * MOST_REMEMBERED - 1),), LABELS) in known
    assert Share(("0",), LABELS) not in known
    now = REMEMBERED_SECONDS + 1
    known.add(Share(NAMES, LABELS))
    assert len(known._until) == 1


async def test_a_large_model_opens_its_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MOST_BYTES", 32 << 10)
    cluster = await Cluster().live()
    cluster.ask("v2")
    await cluster.look()
    cluster.ready()
    large = Large(cluster, pods=10, routers=2, bins=5)
    await cluster.look(5)
    assert max(large.sizes) > prometheus.MOST_BYTES
    assert cluster.status["phase"] == "Canary", healthy(cluster)


def test_slow_predictions_take_no_time_from_what_is_needed() -> None:
    """Together they would take longer than all metrics may, and nothing would be known."""

    async def story(clock: Callable[[], float]) -> None:
        wanted = (*EnvoyDataPlane.comparison_series, contract.PREDICTIONS)
        metrics = Slow()
        source = _OwnSeries(metrics, EnvoyDataPlane(), PODS, clock() + METRICS_SECONDS - SPARE_SECONDS, TooLarge(clock))
        async with asyncio.timeout(METRICS_SECONDS):
            await source.samples(wanted, LABELS, 100.0, 90.0)
        assert source.left_out == {contract.PREDICTIONS}
        assert metrics.answered == [EnvoyDataPlane.comparison_series]

    run(story)


class Slow(FakeMetrics):
    """Too much at once, and each part takes long."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: list[tuple[str, ...]] = []

    async def samples(self, metrics: tuple[str, ...], *_: Any, **__: Any) -> tuple[Any, ...]:
        if len(metrics) > len(EnvoyDataPlane.comparison_series):
            raise TooMuchData("too much")
        await asyncio.sleep(4.0)
        self.answered.append(metrics)
        return ()


async def test_a_good_candidate_whose_predictions_can_not_be_read_waits_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prometheus, "MOST_BYTES", 128 << 10)
    cluster = await Cluster().canary()
    Large(cluster, pods=10, routers=2, bins=200, fails=0.0)
    await looked(cluster, 30)
    assert cluster.status["phase"] == "Canary"
    assert "TooManyPredictions" in healthy(cluster)["message"]


def test_what_can_not_be_read_has_to_be_compared_and_does_not_pass() -> None:
    spec = Spec.model_validate({"model": {"version": "v1", "uri": "file:///m"}})
    state = PREDICTION_SHIFT.fold(PredictionState(), PREDICTION_SHIFT.unread(), spec, 5.0, 1.0)
    assert (PREDICTION_SHIFT.is_due(state, spec), state.logSafe, state.unread) == (True, 0.0, True)
    state = PREDICTION_SHIFT.fold(state, Predictions(), spec, 5.0, 1.0)
    assert (PREDICTION_SHIFT.is_due(state, spec), PREDICTION_SHIFT.note(state, spec)) == (False, "")


PODS = ModelPods(
    frozenset(f"router-{at}" for at in range(7)),
    {revision: frozenset(f"{revision}-{at}" for at in range(120)) for revision in "ab"},
)
LABELS: Labels = {"headgate_model": "fraud", "headgate_revision": AnyOf(("a", "b"))}
NAMES = (SUCCESSES, ERRORS, contract.STARTED, contract.RUNTIME_READY)


@pytest.mark.parametrize(("most", "shares"), [(10_000, 1), (1000, 2), (250, 6)])
async def test_shares_together_have_every_series_once(most: int, shares: int) -> None:
    everything = [
        Series({"__name__": name, "headgate_revision": revision, TARGET_POD: pod, "at": str(at)}, ())
        for revision in "ab"
        for name in NAMES
        for pod in (PODS.serving[revision] if name == contract.RUNTIME_READY else PODS.routers)
        for at in range(1 if name == contract.RUNTIME_READY else 30)
    ]
    asked = 0

    async def ask(share: Share) -> list[Series]:
        nonlocal asked
        found = [each for each in everything if has(share, each)]
        if len(found) > most:
            raise TooMuchData("too much")
        asked += 1
        return found

    found = await read_in_shares(ask, Share(NAMES, LABELS), PODS, TooLarge())
    assert sorted(str(each.labels) for each in found) == sorted(str(each.labels) for each in everything)
    assert asked >= shares


def has(share: Share, series: Series) -> bool:
    wanted = {label: each.values if isinstance(each, AnyOf) else (each,) for label, each in share.labels.items()}
    return series.labels["__name__"] in share.names and all(
        series.labels[label] in wanted.get(label, (series.labels[label],))
        for label in ("headgate_revision", TARGET_POD)
    )


async def test_no_more_than_so_many_shares_are_read() -> None:
    asked = list[Share]()

    async def ask(share: Share) -> list[Series]:
        asked.append(share)
        raise TooMuchData("too much")

    with pytest.raises(TooMuchData):
        await read_in_shares(ask, Share(NAMES, LABELS), PODS, TooLarge())
    assert len(asked) <= 2 * MOST_SHARES


def test_a_question_names_few_pods() -> None:
    of_one = Share((contract.PREDICTIONS,), {**LABELS, "headgate_revision": AnyOf(("a",))})
    parts = list(of_one.parts(PODS))
    named = [part.labels[TARGET_POD] for part in parts]
    assert {pod for each in named if isinstance(each, AnyOf) for pod in each.values} == PODS.serving["a"]
    assert max(len(each.values) for each in named if isinstance(each, AnyOf)) <= 50
    assert list(replace(of_one, labels={**of_one.labels, TARGET_POD: AnyOf(("a-1",))}).parts(PODS)) == []
