"""What one look gathers."""

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from fakes import FakeKube, FakeMetrics
from headgate.api.contract import PREDICTIONS
from headgate.api.spec import Traffic
from headgate.api.stored import as_manifest
from headgate.core.dataplane.envoy import EnvoyDataPlane, give_up_after
from headgate.core.dataplane.envoy.histogram import give_up_edge
from headgate.core.dataplane.envoy.router import router_manifests
from headgate.core.manifests.resource import revision_manifest
from headgate.core.model import BaselineRate, MetricsUnavailable, NewSamples, NoNewSamples, Observation
from headgate.core.revision_pods import runtime_manifests
from headgate.core.statistics.counters import Series
from headgate.core.times import stamp
from headgate.core.user_queries import Asked
from headgate.edges.promql import AnyOf
from headgate.errors import MetricsError
from headgate.observe import HISTORY_SECONDS, METRICS_SECONDS, Children, Observer, revision_kept_on
from headgate.user_signals import NOT_ALLOWED, UserSignals
from headgate_serving.router.envoy.config.budget import LATENCY_EDGES_MS, candidate_try_ms
from interleavings import BACKLOG, CANCELLED
from model_pods import pod_of, scraped
from told import seen_in
from virtual_time import run
from world import DEFAULTS, World, candidate_of, rollout_of, stable_of

SERIES = (*EnvoyDataPlane.comparison_series, PREDICTIONS)


class Scene:
    """A world, written into a fake API server as the operator would have left it."""

    def __init__(self, world: World) -> None:
        self.kube, self.metrics = FakeKube(), FakeMetrics()
        self.observer = Observer(self.metrics, EnvoyDataPlane(), DEFAULTS, stale_after=30.0)
        self.metrics.time = world.now
        o = world.observe()
        for view in world.revisions.values():
            self.kube.put({**revision_manifest(o, view), "status": as_manifest(view.status)})
            for manifest in runtime_manifests(o, view, o.spec.runtime.replicas):
                self.kube.put(manifest)
        for manifest in router_manifests(o):
            self.kube.put(manifest)
        meta = {"namespace": "models", "name": "fraud", "uid": o.uid, "generation": o.generation}
        self.raw = {"metadata": meta, "spec": world.spec, "status": as_manifest(world.status)}
        self.ready(*world._started, "fraud-router")
        for revision in world._started:
            self.kube.put(pod_of(revision, revision))
        self.kube.put(pod_of("fraud-router"))

    def ready(self, *deployments: Any) -> None:
        for name in deployments:
            found = self.kube.find("Deployment", name)
            wanted = found["spec"]["replicas"]
            counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted)
            found["status"] = {"observedGeneration": 99, **counts}

    async def observe(self) -> Observation:
        return await self.observer.observe(self.raw, self.kube.children("models", "fraud"))


@pytest.fixture
def canary() -> Scene:
    """A scene in which v2 is a candidate beside v1."""
    world = World().ask("v1").settled("Stable")
    world.ask("v2").until("Canary")
    return Scene(world)


async def test_everything_that_belongs_to_the_model_is_there(canary: Scene) -> None:
    o = await canary.observe()
    assert (o.namespace, o.name, o.generation) == ("models", "fraud", 2)
    assert {v.spec.model.version for v in o.revisions.values()} == {"v1", "v2"}
    assert set(o.workloads) == set(o.revisions)
    assert all(w.rolled_out for w in o.workloads.values())
    assert (o.router.ready, o.router.rolled_out) == (2, True)
    assert as_manifest(o.status) == canary.raw["status"]


async def test_the_metrics_of_both_revisions_are_read_from_the_cursor_on(canary: Scene) -> None:
    await canary.observe()
    ((metrics, labels, since, _),) = canary.metrics.asked
    status = canary.raw["status"]
    both = AnyOf((status["stable"]["revision"], status["candidate"]["revision"]))
    assert metrics == SERIES
    of = {"namespace": "models", "headgate_namespace": "models", "headgate_model": "fraud"}
    assert labels == {**of, "headgate_revision": both}
    assert since == status["rollout"]["cursor"]


@pytest.fixture
def shadow() -> Scene:
    """A scene in which v2 gets copies."""
    world = World(rollout={"shadow": {"minAgreement": "98%"}}).ask("v1").settled("Stable")
    world.ask("v2").until("Shadow")
    return Scene(world)


async def test_a_shadows_pairs_are_read_and_when_they_pass_what_a_canary_needs(shadow: Scene) -> None:
    await shadow.observe()
    ((metrics, labels, since, _),) = shadow.metrics.asked
    rollout = shadow.raw["status"]["rollout"]
    assert (metrics, since) == (EnvoyDataPlane.pair_series, rollout["cursor"])
    assert rollout["revision"] in labels["headgate_revision"].values
    (entry,) = [each for each in rollout["evidence"]["signals"] if each["name"] == "shadow"]
    entry["state"] = json.dumps({"pairs": 500, "agreed": 500, "logSafe": 9.0})
    shadow.metrics.asked.clear()
    await shadow.observe()
    assert shadow.metrics.asked[0][0] == SERIES
    assert shadow.metrics.asked[0][2] is None


async def test_what_can_not_be_asked_makes_a_shadow_blind(shadow: Scene) -> None:
    shadow.metrics.error = MetricsError("Prometheus can't be asked.")
    assert (await shadow.observe()).metrics == MetricsUnavailable("Prometheus can't be asked.")


async def test_a_prometheus_that_cannot_be_asked_makes_blind(canary: Scene) -> None:
    canary.metrics.error = MetricsError("Prometheus at http://prometheus can't be asked.")
    assert (await canary.observe()).metrics == MetricsUnavailable("Prometheus at http://prometheus can't be asked.")


async def test_fresh_samples_become_a_block(canary: Scene) -> None:
    cursor = canary.raw["status"]["rollout"]["cursor"]
    labels = {
        "__name__": "envoy_cluster_endpoint_rq_success",
        "headgate_revision": canary.raw["status"]["candidate"]["revision"],
        **scraped("fraud-router"),
    }
    ready = {
        "__name__": "headgate_ready",
        "headgate_revision": canary.raw["status"]["stable"]["revision"],
        **scraped(canary.raw["status"]["stable"]["revision"]),
    }
    canary.metrics.series = (
        Series(labels, ((cursor, 10.0), (cursor + 2, 15.0))),
        Series(ready, ((cursor, 1.0), (cursor + 2, 1.0))),
    )
    canary.metrics.time = cursor + 3
    found = (await canary.observe()).metrics
    assert isinstance(found, NewSamples)
    assert (found.cursor, seen_in(found).attempts.candidate_attempts) == (cursor + 2, 5)


class Answers:
    """Says that every query is about the own namespace, and gives each version its number."""

    def __init__(self, **numbers: float) -> None:
        self.numbers = numbers
        self.asked: list[Any] = []

    async def answer(self, endpoint: str, parameters: Any, most: int) -> tuple[int, bytes]:
        self.asked.append((endpoint, dict(parameters)))
        result = [{"metric": {"headgate_revision": r}, "value": [0, str(n)]} for r, n in self.numbers.items()]
        data = {"query": {"resultType": "vector", "result": result}, "parse_query": {"type": "numberLiteral"}}[endpoint]
        return 200, json.dumps({"status": "success", "data": data}).encode()


def with_new_samples(scene: Scene) -> float:
    """The cursor up to which a look at the scene reads."""
    status = scene.raw["status"]
    cursor, stable = float(status["rollout"]["cursor"]), status["stable"]["revision"]
    success = {"__name__": "envoy_cluster_endpoint_rq_success", "headgate_revision": stable, **scraped("fraud-router")}
    ready = {"__name__": "headgate_ready", "headgate_revision": stable, **scraped(stable)}
    scene.metrics.series = tuple(Series(each, ((cursor, 1.0), (cursor + 2, 2.0))) for each in (success, ready))
    scene.metrics.time = cursor + 3
    return cursor + 2


@pytest.fixture
def with_signals() -> Scene:
    world = World(rollout={"signals": [CANCELLED, BACKLOG]}).ask("v1").settled("Stable")
    world.ask("v2").until("Canary")
    return Scene(world)


async def test_the_users_queries_are_asked_for_the_time_that_has_been_read(with_signals: Scene) -> None:
    status = with_signals.raw["status"]
    candidate, stable = status["candidate"]["revision"], status["stable"]["revision"]
    answers = Answers(**{candidate: 3, stable: 5})
    with_signals.observer = replace(with_signals.observer, user_signals=UserSignals(answers))
    cursor = with_new_samples(with_signals)
    found = (await with_signals.observe()).metrics
    assert isinstance(found, NewSamples)
    assert found.blocks["cancelled"] == Asked(cursor, (3, 3), (5, 5))
    assert found.blocks["backlog"] == Asked(cursor, (3,))
    assert {each["time"] for endpoint, each in answers.asked if endpoint == "query"} == {f"{cursor:.3f}"}


async def test_where_users_may_not_ask_their_signals_say_so(with_signals: Scene) -> None:
    cursor = with_new_samples(with_signals)
    found = (await with_signals.observe()).metrics
    assert isinstance(found, NewSamples)
    assert found.blocks["cancelled"] == found.blocks["backlog"] == Asked(cursor, trouble=NOT_ALLOWED)


async def test_without_new_samples_nothing_of_the_users_is_asked(with_signals: Scene) -> None:
    answers = Answers()
    with_signals.observer = replace(with_signals.observer, user_signals=UserSignals(answers))
    assert not isinstance((await with_signals.observe()).metrics, NewSamples)
    assert answers.asked == []


async def test_when_the_candidate_alone_serves_only_bounds_are_asked(with_signals: Scene) -> None:
    world = World(rollout={"signals": [CANCELLED, BACKLOG]}).ask("v1").settled("Stable")
    world.ask("v2").until("Soaking")
    scene = Scene(world)
    answers = Answers(**{candidate_of(world.status).revision: 3})
    scene.observer = replace(scene.observer, user_signals=UserSignals(answers))
    with_new_samples(scene)
    found = (await scene.observe()).metrics
    assert isinstance(found, NewSamples)
    assert "cancelled" not in found.blocks
    assert found.blocks["backlog"].candidate == (3,)


async def test_when_a_canary_may_open_stables_last_half_hour_is_read_too() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2").look()
    scene = Scene(world)
    stable, candidate = stable_of(world.status).revision, candidate_of(world.status).revision
    scene.metrics.series = (*seven_attempts(stable, world.now), *seven_attempts(candidate, world.now))
    found = (await scene.observe()).metrics
    assert seen_in(found).before == BaselineRate(9 * 7, 9 * 2, 1.0, 18.0)
    (_, _, since, _), (metrics, labels, _, look_back) = scene.metrics.asked
    assert (since, look_back) == (None, HISTORY_SECONDS)
    assert labels["headgate_revision"] == stable
    assert metrics == EnvoyDataPlane.history_series


async def test_slow_answers_are_read_where_the_spec_asks_for_them() -> None:
    world = World(rollout={"latency": {"threshold": "200ms"}}).ask("v1").settled("Stable")
    world.ask("v2").look()
    scene = Scene(world)
    stable = stable_of(world.status).revision
    of = {"headgate_revision": stable, **scraped("fraud-router")}
    gains = {("_count", None): 5, ("_bucket", "200"): 3, ("_bucket", "500"): 5}
    times = [
        Series(
            {"__name__": f"envoy_cluster_canary_upstream_rq_time{name}", **of, **({"le": le} if le else {})},
            tuple((world.now - 18 + 2 * i, float(gain * i)) for i in range(10)),
        )
        for (name, le), gain in gains.items()
    ]
    scene.metrics.series = (*seven_attempts(stable, world.now), *times)
    found = (await scene.observe()).metrics
    assert (seen_in(found).slow.edge, seen_in(found).slow_before) == (200, BaselineRate(9 * 5, 9 * 2, 1.0))


@pytest.mark.parametrize("chain", [[], [{"modelDeployment": "simple"}]])
@pytest.mark.parametrize("timeout_ms", [1, 10, 100, 200, 450, 1000, 3000, 60_000])
def test_stable_is_late_where_the_router_gives_up_a_candidate(timeout_ms: int, chain: list[Any]) -> None:
    """Both sides have the rule: the operator as a share of the budget, the router as an edge of its histogram."""
    seconds = give_up_after(Traffic.model_validate({"timeout": f"{timeout_ms}ms", "fallback": chain}))
    edge = give_up_edge([float(edge) for edge in LATENCY_EDGES_MS], seconds) or 1
    assert edge == candidate_try_ms(timeout_ms, fallback=bool(chain))
    assert give_up_after(Traffic(retryOnStable=False)) is None


async def test_while_stables_past_cannot_be_read_no_canary_opens() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2").look()
    scene = Scene(world)
    scene.metrics.series = seven_attempts(stable_of(world.status).revision, world.now)
    scene.metrics.error_after = 1
    assert isinstance((await scene.observe()).metrics, MetricsUnavailable)


def seven_attempts(revision: str, now: float) -> tuple[Any, ...]:
    """Ten samples of a revision's pod: five answers and two errors from each to the next."""
    of = {"headgate_revision": revision, **scraped("fraud-router"), "envoy_endpoint_address": "10.0.0.1:8000"}
    gains = {"envoy_cluster_endpoint_rq_success": 5.0, "envoy_cluster_endpoint_rq_error": 2.0}
    routers = [
        Series({"__name__": name, **of}, tuple((now - 18 + 2 * i, 100 + gain * i) for i in range(10)))
        for name, gain in gains.items()
    ]
    ready = {"__name__": "headgate_ready", "headgate_revision": revision, **scraped(revision)}
    return (*routers, Series(ready, ((now - 1, 1.0), (now, 1.0))))


async def test_nothing_is_asked_when_nothing_is_rolled_out() -> None:
    scene = Scene(World().ask("v1").settled("Stable"))
    assert (await scene.observe()).metrics == NoNewSamples()
    assert scene.metrics.asked == []


async def test_nothing_is_asked_before_the_candidates_pods_are_ready() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2").look()
    scene = Scene(world)
    scene.kube.find("Deployment", candidate_of(world.status).revision)["status"] = {}
    assert (await scene.observe()).metrics == NoNewSamples()
    assert scene.metrics.asked == []
    scene.ready(candidate_of(world.status).revision)
    assert isinstance((await scene.observe()).metrics, MetricsUnavailable)


async def test_a_model_without_children_is_observed_as_empty() -> None:
    raw = {
        "metadata": {"namespace": "models", "name": "fraud", "uid": "u"},
        "spec": {"model": {"version": "v1", "uri": "file:///m"}},
    }
    o = await Observer(FakeMetrics(), EnvoyDataPlane(), DEFAULTS, 30.0).observe(raw, Children())
    assert (o.revisions, o.workloads, o.status.phase, o.generation) == ({}, {}, "Pending", 0)
    assert (o.router.ready, o.metrics, o.drift) == (0, NoNewSamples(), None)


async def test_a_spec_that_cannot_be_read_is_an_error(canary: Scene) -> None:
    canary.raw["spec"] = {"model": {}}
    with pytest.raises(ValidationError):
        await canary.observe()


async def test_a_status_of_a_newer_operator_can_be_read(canary: Scene) -> None:
    canary.raw["status"]["later"] = {"field": 1}
    canary.raw["status"]["rollout"]["evidence"]["signals"].append({"name": "newer", "state": "7", "more": {}})
    assert rollout_of((await canary.observe()).status).phase == "Canary"


async def test_the_time_is_asked_for_once_in_a_look(canary: Scene) -> None:
    await canary.observe()
    assert (canary.metrics.times_asked, len(canary.metrics.asked)) == (1, 1)


def pending() -> tuple[Any, ...]:
    """A scene in which v2 is ready, and its canary may open."""
    world = World().ask("v1").settled("Stable")
    world.ask("v2").look()
    return world, Scene(world)


def test_what_a_canary_needs_to_open_is_read_at_the_same_time() -> None:
    async def story(clock: Any) -> None:
        world, scene = pending()
        both = (world.status.stable.revision, world.status.candidate.revision)
        scene.metrics.series = [each for revision in both for each in seven_attempts(revision, world.now)]
        scene.metrics.takes, start = 2.0, clock()
        assert isinstance((await scene.observe()).metrics, NewSamples)
        assert clock() - start == pytest.approx(4.0), "the time, then both readings together"

    run(story)


def test_a_prometheus_that_is_too_slow_makes_blind_after_a_bounded_time() -> None:
    async def story(clock: Any) -> None:
        _, scene = pending()
        scene.metrics.takes, start = 4.0, clock()
        found = (await scene.observe()).metrics
        assert isinstance(found, MetricsUnavailable)
        assert f"{METRICS_SECONDS:g} seconds" in found.message
        assert clock() - start == pytest.approx(METRICS_SECONDS)

    run(story)


def test_a_deployment_keeps_what_its_record_holds() -> None:
    world, scene = pending()
    candidate = world.status.candidate.revision
    kept = revision_kept_on(scene.kube.find("Deployment", candidate))
    view = world.revisions[candidate]
    assert kept
    assert (kept.name, kept.spec, kept.recorded) == (candidate, view.spec, False)
    assert kept.status.baseline == view.status.baseline is not None
    assert revision_kept_on(scene.kube.find("Deployment", "fraud-router")) is None


async def test_what_another_object_of_this_name_did_is_no_history() -> None:
    world, scene = pending()
    both = (world.status.stable.revision, world.status.candidate.revision)
    scene.metrics.series = [each for revision in both for each in seven_attempts(revision, world.now)]
    scene.raw["metadata"]["creationTimestamp"] = stamp(world.now - 100)
    await scene.observe()
    assert scene.metrics.asked[1][3] == 100
