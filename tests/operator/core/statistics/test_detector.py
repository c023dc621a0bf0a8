"""The running detector: its false alarms, how soon it finds what is there, and that no counts upset it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.core.statistics.detector import GAPS, events_of, furthest, log_detector, threshold

A = threshold(1)
UNIFORM = np.full(10, 1000.0)
PROFILE = np.array([4000.0, 3000.0, 2000.0, 1000.0])


def moved(counts: NDArray[Any], by: float) -> Any:
    """Shares with `by` of the mass taken from the last bins and given to the first."""
    p = counts / counts.sum()
    left = by
    for at in range(len(p) - 1, 0, -1):
        taken = min(left, p[at])
        p[at] -= taken
        left -= taken
    p[0] += by
    return p


@pytest.mark.parametrize("categorical", [False, True])
@pytest.mark.parametrize("profile", [UNIFORM, PROFILE], ids=["ten bins", "four bins"])
@pytest.mark.parametrize("rows", [20, 500])
def test_at_the_edge_of_the_tolerance_false_alarms_are_as_rare_as_they_should_be(
    categorical: bool, profile: NDArray[Any], rows: int
) -> None:
    """P(alarm within N looks) <= N / A: 100 runs of 40 looks at A = 400 may have about 10, and 20 by bad luck."""
    random, looks, a = np.random.default_rng(7), 40, 400.0
    shares = moved(profile, 0.06)
    alarms = 0
    for _ in range(100):
        blocks = random.multinomial(rows, shares, size=looks).astype(float)
        alarms += log_detector(blocks, profile, categorical, 0.1, 0.0, math.log(a)).max() >= math.log(a)
    assert alarms <= 20


@pytest.mark.parametrize("categorical", [False, True])
def test_the_mean_of_the_bets_is_at_most_one_on_the_whole_null(categorical: bool) -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        reference = random.integers(1, 100, 6).astype(float)
        events = events_of(reference, categorical, 0.1, 0.0)
        # The event's share, at its edge and below: the mean of L after one row.
        for edge in events.edge:
            for share in np.linspace(0, edge, 5):
                q = edge + GAPS * (1 - edge)
                assert np.all(share * q / edge + (1 - share) * (1 - q) / (1 - edge) <= 1 + 1e-12)


def test_the_events_of_a_number_are_its_cuts_in_both_directions() -> None:
    events = events_of(np.array([50.0, 30.0, 20.0]), False, 0.1, 0.0)
    assert events.edge == pytest.approx(furthest(np.array([0.5, 0.8, 0.5, 0.2]), 0.1))
    assert events.members.astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_a_rare_event_may_move_less_than_the_tolerance_and_a_common_one_by_all_of_it() -> None:
    assert furthest(np.array([0.0, 0.01, 0.3, 0.5]), 0.1) == pytest.approx([0.02, 0.057, 0.4, 0.6], abs=1e-3)
    # 10 % may fall to 3.3 %: the rise of what is not in it.
    assert furthest(np.array([0.9]), 0.1) == pytest.approx([0.967], abs=1e-3)


@given(st.floats(0, 1), st.floats(1e-3, 0.9))
def test_no_event_may_move_further_than_a_hellinger_distance_of_the_tolerance(share: float, tolerance: float) -> None:
    q = float(furthest(np.array([share]), tolerance)[0])
    affinity = np.sqrt(q * share) + np.sqrt((1 - q) * (1 - share))
    assert share <= q + 1e-12
    assert q <= 1
    assert np.sqrt(max(0.0, 1 - affinity)) <= tolerance + 1e-6


def test_an_event_that_cannot_rise_above_its_edge_is_not_bet_on() -> None:
    assert events_of(np.array([95.0, 5.0]), False, 0.3, 0.0).edge == pytest.approx([0.35])
    assert np.all(log_detector(np.ones((3, 2)), np.array([1.0, 1.0]), False, 0.99, 0.0, A) == -np.inf)


@pytest.mark.parametrize(
    ("what", "shares", "categorical", "within"),
    [
        ("a little beyond the tolerance", moved(UNIFORM, 0.13), False, 8),
        ("far beyond the tolerance", moved(UNIFORM, 0.4), False, 1),
        ("one category", moved(PROFILE, 0.2), True, 2),
        ("spread over many categories", np.array([0.14, 0.06] * 5), True, 3),
    ],
)
def test_a_change_after_a_long_quiet_time_is_found_within_a_few_blocks(
    what: str, shares: NDArray[Any], categorical: bool, within: int
) -> None:
    random = np.random.default_rng(11)
    profile = PROFILE if len(shares) == 4 else UNIFORM
    quiet = random.multinomial(1000, profile / profile.sum(), size=200)
    changed = random.multinomial(1000, shares, size=within)
    log_m = log_detector(np.concatenate([quiet, changed]).astype(float), profile, categorical, 0.1, 0.0, A)
    assert log_m[:200].max() < A, what
    assert log_m[-1] >= A, what


def test_when_the_drift_is_over_the_alarm_ends_within_a_few_blocks() -> None:
    random = np.random.default_rng(13)
    drifted = random.multinomial(1000, moved(UNIFORM, 0.5), size=100)
    healed = random.multinomial(1000, UNIFORM / UNIFORM.sum(), size=5)
    log_m = log_detector(np.concatenate([drifted, healed]).astype(float), UNIFORM, False, 0.1, 0.0, A)
    assert log_m[99] >= A > log_m[-1]


def test_blocks_without_rows_change_nothing_but_the_number_of_looks() -> None:
    log_m = log_detector(np.zeros((50, 10)), UNIFORM, True, 0.1, 0.0, A)
    assert log_m == pytest.approx(np.log(np.arange(1, 51)))


def test_more_features_need_more_evidence() -> None:
    assert threshold(7) == pytest.approx(threshold(1) + math.log(7))
    assert threshold(0) == threshold(1)


big = st.lists(st.lists(st.integers(0, 10**9), min_size=5, max_size=5), min_size=1, max_size=6)


@given(
    blocks=big,
    reference=st.lists(st.integers(0, 10**9), min_size=5, max_size=5).filter(any),
    categorical=st.booleans(),
    slack=st.floats(1e-6, 0.999),
)
def test_no_counts_upset_it(blocks: list[Any], reference: list[Any], categorical: bool, slack: float) -> None:
    log_m = log_detector(np.array(blocks, float), np.array(reference, float), categorical, slack, 0.0, A)
    assert log_m.shape == (len(blocks),)
    assert not np.isnan(log_m).any()
    assert np.all(log_m < A + 4)


@given(st.lists(st.integers(0, 10**6), min_size=5, max_size=5).filter(any), st.booleans(), st.integers(1, 30))
def test_the_profile_itself_never_alarms(reference: list[Any], categorical: bool, times: int) -> None:
    blocks = np.tile(np.array(reference, float), (times, 1))
    assert log_detector(blocks, np.array(reference, float), categorical, 0.01, 0.0, A).max() <= math.log(times) + 1e-6
