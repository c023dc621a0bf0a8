"""Readings that decide nothing: taken beside the looks, and never waited for."""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fakes import FakeMetrics
from headgate.api.contract import ROUTER_ROUTES as ROUTES
from headgate.api.contract import ROUTER_WATCH_AGE as ALIVE
from headgate.api.spec import Spec
from headgate.background import AT_A_TIME, DRIFT_AGAIN, DRIFT_EVERY, READING_SECONDS, BackgroundReadings, Readings
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.model import Drift
from headgate.core.statistics.counters import Series
from headgate.core.statistics.drift import FeatureDrift
from headgate.core.statistics.history import MOST_BINS
from headgate.edges.promql import AnyOf, StartsWith
from headgate.errors import MetricsError
from headgate.queue import Key
from model_pods import pod_of, scraped
from virtual_time import run
from world import LAYOUT, START, Behaviour, World, stable_of

KEY = Key("models", "fraud")


class Scene:
    """The readings of one model."""

    def __init__(self, world: World) -> None:
        self.world, self.metrics = world, FakeMetrics()
        self.news: list[Any] = []
        self.pods: list[Any] = []
        self.readings = BackgroundReadings(
            self.metrics, EnvoyDataPlane(), self.news.append, lambda: self.world.now, jitter=lambda: 1.0
        )

    async def features(self) -> Sequence[FeatureDrift]:
        """Read once; the drift that there has to be."""
        drift = (await self.read()).drift
        assert drift is not None
        return drift.features

    async def read(self, seconds: float = DRIFT_EVERY) -> Readings:
        """Read once, `seconds` after the last time; what is known then."""
        self.world.now += seconds
        self.metrics.time = self.world.now
        status = self.world.status
        self.readings.refresh(KEY, Spec.model_validate(self.world.spec), status, self.pods)
        await self.readings.settled()
        return self.readings.newest(KEY, status)


@pytest.fixture
def stable() -> Scene:
    return Scene(World().ask("v1").settled("Stable"))


REFERENCE = {
    ("age", "n00 [0,9]", LAYOUT): 1000.0,
    ("age", "n01 (9,20]", LAYOUT): 1000.0,
    ("sex", "c00 1", LAYOUT): 2000.0,
}


def counted(at: list[Any], **counts: Any) -> list[Any]:
    """Counters of one pod at points in time, up to each of which it had counted so many rows since the one before."""
    bins = {"young": ("age", "n00 [0,9]"), "old": ("age", "n01 (9,20]"), "sex": ("sex", "c00 1")}
    return [
        Series(
            {"feature": bins[name][0], "bin": bins[name][1], "layout": LAYOUT, "instance": "pod"},
            tuple(zip(at, np.cumsum(gained).tolist(), strict=True)),
        )
        for name, gained in counts.items()
    ]


async def test_drift_is_read_from_stables_counts_of_the_last_day_in_the_profiles_layout(stable: Scene) -> None:
    stable.metrics.sums = {"headgate_feature_reference": REFERENCE}
    stable.metrics.points = counted([START - 60], young=[9000], sex=[9000])
    age, sex = await stable.features()
    assert (age.feature, age.rows, age.distance, age.drifted) == ("age", 9000, 0.5, True)
    assert (sex.feature, sex.rows, sex.distance, sex.drifted) == ("sex", 9000, 0.0, False)
    (_, _, (ends, seconds)), (metric, labels, (newest, since)) = stable.metrics.asked[-2:]
    assert metric == "headgate_feature_bin_total"
    assert (len(ends), ends[-1] - ends[0], seconds) == (48, 47 * 1800, 1800), "a day of half-hours"
    assert (newest, since) == ((stable.metrics.time,), stable.metrics.time - ends[-1]), "and what came since"
    assert labels["pod"] == StartsWith(f"{stable_of(stable.world.status).revision}-")
    assert labels["headgate_revision"] == stable_of(stable.world.status).revision
    assert labels["layout"] == AnyOf((LAYOUT,))


async def test_a_layout_that_none_has_made_enters_no_question(stable: Scene) -> None:
    injected = 'x"} or secret_of_another_tenant{a="'
    stable.metrics.sums = {"headgate_feature_reference": {("age", "n00 [0,9]", injected): 1000.0}}
    assert await stable.features() == ()
    assert [metric for metric, *_ in stable.metrics.asked] == ["headgate_feature_reference"]
    stable.metrics.sums["headgate_feature_reference"] |= REFERENCE
    assert [feature.feature for feature in await stable.features()] == ["age", "sex"]
    assert stable.metrics.asked[-1][1]["layout"] == AnyOf((LAYOUT,))


async def test_a_change_is_found_after_a_long_quiet_time_and_forgotten_when_it_is_over(stable: Scene) -> None:
    stable.metrics.sums = {"headgate_feature_reference": REFERENCE}
    quiet, changed = [1000] * 47, [1400]
    at = [START - 1800 * (47 - n) - 900 for n in range(47)]
    stable.metrics.points = counted(at, young=quiet, old=quiet)
    assert not (await stable.features())[0].drifted
    stable.metrics.points = counted([*at, START + 1], young=[*quiet, *changed], old=[*quiet, 600])
    age = (await stable.features())[0]
    assert age.distance < age.limit
    assert age.drifted
    healed = {"young": [*quiet, 1400, 5000], "old": [*quiet, 600, 5000]}
    stable.metrics.points = counted([*at, START + 1, START + 1801], **healed)
    await stable.read(1800)
    assert not (await stable.features())[0].drifted


async def test_a_block_that_is_complete_is_asked_for_once(stable: Scene) -> None:
    stable.metrics.sums = {"headgate_feature_reference": REFERENCE}
    at = [START - 60, START + 1500, START + 2700]
    stable.metrics.points = counted(at, young=[100, 300, 500], old=[100, 300, 500])
    assert (await stable.features())[0].rows == 200
    stable.metrics.asked.clear()
    assert (await stable.read()).drift
    assert [looked for metric, _, looked in stable.metrics.asked if "bin" in metric][:-1] == []
    stable.metrics.asked.clear()
    assert (await stable.features())[0].rows == 200
    stable.world.now = START + 3000
    stable.metrics.asked.clear()
    assert (await stable.features())[0].rows == 1800
    assert [looked for metric, _, looked in stable.metrics.asked if "bin" in metric][:-1] == [((START + 1800,), 1800)]


async def test_what_was_read_before_prometheus_went_away_is_not_asked_for_again(stable: Scene) -> None:
    stable.metrics.sums = {
        "headgate_feature_reference": {("f", f"n{n:03} ({n},{n + 1}]", LAYOUT): 9.0 for n in range(999)}
    }
    stable.metrics.error_after = 2
    assert (await stable.read()).drift is None
    stable.metrics.error_after = math.inf
    asked = len(stable.metrics.asked)
    assert (await stable.read(1.0)).drift is None, "it is tried again a minute later"
    assert (await stable.read(DRIFT_AGAIN)).drift
    ends = [
        looked[0] for metric, _, looked in stable.metrics.asked[:2] + stable.metrics.asked[asked:] if "bin" in metric
    ]
    assert sum(map(len, ends)) == 48 + 1


async def test_more_bins_than_there_is_room_for_are_left_out_by_name(stable: Scene) -> None:
    bins = {(f"f{f:03}", f"c{b:02} x", LAYOUT): 10.0 for f in range(MOST_BINS // 50 + 7) for b in range(50)}
    stable.metrics.sums = {"headgate_feature_reference": bins}
    drift = (await stable.read()).drift
    assert drift
    assert (len(drift.features), drift.left_out) == (MOST_BINS // 50, 7)
    assert drift.features[-1].feature == f"f{MOST_BINS // 50 - 1:03}"


async def test_a_new_profile_begins_anew(stable: Scene) -> None:
    stable.metrics.sums = {"headgate_feature_reference": REFERENCE}
    stable.metrics.points = counted([START - 60], young=[9000], sex=[9000])
    await stable.read()
    stable.metrics.sums = {"headgate_feature_reference": dict(list(REFERENCE.items())[:2])}
    (age,) = await stable.features()
    assert (age.feature, age.rows) == ("age", 9000)


async def test_a_look_is_asked_for_when_the_drifted_features_change_and_not_otherwise(stable: Scene) -> None:
    stable.metrics.sums = {"headgate_feature_reference": REFERENCE}
    stable.metrics.points = counted([START - 60], young=[9000], sex=[9000])
    await stable.read()
    await stable.read()
    assert stable.news == [KEY]


async def test_a_profile_without_traffic_is_no_drift(stable: Scene) -> None:
    stable.metrics.sums = {"headgate_feature_reference": REFERENCE}
    assert [f.drifted for f in (await stable.features())] == [False, False]


async def test_drift_is_told_once_and_is_unknown_when_it_cannot_be_asked_for(stable: Scene) -> None:
    assert (await stable.read()).drift == Drift()
    assert (await stable.read(1.0)).drift is None, "not due yet, and told before"
    stable.metrics.error = MetricsError("no")
    assert (await stable.read()).drift is None


async def test_the_drift_of_an_older_stable_version_is_not_told(stable: Scene) -> None:
    await stable.read()
    await stable.read()
    stable.readings._known[KEY].drift = Drift()
    other = replace(stable.world.status, stable=replace(stable_of(stable.world.status), revision="other"))
    assert stable.readings.newest(KEY, other).drift is None


def following(now: float, *revisions: Any) -> tuple[Any, ...]:
    """What the router's pod says."""
    labels = {**scraped("fraud-router", "x"), "headgate_namespace": "models", "headgate_model": "fraud"}
    alive = Series({**labels, "__name__": ALIVE}, ((now, 0.1),))
    return (alive, *(Series({**labels, "__name__": ROUTES, "headgate_revision": r}, ((now, 1.0),)) for r in revisions))


def router_pod(which: str, phase: str) -> dict[str, Any]:
    return {**pod_of("fraud-router", which=which), "status": {"phase": phase}}


@pytest.fixture
def retiring() -> Scene:
    world = World().ask("v1").settled("Stable")
    world.ask("v2", Behaviour(failing=0.5)).until("RollingBack")
    scene = Scene(world)
    scene.pods = [router_pod("x", "Running"), router_pod("y", "Succeeded")]
    return scene


async def test_pods_are_released_when_the_routers_that_run_have_left_them(retiring: Scene) -> None:
    (gone,) = retiring.world.status.retiring
    retiring.metrics.series = following(retiring.world.now + 60, "fraud-1", gone.revision)
    assert (await retiring.read(60)).released == frozenset()
    retiring.metrics.series = following(retiring.world.now + 60, "fraud-1")
    retiring.news.clear()
    assert (await retiring.read(60)).released == {gone.revision}
    assert retiring.news == [KEY], "so that the pods go at once"


async def test_who_retires_anew_has_to_be_left_anew(retiring: Scene) -> None:
    (gone,) = retiring.world.status.retiring
    retiring.metrics.series = following(retiring.world.now + 60, "fraud-1")
    await retiring.read(60)
    later = replace(gone, since="2027-03-01T00:00:00Z")
    status = replace(retiring.world.status, retiring=[later])
    assert retiring.readings.newest(KEY, status).released == frozenset()


async def test_nobody_is_released_while_prometheus_is_away(retiring: Scene) -> None:
    retiring.metrics.error = MetricsError("away")
    assert (await retiring.read(60)).released == frozenset()


def test_a_reading_that_hangs_ends_and_only_a_few_run_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def story(clock: Any) -> None:
        metrics, start = FakeMetrics(), clock()
        metrics.takes = 1000.0
        readings = BackgroundReadings(metrics, EnvoyDataPlane(), lambda _: None, clock)
        world = World().ask("v1").settled("Stable")
        spec = Spec.model_validate(world.spec)
        for number in range(3 * AT_A_TIME):
            for _ in range(3):
                readings.refresh(Key("models", f"m{number}"), spec, world.status, [])
        assert clock() == start, "nobody waits for it"
        await asyncio.sleep(1)
        assert len(metrics.asked) == AT_A_TIME
        await readings.settled()
        assert clock() - start == pytest.approx(3 * READING_SECONDS)
        assert readings.newest(Key("models", "m0"), world.status) == Readings()

    run(story)


async def test_a_model_that_is_gone_is_read_no_more(stable: Scene) -> None:
    stable.metrics.takes = 1000.0
    stable.readings.refresh(KEY, Spec.model_validate(stable.world.spec), stable.world.status, [])
    reading = stable.readings._known[KEY].reading
    stable.readings.forget(KEY)
    assert reading
    await asyncio.gather(reading, return_exceptions=True)
    assert reading.cancelled()
    assert stable.readings.newest(KEY, stable.world.status) == Readings()
