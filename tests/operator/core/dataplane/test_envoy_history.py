"""What is known of stable before the rollout, from raw samples."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.dataplane.envoy.series import ANSWERED, ANSWERED_WITHIN, REFUSED
from headgate.core.model import BaselineRate
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Series

STABLE, CANDIDATE = "fraud-aaaaaaaa", "fraud-bbbbbbbb"
WHO = Comparison(STABLE, CANDIDATE, give_up_after=0.5)
CURSOR = 2000.0
SCRAPES = 901


def before(series: list[Any], cursor: float, who: Comparison) -> BaselineRate:
    return EnvoyDataPlane().history(series, cursor, who).failures()


def slow_before(series: list[Any], cursor: float, who: Comparison, edge: float) -> BaselineRate:
    return EnvoyDataPlane().history(series, cursor, who).slow_answers(edge)


def counter(
    name: str,
    gains: Any,
    revision: str = STABLE,
    router: str = "router-1",
    start: float = 1000.0,
    every: float = 2.0,
    **labels: Any,
) -> Series:
    """A counter that gains `gains` from scrape to scrape, the last of which is at the cursor."""
    values = start + np.concatenate([[0.0], np.cumsum(gains)])
    times = CURSOR - every * np.arange(len(values) - 1, -1, -1)
    found = {"__name__": name, "headgate_revision": revision, "instance": router, **labels}
    return Series(found, tuple(zip(times.tolist(), values.tolist(), strict=True)))


def pod(address: str, good: NDArray[Any], bad: NDArray[Any], **more: Any) -> list[Any]:
    of = {"envoy_endpoint_address": address, **more}
    return [
        counter("envoy_cluster_endpoint_rq_success", good, **of),
        counter("envoy_cluster_endpoint_rq_error", bad, **of),
    ]


def flat(n: int) -> NDArray[Any]:
    return np.full(SCRAPES - 1, float(n))


def at(*scrapes: Any, n: float = 1.0) -> NDArray[Any]:
    gains = flat(0)
    gains[list(scrapes)] = n
    return gains


def test_attempts_and_failures_of_all_pods_and_routers_add_up() -> None:
    series = [*pod("a", flat(5), at(100)), *pod("b", flat(3), at(200, 300), router="router-2")]
    assert before(series, CURSOR, WHO) == BaselineRate(900 * 8 + 3, 3, 1.0, 1800.0)


def test_the_candidates_and_what_came_after_the_cursor_do_not_count() -> None:
    series = [*pod("a", flat(5), flat(0)), *pod("b", flat(5), flat(5), revision=CANDIDATE)]
    assert before(series, CURSOR - 1000, WHO) == BaselineRate(400 * 5, 0, 1.0, 800.0)


def test_failures_in_bursts_on_one_pod_cluster() -> None:
    bursts = at(*range(50, 850, 80), n=20.0)
    found = before([*pod("a", flat(50), bursts), *pod("b", flat(50), flat(0))], CURSOR, WHO)
    assert found.failures == 200
    assert 15 <= found.dispersion <= 25


def test_a_pods_counters_are_added_up_over_the_routers_before_its_bursts_are_looked_for() -> None:
    half = at(*range(50, 850, 80), n=10.0)
    both = [s for r in ("router-1", "router-2") for s in (*pod("a", flat(25), half, router=r),)]
    others = [s for r in ("router-1", "router-2") for s in (*pod("b", flat(25), flat(0), router=r),)]
    assert 15 <= before([*both, *others], CURSOR, WHO).dispersion <= 25


def test_a_reset_is_no_failure() -> None:
    good, bad = pod("a", flat(5), at(100))
    reset = Series(bad.labels, tuple((t, v - 1001 if t > CURSOR - 600 else v) for t, v in bad.samples))
    assert before([good, reset], CURSOR, WHO).failures == 1


def times(counts: dict[str, Any]) -> list[Any]:
    """Envoy's histogram of stable: edge in ms -> answers within it by scrape."""
    name = "envoy_cluster_canary_upstream_rq_time"
    buckets = [counter(f"{name}_bucket", gains, le=str(edge)) for edge, gains in counts.items()]
    return [*buckets, counter(f"{name}_count", counts["+Inf"])]


def test_answers_that_a_candidate_would_not_have_been_waited_for_are_failures_here_too() -> None:
    slow = at(*range(0, 900, 20), n=2.0)
    series = [*pod("a", flat(50), at(5)), *times({"500": flat(50) - slow, "1000": flat(50), "+Inf": flat(50)})]
    found = before(series, CURSOR, WHO)
    assert (found.attempts, found.failures) == (900 * 50 + 1, 1 + 45 * 2)


def test_bursts_of_late_answers_cluster_as_much_as_they_are_of_all_failures() -> None:
    slow = at(*range(0, 900, 90), n=20.0)
    series = [*pod("a", flat(50), flat(0)), *times({"500": flat(50) - slow, "+Inf": flat(50)})]
    assert 15 <= before(series, CURSOR, WHO).dispersion <= 30
    with_errors = [*pod("a", flat(50), at(*range(3, 900, 3))), *series[2:]]
    assert 5 <= before(with_errors, CURSOR, WHO).dispersion <= 15


def test_slow_answers_of_stable_are_counted_up_to_where_a_candidate_would_be_given_up() -> None:
    slow, late = at(*range(0, 900, 90), n=20.0), at(7, 8)
    timed = times({"200": flat(50) - slow - late, "500": flat(50) - late, "+Inf": flat(50)})
    series = [*pod("a", flat(50), flat(0)), *timed]
    found = slow_before(series, CURSOR, WHO, 200.0)
    assert (found.attempts, found.failures) == (900 * 50 - 2, 10 * 20)
    assert 15 <= found.dispersion <= 25
    everything = slow_before(series, CURSOR, Comparison(STABLE, CANDIDATE, None), 200.0)
    assert (everything.attempts, everything.failures) == (900 * 50, 10 * 20 + 2)


def test_routers_without_the_edge_are_left_out() -> None:
    old = [counter(ANSWERED, flat(9), router="old"), counter(ANSWERED_WITHIN, flat(9), router="old", le="500")]
    series = [*pod("a", flat(50), flat(0)), *times({"200": flat(50), "500": flat(50), "+Inf": flat(50)}), *old]
    assert slow_before(series, CURSOR, WHO, 200.0) == BaselineRate(900 * 50, 0, 1.0)
    assert slow_before(series, CURSOR, WHO, 210.0) == BaselineRate()
    assert slow_before([], CURSOR, WHO, 200.0) == BaselineRate()


@pytest.mark.parametrize("patience", [None, 0.0001])
def test_without_patience_nobody_is_late(patience: float | None) -> None:
    series = [*pod("a", flat(50), flat(0)), *times({"500": flat(40), "+Inf": flat(50)})]
    assert before(series, CURSOR, Comparison(STABLE, CANDIDATE, patience)).failures == 0


def test_a_histogram_that_is_ahead_of_the_attempts_makes_no_more_failures_than_attempts() -> None:
    series = [*pod("a", flat(1), flat(0)), *times({"500": flat(0), "+Inf": flat(50)})]
    found = before(series, CURSOR, WHO)
    assert found.failures == found.attempts == 900


@pytest.mark.parametrize(
    "series",
    [
        [],
        [Series({"__name__": "headgate_ready", "headgate_revision": STABLE}, ((1.0, 1.0),))],
        [counter("envoy_cluster_endpoint_rq_success", [])],
        [counter("envoy_cluster_endpoint_rq_success", [1.0])][:0],
        pod("a", flat(5), flat(1), revision=CANDIDATE),
    ],
)
def test_without_a_past_nothing_is_known(series: list[Any]) -> None:
    assert before(series, CURSOR, WHO) == BaselineRate(0, 0, 1.0)


def test_a_past_that_begins_after_the_cursor_is_none() -> None:
    assert before(pod("a", flat(5), flat(1)), CURSOR - 5000, WHO) == BaselineRate()


def test_a_pod_that_has_only_errors_counts() -> None:
    errors = counter("envoy_cluster_endpoint_rq_error", at(1, 2), envoy_endpoint_address="b")
    assert before([*pod("a", flat(5), flat(0)), errors], CURSOR, WHO) == BaselineRate(900 * 5 + 2, 2, 1.0, 1800.0)


def test_a_router_that_started_anew_did_not_stand_still() -> None:
    """Its count falls by less than half, which alone would be taken for no restart."""
    (good, _), cut = pod("a", flat(5), flat(0)), SCRAPES // 2
    fallen = [(t, v - (0.0 if i < cut else good.samples[cut][1] - 2500.0)) for i, (t, v) in enumerate(good.samples)]
    assert fallen[cut - 1][1] / 2 < fallen[cut][1] < fallen[cut - 1][1]
    uptime = [(t, 5000.0 + 2 * i if i < cut else 1.0 + 2 * (i - cut)) for i, (t, _) in enumerate(good.samples)]
    told = Series({**good.labels, "__name__": "envoy_server_uptime"}, tuple(uptime))
    found = before([Series(good.labels, tuple(fallen)), told], CURSOR, WHO)
    assert found.attempts == 5 * (SCRAPES - 2) + 2500


def test_the_time_of_nearly_all_answers_is_the_first_edge_that_holds_them() -> None:
    timed = times({"5": flat(50) - at(*range(0, 900, 10), n=10.0), "25": flat(50) - at(7), "+Inf": flat(50)})
    history = EnvoyDataPlane().history([*pod("a", flat(50), flat(0)), *timed], CURSOR, WHO)
    assert history.time_of(0.97) == 5.0
    assert history.time_of(0.99) == 25.0
    assert history.time_of(1.0) is None, "the last of them was later than the last edge"
    assert EnvoyDataPlane().history([], CURSOR, WHO).time_of(0.99) is None


def test_refusals_are_nobodys_attempts() -> None:
    """Each pod has its share of them, for nobody says of which they were."""
    pods = [*pod("10.0.0.1", flat(6), flat(1)), *pod("10.0.0.2", flat(2), flat(0))]
    found = before([*pods, counter(REFUSED, flat(4))], CURSOR, WHO)
    assert (found.attempts, found.failures) == (900 * (8 - 4 + 1), 900)
    more = before([*pods, counter(REFUSED, flat(90))], CURSOR, WHO)
    assert (more.attempts, more.failures) == (900, 900)


def test_where_stable_is_not_asked_refusals_are_failures() -> None:
    pods = [*pod("10.0.0.1", flat(6), flat(1)), *pod("10.0.0.2", flat(2), flat(0))]
    found = before([*pods, counter(REFUSED, flat(4))], CURSOR, replace(WHO, rescues=False))
    assert (found.attempts, found.failures) == (900 * (8 + 1), 900 * (4 + 1))
