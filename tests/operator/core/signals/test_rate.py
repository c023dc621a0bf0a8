"""Failed answers: accumulators that survive a restart, few false alarms, and no bad version missed."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.signals.rate import ACCUMULATORS, RateState, fold, fold_alone, stable_rate
from headgate.core.signals.signal import PASS
from headgate.core.statistics import rates
from headgate.core.statistics.rates import ODDS, AttemptBlock, Counts, History, Rates
from told import through_json, verdict

MARGIN = 0.005
CEILING = -math.log(0.01)


@st.composite
def attempt_blocks(draw: Any) -> Any:
    n_c, n_s = draw(st.integers(0, 500)), draw(st.integers(0, 500))
    return AttemptBlock(n_c, draw(st.integers(0, n_c)), n_s, draw(st.integers(0, n_s)))


def rollout(random: Any, blocks: int, p_c: float, p_s: float, n_c: int = 100, n_s: int = 300) -> Iterator[Any]:
    """The evidence after each block of a rollout in which nothing is decided."""
    seen = RateState()
    for _ in range(blocks):
        block = AttemptBlock(n_c, int(random.binomial(n_c, p_c)), n_s, int(random.binomial(n_s, p_s)))
        seen = fold(seen, block, MARGIN, CEILING)
        yield seen


def false_alarms(
    p_c: float, p_s: float, alpha: float = 0.05, runs: int = 600, blocks: int = 40, n_c: int = 100, n_s: int = 300
) -> float:
    """The share of rollouts of 40 blocks that a harmless version would not survive."""
    random = np.random.default_rng(7)
    state, ceiling = Rates.start(History.unknown(runs)), -math.log(alpha)
    largest = np.zeros(runs)
    for _ in range(blocks):
        y_c, y_s = (random.binomial(n, p, runs).astype(float) for n, p in ((n_c, p_c), (n_s, p_s)))
        state = rates.fold(state, Counts(np.full(runs, n_c), y_c, np.full(runs, n_s), y_s), MARGIN, ceiling)
        largest = np.maximum(largest, state.log_harm)
    return float(np.mean(largest >= ceiling - 1e-9))


@settings(max_examples=15, deadline=None)
@given(st.lists(attempt_blocks(), max_size=8), st.data())
def test_to_go_on_from_a_stored_state_is_the_same_as_never_having_stopped(blocks: list[Any], data: Any) -> None:
    stop = data.draw(st.integers(0, len(blocks)))
    whole = seen = RateState()
    for i, block in enumerate(blocks):
        if i == stop:
            seen = through_json(seen)
        whole, seen = fold(whole, block, MARGIN, CEILING), fold(seen, block, MARGIN, CEILING)
    assert seen == whole


@settings(max_examples=20, deadline=None)
@given(st.lists(attempt_blocks(), max_size=6))
def test_counts_are_the_sums_of_the_blocks(blocks: list[Any]) -> None:
    seen = RateState()
    for block in blocks:
        seen = fold(seen, block, MARGIN, CEILING)
    assert seen.candidateAttempts == sum(b.candidate_attempts for b in blocks)
    assert seen.candidateFailures == sum(b.candidate_failures for b in blocks)
    assert seen.stableAttempts == sum(b.stable_attempts for b in blocks)
    assert seen.stableFailures == sum(b.stable_failures for b in blocks)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(1e-6, 0.5))
def test_a_million_attempts_in_a_block_give_finite_evidence(
    n: int, failed_c: float, failed_s: float, margin: float
) -> None:
    seen = fold(RateState(), AttemptBlock(n, int(n * failed_c), n, int(n * failed_s)), margin, CEILING)
    seen = fold(seen, AttemptBlock(n, int(n * failed_s), n, int(n * failed_c)), margin, CEILING)
    assert all(map(math.isfinite, (*seen.harm, *seen.safe, seen.logHarm, seen.logSafe)))


def test_a_quiet_minute_is_no_evidence() -> None:
    seen = fold(RateState(), AttemptBlock(), MARGIN, CEILING)
    assert (seen.logHarm, seen.logSafe, verdict(seen, 3.0)) == (0.0, 0.0, "Inconclusive")


@pytest.mark.parametrize("rate", [0.0, 0.005, 0.2])
def test_an_equal_version_is_rolled_back_less_often_than_alpha_over_a_whole_rollout(rate: float) -> None:
    assert false_alarms(rate, rate) <= 0.01


@pytest.mark.parametrize("rate", [0.0, 0.005, 0.2])
def test_a_version_that_is_worse_by_just_the_margin_is_rolled_back_no_more_often_than_alpha(rate: float) -> None:
    assert false_alarms(rate + MARGIN, rate) <= 0.05


def test_a_common_failure_rate_that_swings_is_no_alarm() -> None:
    random, alarms = np.random.default_rng(3), 0
    for _ in range(10):
        seen = RateState()
        for minute in range(30):
            p = 0.01 + 0.2 * (minute % 10 == 9)
            n_c = int(random.integers(1, 200))
            block = AttemptBlock(n_c, int(random.binomial(n_c, p)), 300 - n_c, int(random.binomial(300 - n_c, p)))
            seen = fold(seen, block, MARGIN, CEILING)
            if verdict(seen, -math.log(0.01)) == "Fail":
                alarms += 1
                break
    assert alarms == 0


def test_a_version_with_five_percent_errors_is_found_within_some_hundred_requests() -> None:
    random, needed = np.random.default_rng(11), []
    for _ in range(15):
        for seen in rollout(random, 400, 0.05, 0.0, n_c=5, n_s=45):
            if verdict(seen, -math.log(0.01)) == "Fail":
                needed.append(seen.candidateAttempts)
                break
    assert len(needed) == 15
    assert np.median(needed) <= 200


def test_a_version_that_always_fails_is_found_within_ten_requests() -> None:
    random = np.random.default_rng(1)
    found = next(s for s in rollout(random, 20, 1.0, 0.005, n_c=1, n_s=49) if verdict(s, -math.log(0.01)) == "Fail")
    assert found.candidateAttempts <= 10


def test_an_equal_version_passes() -> None:
    random = np.random.default_rng(5)
    passed = next(s for s in rollout(random, 400, 0.0, 0.0, n_c=25, n_s=25) if verdict(s, 5.0) == "Pass")
    assert passed.logSafe >= PASS
    assert passed.candidateAttempts <= 5000


def test_a_version_that_is_worse_by_the_margin_passes_hardly_ever() -> None:
    random = np.random.default_rng(9)
    passed = sum(any(s.logSafe >= PASS for s in rollout(random, 10, 0.01, 0.005, 600, 1200)) for _ in range(15))
    assert passed <= 2


def test_harm_wins_over_safety() -> None:
    assert verdict(RateState(logHarm=6.0, logSafe=9.0), 5.0) == "Fail"


@pytest.mark.parametrize(("failures", "attempts"), [(0, 0), (0, 10**6), (10**6, 10**6)])
def test_the_estimate_of_stables_rate_is_never_zero_or_one(failures: int, attempts: int) -> None:
    assert 0 < stable_rate(RateState(stableFailures=failures, stableAttempts=attempts)) < 1


def test_alone_the_candidate_is_held_to_stables_earlier_rate() -> None:
    good = bad = RateState()
    for _ in range(20):
        good = fold_alone(good, AttemptBlock(100, 1, 0, 0), MARGIN, rate=0.005)
        bad = fold_alone(bad, AttemptBlock(100, 8, 0, 0), MARGIN, rate=0.005)
    assert verdict(good, -math.log(0.01)) == "Inconclusive"
    assert verdict(bad, -math.log(0.01)) == "Fail"
    assert (bad.candidateAttempts, bad.candidateFailures) == (2000, 160)


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.001, 0.005, 0.5]))
@settings(max_examples=15, deadline=None)
def test_alone_the_evidence_is_finite_whatever_stables_rate_was(
    n: int, failed: float, rate: float, margin: float
) -> None:
    seen = fold_alone(RateState(), AttemptBlock(n, int(n * failed)), margin, rate)
    assert all(map(math.isfinite, (*seen.harm, seen.logHarm)))


def test_alone_evidence_against_the_candidate_from_before_still_counts() -> None:
    before = RateState(accumulators=ACCUMULATORS, harm=[1.0] * len(ODDS), logHarm=1.0)
    assert fold_alone(before, AttemptBlock(), MARGIN, 0.005).logHarm == 1.0


def test_accumulators_of_another_version_start_anew_and_the_counts_stay() -> None:
    before = RateState(accumulators=1, harm=[9.0] * 7, safe=[9.0] * 3, candidateAttempts=50, candidateFailures=2)
    after = fold(before, AttemptBlock(10, 1, 10, 0), MARGIN, CEILING)
    assert (after.candidateAttempts, after.candidateFailures) == (60, 3)
    assert after.logHarm < 5
    assert after.accumulators == ACCUMULATORS


@pytest.mark.parametrize("counts", [(-1, 0, 0, 0), (5, 6, 0, 0), (5, -1, 0, 0), (0, 0, 3, 4)])
def test_impossible_counts_are_no_block(counts: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="bad answers in"):
        AttemptBlock(*counts)
