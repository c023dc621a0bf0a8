"""From raw samples to what `decide` learns from: who attempted, who failed, who was late, who is blind."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.dataplane.envoy.series import REFUSED, REJECTED
from headgate.core.model import MetricsUnavailable, NoNewSamples, Reading
from headgate.core.readings import new_samples
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Series
from headgate.core.statistics.rates import AttemptBlock
from told import Seen, seen_in

STABLE, CANDIDATE = "fraud-aaaaaaaa", "fraud-bbbbbbbb"
WHO = Comparison(STABLE, CANDIDATE, give_up_after=0.5)
STALE = 30.0


def counter(
    name: str, revision: str, before: int, after: int, target: str = "router-1", times: Any = (100, 102), **labels: Any
) -> Series:
    found = {"__name__": name, "headgate_revision": revision, "instance": target, "pod": target, **labels}
    return Series(found, tuple(zip(map(float, times), map(float, (before, after)), strict=True)))


def endpoints(name: str, revision: str, before: int, after: int, **labels: Any) -> Series:
    return counter(f"envoy_cluster_endpoint_{name}", revision, before, after, **labels)


def bins(
    revision: str, before: int, after: int, bin_: str = "c00 no", layout: str = "l1", output: str = "label"
) -> Series:
    labels = {"bin": bin_, "layout": layout, "output": output, "target": f"runtime-{revision}"}
    return counter("headgate_prediction_bin_total", revision, before, after, **labels)


def times_of(revision: str, counts: dict[str, Any], **more: Any) -> list[Any]:
    """Envoy's histogram: edge in ms -> answers within it, and how many there were."""
    name = "envoy_cluster_canary_upstream_rq_time"
    buckets = [counter(f"{name}_bucket", revision, 0, n, le=str(edge), **more) for edge, n in counts.items()]
    return [*buckets, counter(f"{name}_count", revision, 0, counts["+Inf"], **more)]


def times_of_stable(counts: dict[str, Any], **more: Any) -> list[Any]:
    return times_of(STABLE, counts, **more)


ANY_SERIES = [
    *(
        (f"envoy_cluster_endpoint_rq_{what}", revision, {})
        for what in ("success", "error")
        for revision in (STABLE, CANDIDATE)
    ),
    *(
        ("envoy_cluster_canary_upstream_rq_time_bucket", revision, {"le": le})
        for le in ("200", "500", "+Inf")
        for revision in (STABLE, CANDIDATE)
    ),
    *(("envoy_cluster_canary_upstream_rq_time_count", revision, {}) for revision in (STABLE, CANDIDATE)),
]


ROUTED = [
    endpoints("rq_success", STABLE, 1000, 1090),
    endpoints("rq_error", STABLE, 10, 12),
    endpoints("rq_success", CANDIDATE, 0, 7),
    endpoints("rq_error", CANDIDATE, 0, 3),
    counter("headgate_ready", STABLE, 1, 1, target="runtime"),
]


def read(series: list[Any], now: float = 103.0, cursor: float | None = 100.0, who: Comparison = WHO) -> Any:
    found = EnvoyDataPlane().read(series, now, cursor, who, STALE)
    return seen_in(new_samples(found, Reading.COMPARISON, None))


def test_attempts_are_answers_and_errors() -> None:
    found = read(ROUTED)
    assert (found.cursor, found.attempts) == (102, AttemptBlock(10, 3, 92, 2))
    assert (found.interval, found.behind) == (2.0, ("router-1",))


def test_attempts_of_all_routers_and_pods_add_up() -> None:
    second = [
        endpoints("rq_success", STABLE, 0, 8, target="router-2"),
        endpoints("rq_error", CANDIDATE, 5, 6, envoy_endpoint_address="10.0.0.9"),
    ]
    assert read([*ROUTED, *second]).attempts == AttemptBlock(11, 4, 100, 2)


def test_attempts_of_other_revisions_do_not_count() -> None:
    assert read([*ROUTED, endpoints("rq_error", "fraud-cccccccc", 0, 99)]).attempts == AttemptBlock(10, 3, 92, 2)


def rejected(reason: str, outcome: str, number: int, **labels: Any) -> Series:
    return counter(REJECTED, CANDIDATE, 0, number, **{"reason": reason, "outcome": outcome}, **labels)


def test_what_the_candidate_refused_and_stable_answered_has_failed() -> None:
    """Envoy counts it as an error by itself; how many of the errors it was is for people."""
    found = read([*ROUTED, rejected("refusal", "answered", 1), rejected("invalid", "answered", 1)])
    assert found.attempts == AttemptBlock(10, 3, 92, 2, candidate_rejections=2)


def test_what_stable_refused_or_failed_as_well_is_no_attempt_of_the_candidate() -> None:
    assert read([*ROUTED, rejected("refusal", "undecided", 2)]).attempts == AttemptBlock(8, 1, 92, 2)
    assert read([*ROUTED, rejected("invalid", "undecided", 1)]).attempts == AttemptBlock(9, 2, 92, 2)


def test_an_answer_that_is_invalid_on_both_has_not_failed() -> None:
    """As stable's own, which nobody is asked about: a model that means its NaN is judged by the rest."""
    assert read([*ROUTED, rejected("invalid", "alike", 2)]).attempts == AttemptBlock(10, 1, 92, 2)


def test_a_refusal_that_its_user_got_is_no_attempt_of_either() -> None:
    refused = [counter(REFUSED, STABLE, 10, 30), counter(REFUSED, CANDIDATE, 0, 4)]
    assert read([*ROUTED, *refused]).attempts == AttemptBlock(6, 3, 72, 2)
    assert read([*ROUTED, counter(REFUSED, "", 0, 4)]).attempts == AttemptBlock(10, 3, 92, 2)


def test_where_stable_is_not_asked_refusals_of_both_are_failures() -> None:
    refused = [counter(REFUSED, STABLE, 10, 30), counter(REFUSED, CANDIDATE, 0, 4)]
    alone = Comparison(STABLE, CANDIDATE, rescues=False)
    assert read([*ROUTED, *refused], who=alone).attempts == AttemptBlock(10, 7, 92, 22)


def test_rejections_of_others_do_not_count() -> None:
    theirs = [
        counter(REJECTED, revision, 0, 2, reason="refusal", outcome=outcome)
        for revision in (STABLE, "fraud-cccccccc")
        for outcome in ("answered", "undecided")
    ]
    assert read([*ROUTED, *theirs]).attempts == AttemptBlock(10, 3, 92, 2)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 200), st.integers(0, 20))
def test_a_scrape_between_an_attempt_and_its_outcome_makes_no_impossible_block(
    undecided: int, alike: int, answered: int, by_stable: int, by_candidate: int
) -> None:
    more = [rejected("refusal", "undecided", undecided), rejected("invalid", "alike", alike)]
    more += [rejected("refusal", "answered", answered)]
    more += [counter(REFUSED, STABLE, 0, by_stable), counter(REFUSED, CANDIDATE, 0, by_candidate)]
    found = read([*ROUTED, *more]).attempts
    assert 0 <= found.candidate_rejections <= found.candidate_failures <= found.candidate_attempts <= 10
    assert 0 <= found.stable_failures <= found.stable_attempts <= 92


def test_without_the_routers_counters_we_are_blind() -> None:
    assert isinstance(read([]), MetricsUnavailable)
    assert isinstance(read([bins(STABLE, 0, 5)]), MetricsUnavailable)
    assert isinstance(read([Series({"__name__": "envoy_cluster_endpoint_rq_success"}, ())]), MetricsUnavailable)


def test_without_stables_runtimes_we_are_blind_no_predictions_are_not_no_profile() -> None:
    assert isinstance(read(ROUTED[:-1]), MetricsUnavailable)
    assert isinstance(read([*ROUTED[:-1], counter("headgate_ready", CANDIDATE, 1, 1)]), MetricsUnavailable)


def test_when_the_newest_sample_is_old_we_are_blind() -> None:
    assert isinstance(read(ROUTED, now=132.0), Seen)
    assert isinstance(read(ROUTED, now=132.1), MetricsUnavailable)


def test_when_nothing_is_new_the_metrics_are_quiet() -> None:
    assert read(ROUTED, cursor=102.0) == NoNewSamples()


def test_the_first_reading_only_sets_the_cursor() -> None:
    found = read(ROUTED, cursor=None)
    assert (found.cursor, found.attempts) == (102, AttemptBlock())


def test_after_a_gap_nothing_is_counted() -> None:
    found = read(ROUTED, cursor=50.0)
    assert (found.cursor, found.attempts) == (102, AttemptBlock())


def test_an_answer_of_stable_that_a_candidate_would_not_have_been_waited_for_is_a_failure() -> None:
    found = read([*ROUTED, *times_of_stable({"250.0": 80, "500.0": 85, "1000.0": 90, "+Inf": 90})])
    assert found.attempts == AttemptBlock(10, 3, 92, 2 + 5)


def test_patience_between_two_edges_is_rounded_down() -> None:
    who = Comparison(STABLE, CANDIDATE, give_up_after=0.7)
    found = read([*ROUTED, *times_of_stable({"500.0": 85, "1000.0": 90, "+Inf": 90})], who=who)
    assert found.attempts.stable_failures == 2 + 5


@pytest.mark.parametrize("patience", [None, 0.0001])
def test_without_patience_or_an_edge_below_it_nobody_is_late(patience: float | None) -> None:
    who = Comparison(STABLE, CANDIDATE, patience)
    found = read([*ROUTED, *times_of_stable({"250.0": 0, "+Inf": 90})], who=who)
    assert found.attempts.stable_failures == 2


def test_stable_never_has_more_failures_than_attempts() -> None:
    found = read([*ROUTED, *times_of_stable({"500.0": 0, "+Inf": 500})])
    assert found.attempts.stable_failures == found.attempts.stable_attempts == 92


def test_an_edge_that_not_every_router_has_is_none() -> None:
    first = times_of_stable({"250.0": 80, "500.0": 85, "1000.0": 90, "+Inf": 90})
    second = times_of_stable({"250.0": 80, "1000.0": 90, "+Inf": 90}, target="router-2")
    assert read([*ROUTED, *first, *second]).attempts.stable_failures == 2 + 20


def slower(slow_after: float, give_up_after: float | None = 0.5) -> Comparison:
    return Comparison(STABLE, CANDIDATE, give_up_after, slow_after)


TIMED = [
    *times_of_stable({"100.0": 70, "200.0": 80, "500.0": 85, "1000.0": 90, "+Inf": 90}),
    *times_of(CANDIDATE, {"100.0": 3, "200.0": 5, "500.0": 7, "1000.0": 7, "+Inf": 7}),
]


@pytest.mark.parametrize(
    ("slow_after", "patience", "edge", "answers"),
    [
        pytest.param(0.2, 0.5, 200, AttemptBlock(7, 2, 85, 5), id="stable's answers beyond the patience are left out"),
        pytest.param(0.2, None, 200, AttemptBlock(7, 2, 90, 10), id="nobody is given up early"),
        pytest.param(0.12, 0.5, 100, AttemptBlock(7, 4, 85, 15), id="the nearest edge is below"),
        pytest.param(0.18, 0.5, 200, AttemptBlock(7, 2, 85, 5), id="the nearest edge is above"),
        pytest.param(0.45, 0.5, 200, AttemptBlock(7, 2, 85, 5), id="the nearest edge is where a candidate is given up"),
        pytest.param(0.45, 0.1, 100, AttemptBlock(3, 0, 70, 0), id="the only edge is where a candidate is given up"),
        pytest.param(9.0, None, 1000, AttemptBlock(7, 0, 90, 0), id="infinity is no edge"),
    ],
)
def test_slow_answers_are_those_beyond_the_nearest_edge(
    slow_after: float, patience: float | None, edge: int, answers: AttemptBlock
) -> None:
    found = read([*ROUTED, *TIMED], who=slower(slow_after, patience)).slow
    assert (found.edge, found.answers) == (edge, answers)


def test_slow_answers_are_told_only_if_asked_for_and_timed() -> None:
    assert read([*ROUTED, *TIMED]).slow is None
    assert read(ROUTED, who=slower(0.2)).slow is None
    assert read([*ROUTED, *TIMED], cursor=None, who=slower(0.2)).slow.answers == AttemptBlock()


def test_a_histogram_that_contradicts_itself_makes_no_negative_counts() -> None:
    upside_down = times_of_stable({"100.0": 9, "200.0": 90, "500.0": 50, "+Inf": 60})
    found = read([*ROUTED, *upside_down, *times_of(CANDIDATE, {"200.0": 5, "500.0": 3, "+Inf": 1})], who=slower(0.2))
    assert found.slow.answers == AttemptBlock(3, 0, 50, 0)
    assert found.attempts.stable_failures == 2 + 10


counts = st.lists(st.integers(0, 50) | st.sampled_from([-7, math.nan, math.inf]), min_size=1, max_size=5)


@given(st.lists(st.tuples(st.sampled_from(ANY_SERIES), counts), max_size=12), st.sampled_from([None, 0.5]))
def test_whatever_counters_do_the_block_is_possible(series: list[Any], patience: float | None) -> None:
    found = []
    for number, ((name, revision, labels), values) in enumerate(series):
        of = {"__name__": name, "headgate_revision": revision, "instance": f"router-{number % 2}", **labels}
        found.append(Series(of, tuple((100.0 + 2 * i, float(v)) for i, v in enumerate(values))))
    seen = read([*ROUTED, *found], now=110.0, who=slower(0.2, patience))
    if isinstance(seen, Seen):
        assert seen.attempts is not None
        for block in (seen.attempts, *([seen.slow.answers] if seen.slow else [])):
            assert 0 <= block.candidate_failures <= block.candidate_attempts
            assert 0 <= block.stable_failures <= block.stable_attempts


def test_predictions_are_compared_in_a_layout_that_both_count_in() -> None:
    found = read(
        [
            *ROUTED,
            bins(STABLE, 10, 30),
            bins(STABLE, 5, 6, bin_="c01 yes"),
            bins(CANDIDATE, 0, 4),
            bins(CANDIDATE, 0, 2, bin_="c01 yes"),
            bins(CANDIDATE, 0, 6, bin_="c00 no", layout="own"),
        ]
    )
    (block,) = found.predictions
    assert (block.output, block.layout) == ("label", "l1")
    assert block.candidate == {"c00 no": 4, "c01 yes": 2}
    assert block.stable == {"c00 no": 20, "c01 yes": 1}
    assert found.predictions_expected


def test_each_output_is_a_block() -> None:
    both = [bins(r, 0, n, output=o) for r, n in ((STABLE, 5), (CANDIDATE, 2)) for o in ("label", "score")]
    assert [b.output for b in read([*ROUTED, *both]).predictions] == ["label", "score"]


def test_when_only_stable_counts_its_predictions_they_are_expected() -> None:
    found = read([*ROUTED, bins(STABLE, 0, 5)])
    assert (found.predictions, found.predictions_expected) == ((), True)


def test_when_stable_does_not_count_none_are_expected() -> None:
    found = read([*ROUTED, bins(CANDIDATE, 0, 5)])
    assert (found.predictions, found.predictions_expected) == ((), False)


def test_bins_that_gained_nothing_are_in_the_block_too() -> None:
    (block,) = read([*ROUTED, bins(STABLE, 7, 7), bins(CANDIDATE, 0, 0)]).predictions
    assert (block.candidate, block.stable) == ({"c00 no": 0}, {"c00 no": 0})


def test_the_routers_that_still_send_stable_something_are_named() -> None:
    def router(name: Any, stable: Any, failed: Any) -> Any:
        about = {"target": f"{name}:9901", "pod": name}
        return [
            endpoints("rq_success", STABLE, 0, stable, **about),
            endpoints("rq_error", CANDIDATE, 0, failed, **about),
        ]

    found = read([ROUTED[-1], *router("behind", 5, 2), *router("rescues", 2, 2), *router("idle", 0, 0)])
    assert found.behind == ("behind",)


@pytest.mark.parametrize(("uptime", "failures"), [((500, 3), 140), ((500, 502), 0)])
def test_an_envoy_that_started_anew_says_so_and_loses_no_failure(uptime: tuple[Any, ...], failures: int) -> None:
    """Errors 150 -> 90 -> 140: they all count, if it has."""

    def fell(name: Any, revision: Any, *values: Any) -> Any:
        labels = {"__name__": name, "headgate_revision": revision, "instance": "router-1"}
        return Series(labels, tuple(zip((100.0, 110.0, 120.0), map(float, values), strict=True)))

    series = [
        fell("envoy_cluster_endpoint_rq_success", STABLE, 1000, 600, 900),
        fell("envoy_cluster_endpoint_rq_success", CANDIDATE, 1000, 600, 900),
        fell("envoy_cluster_endpoint_rq_error", CANDIDATE, 150, 90, 140),
        fell("envoy_server_uptime", CANDIDATE, uptime[0], uptime[1], uptime[1] + 10),
        fell("headgate_ready", STABLE, 1, 1, 1),
    ]
    found = read(series, now=121.0)
    assert (found.attempts.candidate_failures, found.attempts.candidate_attempts) == (failures, failures and 1040)
    assert found.attempts.stable_attempts == (900 if failures else 0)


def test_what_is_read_is_read_by_its_name() -> None:
    assert {"envoy_server_uptime", "headgate_start_time_seconds"} <= set(EnvoyDataPlane.comparison_series)
