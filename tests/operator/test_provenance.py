"""Only series of a model's own pods count, whatever other exporters say that they are."""

from collections.abc import Sequence
from typing import Any

import pytest

from headgate.api.contract import PREDICTIONS, ROUTER_WATCH_AGE
from headgate.api.status import Retiring
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.model import Foreign
from headgate.core.provenance import ModelPods, is_own, pods_of, sift, together
from headgate.core.statistics.counters import Series
from headgate.core.times import stamp
from headgate.known_pods import MOST_PODS, REMEMBERED_SECONDS, KnownPods
from headgate.queue import Key
from model_pods import pod_name, pod_of, scraped
from small_cluster import Cluster

ERRORS, SUCCESSES = "envoy_cluster_endpoint_rq_error", "envoy_cluster_endpoint_rq_success"
EVIL = {"namespace": "models", "pod": "evil-0", "instance": "evil"}
KEY = Key("models", "fraud")


def forged(cluster: Cluster, count: int, name: str, seconds: float = 1.0, whose: Any = None, **labels: Any) -> Series:
    """A counter that another pod exports of the candidate."""
    revision = cluster.status["candidate"]["revision"]
    start = cluster.status["rollout"].get("cursor") or cluster.now
    of = {"__name__": name, "headgate_revision": revision, **(EVIL if whose is None else whose), **labels}
    return Series(of, ((start, 0.0), (cluster.now + seconds, float(count))))


def condition(cluster: Cluster) -> Any:
    return next(c for c in cluster.status["conditions"] if c["type"] == "ForeignMetrics")


def counted(cluster: Cluster, why: str) -> float | None:
    labels = {"headgate_namespace": "models", "headgate_model": "fraud", "why": why}
    return cluster.telemetry.registry.get_sample_value("headgate_foreign_series_total", labels)


async def test_errors_that_another_pod_tells_roll_nothing_back() -> None:
    cluster = await Cluster().canary()
    cluster.serve(candidate=(100, 0))
    cluster.metrics.series = [*cluster.metrics.series, forged(cluster, 100_000, ERRORS)]
    await cluster.look()
    assert cluster.status["phase"] == "Canary"
    assert (condition(cluster)["status"], condition(cluster)["reason"]) == ("True", "ForeignPods")
    assert "evil-0" in condition(cluster)["message"]
    assert counted(cluster, "unknown") == 1
    assert "Event" in [kind for _, kind, _ in cluster.kube.requests]


async def test_answers_that_another_pod_tells_promote_nothing() -> None:
    cluster = await Cluster().canary()
    for _ in range(3):
        if cluster.status["phase"] != "Canary":
            break
        cluster.serve(candidate=(100, 100), seconds=2)
        cluster.metrics.series = [*cluster.metrics.series, forged(cluster, 10**7, SUCCESSES, 2)]
        await cluster.look(2)
    assert (cluster.status["phase"], cluster.status["rollout"]["reason"]) == ("RollingBack", "ErrorsHigher")


async def test_forged_bins_never_enter_the_status() -> None:
    cluster = await Cluster().canary()
    cluster.serve(candidate=(10, 90))
    bins = [
        forged(cluster, 1, PREDICTIONS, bin=f"c{number:05} x", layout="0123456789ab", output="label")
        for number in range(25_000)
    ]
    cluster.metrics.series = [*cluster.metrics.series, *bins]
    await cluster.look()
    assert cluster.status["phase"] == "RollingBack"
    assert len(str(cluster.status)) < 10_000
    assert counted(cluster, "unknown") == 25_000


@pytest.mark.parametrize("whose", [scraped("fraud-router", "other"), {"instance": "10.0.0.1:8003"}])
async def test_routers_of_another_cluster_and_targets_without_a_pod_do_not_count(whose: Any) -> None:
    cluster = await Cluster().canary()
    cluster.serve(candidate=(100, 0))
    cluster.metrics.series = [*cluster.metrics.series, forged(cluster, 100_000, ERRORS, whose=whose)]
    await cluster.look()
    assert cluster.status["phase"] == "Canary"
    assert condition(cluster)["status"] == "True"


async def test_the_condition_ends_with_the_foreign_series() -> None:
    cluster = await Cluster().canary()
    cluster.serve(candidate=(100, 0))
    cluster.metrics.series = [*cluster.metrics.series, forged(cluster, 1, ERRORS)]
    await cluster.look()
    cluster.metrics.series = []
    await cluster.look(1)
    assert condition(cluster)["status"] == "False"


def test_what_another_pod_says_of_routes_releases_nothing() -> None:
    now, plane = 1_800_000_100.0, EnvoyDataPlane()
    router = pod_of("fraud-router")
    told = Series({"__name__": ROUTER_WATCH_AGE, "headgate_router": pod_name("fraud-router"), **EVIL}, ((now, 0.1),))
    own = Series({**told.labels, **scraped("fraud-router")}, told.samples)
    pods = ModelPods(plane.pods("fraud", [router]))
    retiring = [Retiring(revision="fraud-1a2b3c4d", since=stamp(now - 60))]
    for series, released in ((told, frozenset()), (own, frozenset({"fraud-1a2b3c4d"}))):
        kept, _ = sift([series], pods, plane, now)
        assert plane.released(retiring, sorted(pods.routers), kept, 0.0) == released
        assert plane.released(retiring, sorted(pods.routers), [series], 0.0) == released


def deployment(name: str, revision: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"headgate.dev/revision": revision} if revision else {}}}


def test_a_pod_is_the_models_if_a_replica_set_of_its_deployment_controls_it() -> None:
    copied = pod_of("fraud-router", which="copy")
    copied["metadata"]["ownerReferences"] = []
    others = pod_of("fraud-router", which="others")
    others["metadata"]["ownerReferences"][0]["name"] = "fraud-router-canary-5d9c7b8f4"
    job = pod_of("fraud-router", which="job")
    job["metadata"]["ownerReferences"][0]["kind"] = "Job"
    debugged = pod_of("fraud-a-debug", "fraud-a")
    pods = [pod_of("fraud-router"), pod_of("fraud-a", "fraud-a"), copied, others, job, debugged]
    deployments = [deployment("fraud-router"), deployment("fraud-a", "fraud-a"), deployment("fraud-a-debug", "fraud-a")]
    found = pods_of("fraud", deployments, pods, EnvoyDataPlane())
    assert found == ModelPods(frozenset({pod_name("fraud-router")}), {"fraud-a": frozenset({pod_name("fraud-a")})})


@pytest.mark.parametrize(
    ("name", "pod", "own"),
    [
        (SUCCESSES, "router", True),
        (SUCCESSES, "a", False),
        ("headgate_ready", "a", True),
        ("headgate_ready", "b", False),
        ("headgate_ready", "router", False),
        (PREDICTIONS, "a", True),
        (PREDICTIONS, "router", False),
        ("headgate_shadow_pairs_total", "router", True),
        ("headgate_shadow_pairs_total", "a", False),
        ("headgate_start_time_seconds", "router", True),
        ("headgate_start_time_seconds", "a", True),
        ("headgate_start_time_seconds", "b", False),
    ],
)
def test_each_series_counts_from_those_who_tell_it(name: str, pod: str, own: bool) -> None:
    pods = ModelPods(frozenset({"router"}), {"A": frozenset({"a"}), "B": frozenset({"b"})})
    labels = {"__name__": name, "headgate_revision": "A", "pod": pod}
    assert is_own(labels, pods, EnvoyDataPlane()) is own


def test_a_pod_that_went_before_the_operator_began_is_no_stranger() -> None:
    gone = Series({"__name__": ERRORS, "headgate_revision": "A", "pod": "gone"}, ((100.0, 1.0),))
    assert sift([gone], ModelPods(), EnvoyDataPlane(), 200.0) == ((), Foreign({"gone": 1}))
    assert sift([gone], ModelPods(), EnvoyDataPlane(), 110.0) == ((), Foreign({"unknown": 1}, ("gone",)))


def test_readings_are_added_up_and_name_few() -> None:
    assert together(None, None) is None
    assert together(Foreign({"gone": 1}), None) == Foreign({"gone": 1})
    many = together(Foreign({"gone": 1}, ("a", "b", "c")), Foreign({"gone": 2, "unknown": 1}, ("d", "e", "f")))
    assert many == Foreign({"gone": 3, "unknown": 1}, ("a", "b", "c", "d", "e"))


class Hour:
    """Pods that are known, by a clock of the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.known = KnownPods(lambda: self.now)

    def seen(self, *routers: str, key: Key = KEY, serving: Sequence[str] = ()) -> ModelPods:
        return self.known.seen(key, ModelPods(frozenset(routers), {"A": frozenset(serving)} if serving else {}))


def test_a_pod_that_has_gone_counts_for_an_hour_more() -> None:
    hour = Hour()
    hour.seen("router-1", serving=["a-1"])
    hour.now = REMEMBERED_SECONDS
    assert hour.seen("router-2") == ModelPods(frozenset({"router-1", "router-2"}), {"A": frozenset({"a-1"})})
    hour.now += 1
    assert hour.seen("router-2") == ModelPods(frozenset({"router-2"}))


def test_few_pods_are_remembered_and_of_models_that_are_gone_none() -> None:
    hour = Hour()
    for number in range(2 * MOST_PODS):
        hour.now += 0.001
        found = hour.seen(f"router-{number}")
    assert len(found.routers) == MOST_PODS
    assert f"router-{2 * MOST_PODS - 1}" in found.routers
    hour.now += REMEMBERED_SECONDS + 1
    hour.seen("x", key=Key("models", "other"))
    assert list(hour.known._models) == [Key("models", "other")]
