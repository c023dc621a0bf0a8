"""Shadow pairs: few false alarms at the minimum, quick verdicts away from it, on both sides."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from headgate.core.statistics.agreement import Agreement, fold

shares = st.floats(0.01, 0.99)


def run(
    share: float, minimum: float, runs: int = 1000, looks: int = 200, pairs: int = 10, seed: int = 3
) -> tuple[Any, ...]:
    """The largest ln e-values of many rollouts, of harm and of safe, and the pairs to ln 100 of harm."""
    random, state = np.random.default_rng(seed), Agreement.start(runs)
    harm, safe, needed = np.zeros(runs), np.zeros(runs), np.full(runs, np.inf)
    for _ in range(looks):
        state = fold(state, np.full(runs, pairs), random.binomial(pairs, share, runs).astype(float), minimum)
        harm, safe = np.maximum(harm, state.log_harm), np.maximum(safe, state.log_safe)
        needed = np.where((needed == np.inf) & (state.log_harm >= math.log(100)), state.pairs, needed)
    return harm, safe, needed


def test_at_the_minimum_neither_side_is_shown_more_often_than_alpha() -> None:
    harm, safe, _ = run(0.95, 0.95)
    assert np.mean(harm >= math.log(100)) <= 0.01
    assert np.mean(safe >= math.log(20)) <= 0.05


def test_a_candidate_that_disagrees_is_found_within_some_hundred_pairs_and_never_passes() -> None:
    harm, safe, needed = run(0.85, 0.95)
    assert np.median(needed) <= 250
    assert np.mean(harm >= math.log(100)) == 1
    assert np.mean(safe >= math.log(20)) <= 0.001


def test_a_candidate_that_agrees_passes() -> None:
    harm, safe, _ = run(0.99, 0.95)
    assert np.mean(safe >= math.log(20)) == 1
    assert np.mean(harm >= math.log(100)) == 0


@given(share=shares, minimum=shares, pairs=st.integers(1, 20))
def test_the_mean_is_at_most_one_on_the_null_exactly(share: float, minimum: float, pairs: int) -> None:
    agreed = np.arange(pairs + 1)
    state = fold(Agreement.start(pairs + 1), np.full(pairs + 1, pairs), agreed.astype(float), minimum)
    chance = binom.pmf(agreed, pairs, share)
    against = state.log_harm if share >= minimum else state.log_safe
    assert float(np.sum(chance * np.exp(against))) <= 1 + 1e-9


def test_any_split_of_the_pairs_gives_the_same_state() -> None:
    whole = fold(Agreement.start(1), np.array([1000.0]), np.array([930.0]), 0.95)
    split = Agreement.start(1)
    for pairs, agreed in ((1, 0), (399, 380), (600, 550)):
        split = fold(split, np.array([float(pairs)]), np.array([float(agreed)]), 0.95)
    assert split.log_harm == pytest.approx(whole.log_harm)
    assert split.log_safe == pytest.approx(whole.log_safe)


@pytest.mark.parametrize(("pairs", "agreed", "minimum"), [(5, 6, 0.9), (5, -1, 0.9), (5, 5, 0.0), (5, 5, 1.0)])
def test_what_cannot_be_is_refused(pairs: int, agreed: int, minimum: float) -> None:
    with pytest.raises(ValueError, match="agree"):
        fold(Agreement.start(1), np.array([float(pairs)]), np.array([float(agreed)]), minimum)


def test_a_billion_pairs_are_finite() -> None:
    state = fold(Agreement.start(1), np.array([1e9]), np.array([9.4e8]), 0.95)
    assert np.isfinite(state.log_harm).all()
    assert np.isfinite(state.log_safe).all()
