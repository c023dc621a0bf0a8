"""The accumulators of bad answers as arrays: many rollouts at once, and what is stored between two looks of one."""

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.core.model import BaselineRate
from headgate.core.signals import rate as errors
from headgate.core.signals.rate import RateState
from headgate.core.statistics import rates
from headgate.core.statistics.difference import log_mixture
from headgate.core.statistics.rates import HISTORY_TRIALS, ODDS, ODDS_WEIGHTS, AttemptBlock, Counts, History, Rates
from told import as_json, through_json

MARGIN = 0.005
CEILING = -math.log(0.01)
FAR = 1e6
"""A ceiling that is never reached."""


def unknown(rollouts: int = 1) -> Rates:
    return Rates.start(History.unknown(rollouts))


def history(trials: int, events: int, dispersion: float = 1.0) -> Rates:
    return Rates.start(History(*(np.array([float(v)]) for v in (trials, events, dispersion))))


def counts(*blocks: Any) -> Counts:
    """Blocks of (n_c, y_c, n_s, y_s), one for each rollout."""
    return Counts(*np.array(blocks, dtype=float).T)


def logs(state: Rates) -> NDArray[Any]:
    return np.concatenate([state.harm, state.worse, state.safe, state.stake[:, None]], axis=1)


@st.composite
def blocks(draw: Any, most: int = 500) -> Any:
    n_c, n_s = draw(st.integers(0, most)), draw(st.integers(0, most))
    return n_c, draw(st.integers(0, n_c)), n_s, draw(st.integers(0, n_s))


def test_the_weights_of_the_alternatives_add_up_to_one() -> None:
    assert ODDS_WEIGHTS.sum() == pytest.approx(1, abs=1e-12)
    assert len(ODDS_WEIGHTS) == len(ODDS)
    assert np.all(ODDS > 1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.sampled_from([0.0, 1e-9, 1e-6, 0.005, 0.5, 1.0]),
    st.sampled_from([0.0, 1e-9, 1e-6, 0.005, 0.5, 1.0]),
    st.sampled_from([0.0, 1e-6, 0.005, 0.5]),
)
def test_a_thousand_million_attempts_in_a_block_give_finite_evidence_at_once(
    n_c: int, n_s: int, p_c: float, p_s: float, margin: float
) -> None:
    state, started = unknown(), time.process_time()
    for block in ((n_c, int(n_c * p_c), n_s, int(n_s * p_s)), (n_s, int(n_s * p_s), n_c, int(n_c * p_c))):
        state = rates.fold(state, counts(block), margin, CEILING)
    assert np.all(np.isfinite([*logs(state)[0], *state.log_harm, *state.log_worse, *state.log_safe, *state.excess]))
    assert time.process_time() - started < 2


@pytest.mark.parametrize("failures", [1, 150, 300, 301, 10**6])
def test_very_large_blocks_near_a_verdict_are_finite_too(failures: int) -> None:
    harm = np.full((1, len(ODDS)), CEILING - 0.3)
    state = replace(unknown(), harm=harm)
    for block in (
        (10**9, failures, 10**9, 0),
        (10**9, 0, 10**9, failures),
        (10**7, failures // 2, 10**9, failures // 2),
    ):
        after = rates.fold(state, counts(block), MARGIN, CEILING)
        assert np.all(np.isfinite(logs(after)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(blocks(60), blocks(60), blocks(60)), min_size=1, max_size=4), st.sampled_from([0.0, MARGIN]))
def test_rollouts_that_are_folded_together_become_what_each_becomes_alone(looks: list[Any], margin: float) -> None:
    """Up to their verdict: at the ceiling rounding decides whether more is staked."""
    known = History(np.array([0.0, 3000.0, 5e5]), np.array([0.0, 20.0, 100.0]), np.array([1.0, 1.0, 3.0]))
    together = Rates.start(known)
    alone = [together.take(np.array([i])) for i in range(3)]
    decided: set[Any] = set()
    for look in looks:
        together = rates.fold(together, counts(*look), margin, 2.0)
        alone = [rates.fold(state, counts(look[i]), margin, 2.0) for i, state in enumerate(alone)]
        for i in {0, 1, 2} - decided:
            np.testing.assert_allclose(logs(together)[i], logs(alone[i])[0], atol=1e-9)
            np.testing.assert_array_equal(np.array(together.counts)[:, i], np.array(alone[i].counts)[:, 0])
        decided |= set(np.flatnonzero(together.log_harm >= 2.0 - 1e-9).tolist())


@settings(max_examples=40, deadline=None)
@given(st.lists(blocks(), min_size=1, max_size=4), st.sampled_from([1.0, 2.0, 7.5, 50.0]))
def test_where_failures_cluster_the_evidence_is_that_many_times_less(looks: list[Any], dispersion: float) -> None:
    plain, tempered = history(1000, 5), history(1000, 5, dispersion)
    for look in looks:
        plain = rates.fold(plain, counts(look), MARGIN, FAR)
        tempered = rates.fold(tempered, counts(look), MARGIN, FAR)
    np.testing.assert_allclose(logs(tempered) * dispersion, logs(plain), rtol=1e-9, atol=1e-9)


def test_where_failures_cluster_nothing_is_staked() -> None:
    """The law of a block's failures is then not known."""
    state = history(5000, 25, 2.0)
    for _ in range(100):
        state = rates.fold(state, counts((10, 1, 90, 0)), MARGIN, CEILING)
    assert state.stake == [0.0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**7), st.floats(0, 1))
def test_stables_rate_starts_where_it_was(trials: int, share: float) -> None:
    events = int(trials * share)
    counted = min(float(trials), HISTORY_TRIALS)
    expected = (events / max(trials, 1) * counted + 0.25) / (counted + 100)
    assert history(trials, events).stable_rate[0] == pytest.approx(expected, rel=1e-9)


def test_a_long_history_weighs_no_more_than_some_thousand_attempts() -> None:
    """So that a new day can differ: after as many attempts again the estimate is half way to what is seen now."""
    state = rates.fold(history(10**6, 5000), counts((1, 0, 5000, 250)), MARGIN, CEILING)
    assert state.stable_rate[0] == pytest.approx((0.005 + 0.05) / 2, rel=0.02)


def test_what_stable_failed_before_is_not_held_against_it_now() -> None:
    """History says which bets to make; the bets are on this rollout's blocks alone."""
    state = history(5000, 2500)
    assert (state.log_harm[0], state.log_safe[0], state.log_worse[0]) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    assert state.excess == [0.0]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 200),
    st.sampled_from([(0, 0), (1000, 5), (5000, 4000)]),
    st.sampled_from([0.0, MARGIN, 0.3]),
    st.sampled_from([0.3, 2.0, 4.6, FAR]),
    st.sampled_from([1.0, 4.0]),
)
def test_one_failure_more_never_lowers_harm_on_the_candidate_and_never_raises_it_on_stable(
    n_c: int, n_s: int, known: tuple[Any, ...], margin: float, ceiling: float, dispersion: float
) -> None:
    """The second holds but for what is staked near a verdict: that depends on the total, so the ceiling is far."""
    trials, events = known
    before = history(trials, events, dispersion)
    y_c = np.arange(n_c + 1)
    for failed in {0, 1, n_s // 2, n_s}:
        state = before.take(np.zeros(len(y_c), int))
        after = rates.fold(state, counts(*((n_c, y, n_s, failed) for y in y_c)), margin, ceiling)
        assert np.all(np.diff(after.log_harm) >= -1e-9)
        assert np.all(np.diff(after.log_worse) >= -1e-9)
        assert np.all(np.diff(after.log_safe) <= 1e-9)
    y_s = np.arange(n_s + 1)
    for y in {0, 1, n_c}:
        state = before.take(np.zeros(len(y_s), np.intp))
        after = rates.fold(state, counts(*((n_c, y, n_s, z) for z in y_s)), margin, FAR)
        assert np.all(np.diff(after.log_harm) <= 1e-9)
        assert np.all(np.diff(after.log_worse) <= 1e-9)
        assert np.all(np.diff(after.log_safe) >= -1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(blocks(), min_size=1, max_size=5))
def test_without_a_margin_nothing_passes(looks: list[Any]) -> None:
    """No answers can show that a candidate is strictly better than not at all worse."""
    state = history(1000, 5)
    for look in looks:
        state = rates.fold(state, counts(look), 0.0, CEILING)
        assert state.log_safe == pytest.approx([0.0], abs=1e-12)
        np.testing.assert_array_equal(state.harm, state.worse)


@settings(max_examples=60, deadline=None)
@given(st.lists(blocks(40), min_size=1, max_size=12), st.sampled_from([0.5, 2.0, CEILING]))
def test_what_is_staked_never_lifts_harm_over_its_ceiling(looks: list[Any], ceiling: float) -> None:
    state, plain = history(1000, 5), history(1000, 5)
    for look in looks:
        before = state
        state = rates.fold(state, counts(look), MARGIN, ceiling)
        plain = rates.fold(plain, counts(look), MARGIN, FAR)
        np.testing.assert_allclose(state.harm, plain.harm)
        if before.log_harm[0] < ceiling and state.stake[0] != before.stake[0]:
            assert state.log_harm[0] <= ceiling + 1e-9
        if before.log_harm[0] < ceiling - 1e-9 and state.log_harm[0] < ceiling - 1e-9:
            assert state.stake[0] >= before.stake[0] - 1e-12


def test_what_a_candidate_costs_is_what_it_fails_beyond_stable() -> None:
    state = rates.fold(history(5000, 50), counts((1000, 60, 9900, 99)), MARGIN, CEILING)
    assert state.excess[0] == pytest.approx(50, abs=0.1)
    better = rates.fold(history(5000, 50), counts((1000, 2, 9900, 99)), MARGIN, CEILING)
    assert better.excess == [0.0]


def test_alone_a_candidate_is_judged_as_in_the_status() -> None:
    alone = rates.fold_alone(unknown(2), counts((100, 8, 7, 7), (50, 0, 0, 0)), MARGIN, 0.005)
    seen = errors.fold_alone(RateState(), AttemptBlock(100, 8, 0, 0), MARGIN, 0.005)
    assert seen.logHarm == round(float(alone.log_harm[0]), 4)
    assert alone.counts.n_s.tolist() == [0, 0]


@st.composite
def sessions(draw: Any) -> Any:
    """A rollout's blocks, and whether the operator restarts before each of them."""
    looks = draw(st.lists(blocks(80), min_size=1, max_size=15))
    return [(look, draw(st.booleans())) for look in looks]


@settings(max_examples=60, deadline=None)
@given(
    sessions(),
    st.sampled_from([(0, 0, 1.0), (1234, 7, 1.0), (90_000, 450, 6.2)]),
    st.sampled_from([MARGIN, 0.05]),
    st.sampled_from([1.0, CEILING]),
)
def test_the_status_holds_what_the_arrays_hold_however_often_the_operator_restarts(
    looks: list[Any], known: tuple[Any, ...], margin: float, ceiling: float
) -> None:
    """Six decimals are stored of each accumulator: half of a millionth is lost in each block."""
    state = history(*known)
    whole = seen = errors.begun(BaselineRate(*known))
    for (n_c, y_c, n_s, y_s), restarts in looks:
        if restarts:
            seen = through_json(seen)
        block = AttemptBlock(n_c, y_c, n_s, y_s)
        seen, whole = (errors.fold(e, block, margin, ceiling) for e in (seen, whole))
        state = rates.fold(state, counts((n_c, y_c, n_s, y_s)), margin, ceiling)
    assert seen == whole
    error = 1e-6 * len(looks)
    np.testing.assert_allclose(logs(errors.state_of(seen))[:, :-1], logs(state)[:, :-1], atol=error, rtol=0)
    assert seen.logHarm == pytest.approx(float(log_mixture(state.harm, ODDS_WEIGHTS)[0] + seen.stake), abs=error + 1e-4)
    assert seen.logSafe == pytest.approx(float(state.log_safe[0]), abs=error + 1e-4)
    assert np.array(errors.state_of(seen).counts).tolist() == np.array(state.counts).tolist()


def rollout(n_c: int, p_c: float, n_s: int, p_s: float, looks: int) -> RateState:
    """The evidence of a rollout of so many blocks, as it is stored."""
    random, seen = np.random.default_rng(1), errors.begun(BaselineRate(90_000, 450, 1.234))
    for _ in range(looks):
        block = AttemptBlock(n_c, int(random.binomial(n_c, p_c)), n_s, int(random.binomial(n_s, p_s)))
        seen = errors.fold(seen, block, MARGIN, CEILING)
    return seen


@pytest.mark.parametrize("world", [(5, 0.05, 45, 0.005), (25, 0.005, 25, 0.005), (5000, 0.5, 5000, 0.5)])
def test_the_evidence_takes_less_than_a_thousand_bytes_in_the_status(world: tuple[int, float, int, float]) -> None:
    """Each ModelDeployment and each decision holds it, and all of them live in etcd."""
    assert len(as_json(rollout(*world, 60))) < 1000


def test_even_the_longest_accumulators_take_less_than_a_thousand_bytes() -> None:
    known = errors.begun(BaselineRate(10**9, 10**9, 123.456))
    seen = errors.fold(known, AttemptBlock(10**9, 10**9 // 3, 10**9, 10**9 // 7), MARGIN, CEILING)
    assert len(as_json(seen)) < 1000
