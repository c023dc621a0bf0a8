"""What is known of a block's failures given their total: the laws, and the stakes that avoid overshoot."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, hypergeom, nchypergeom_fisher

from headgate.core.statistics import rates
from headgate.core.statistics.conditional import LARGEST_TOTAL, log_law, log_stake
from headgate.core.statistics.difference import Floats, bet_at_most, log_mixture
from headgate.core.statistics.rates import ODDS, ODDS_WEIGHTS, Counts, History, Rates

trials = st.one_of(st.integers(0, 12), st.integers(0, 10**4), st.sampled_from([10**6, 10**9]))
GRID = np.concatenate(
    [[0, 1e-9, 1e-4, 0.001, 0.005, 0.02, 0.05], np.linspace(0.1, 0.9, 17), [0.98, 0.999, 1 - 1e-6, 1]]
)
"""Stable's rates."""
BELOW = (1.0, 0.98, 0.7, 0.3, 0.0)
"""The candidate's rates, as shares of the largest that the null allows."""


def floats(total: float, n_c: float, n_s: float) -> tuple[Floats, Floats, Floats]:
    return np.array([float(total)]), np.array([float(n_c)]), np.array([float(n_s)])


def law(total: int, n_c: int, n_s: int, size: Any = None) -> Any:
    """The law of the candidate's failures in one block."""
    return log_law(*floats(total, n_c, n_s), size or total + 1)[0]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, LARGEST_TOTAL), trials, trials)
def test_the_law_is_the_hypergeometric_one(total: int, n_c: int, n_s: int) -> None:
    total = min(total, n_c + n_s)
    j = np.arange(total + 1)
    expected = hypergeom.logpmf(j, n_c + n_s, total, n_c)
    found = law(total, n_c, n_s)
    likely = expected > -300
    # scipy subtracts logarithms of factorials, which are of the size of n ln n, and loses as many digits.
    error = 1e-9 + 1e-14 * (n_c + n_s) * np.log(n_c + n_s + 2)
    np.testing.assert_allclose(found[likely], expected[likely], atol=error, rtol=1e-9)
    assert np.all(np.isneginf(found) == np.isneginf(expected))


@pytest.mark.parametrize("n", [10**5, 10**7, 10**9])
@pytest.mark.parametrize("total", [1, 40, 300])
def test_with_very_many_attempts_the_law_is_nearly_binomial(n: int, total: int) -> None:
    """By how much the two laws differ, in total variation, is known: at most total / attempts (Ehm 1991)."""
    found = np.exp(law(total, n, 9 * n))
    assert np.abs(found - binom.pmf(np.arange(total + 1), total, 0.1)).sum() / 2 <= total / (10 * n) + 1e-11


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 60), st.floats(0.02, 140))
def test_tilted_by_the_odds_ratio_it_is_fishers_noncentral_law(total: int, n_c: int, n_s: int, odds: float) -> None:
    total = min(total, n_c + n_s)
    j = np.arange(total + 1)
    tilted = law(total, n_c, n_s) + j * np.log(odds)
    tilted = np.exp(tilted - np.logaddexp.reduce(tilted))
    np.testing.assert_allclose(tilted, nchypergeom_fisher.pmf(j, n_c + n_s, n_c, total, odds), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=5))
def test_many_rollouts_have_the_laws_that_each_has_alone(blocks: list[Any]) -> None:
    blocks = [(min(k, n_c + n_s), n_c, n_s) for k, n_c, n_s in blocks]
    total, n_c, n_s = np.array(blocks, dtype=float).T
    together = log_law(total, n_c, n_s, 21)
    for (k, n_c, n_s), found in zip(blocks, together, strict=True):
        np.testing.assert_allclose(found[: k + 1], law(k, n_c, n_s), atol=1e-12)
        assert np.all(np.isneginf(found[k + 1 :]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 40), st.integers(1, 360), st.sampled_from(range(len(ODDS))))
def test_a_bet_without_margin_pays_what_fishers_law_pays_over_the_hypergeometric_one(
    total: int, n_c: int, n_s: int, place: int
) -> None:
    """In the limit of rare failures, up to a factor that only the total decides.

    Given the total, a bet grows with each failure that is the candidate's by the logarithm of the odds ratio of its
    alternative. Rates of 1e-6 make that the ratio of the rates, with a relative error of some 1e-4 (rate times odds
    ratio); the total is at most 8.
    """
    total = min(total, n_c + n_s)
    odds, q_s = ODDS[place], 1e-6
    q_c = odds * q_s / (1 - q_s + odds * q_s)
    j = np.arange(max(0, total - n_s), min(total, n_c) + 1)
    assume(len(j) > 1)
    bet = bet_at_most(n_c, n_s, q_c, q_s, 0.0).log_e(j, total - j)
    theirs = nchypergeom_fisher.logpmf(j, n_c + n_s, n_c, total, odds) - hypergeom.logpmf(j, n_c + n_s, total, n_c)
    np.testing.assert_allclose(np.diff(bet), np.diff(theirs), atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.sampled_from(range(len(ODDS))), st.sampled_from([0.02, 0.1, 0.5]))
def test_of_very_many_attempts_that_factor_is_one(total: int, place: int, share: float) -> None:
    """With 1e8 attempts at rates of at most 2e-7, five of which fail: the bet is the ratio itself, but for what it
    pays for attempts without failure, which does not depend on who had them."""
    n, q_s, odds = 10**8, 1e-9, ODDS[place]
    n_c = int(n * share)
    j = np.arange(total + 1)
    bet = bet_at_most(n_c, n - n_c, odds * q_s, q_s, 0.0)
    tilt = law(total, n_c, n - n_c) + j * np.log(odds)
    theirs = j * np.log(odds) - np.logaddexp.reduce(tilt)
    np.testing.assert_allclose(bet.candidate * j + bet.stable * (total - j), theirs, atol=1e-5)


@st.composite
def staked(draw: Any) -> Any:
    """A total, trials, ln e-values that rise with the candidate's failures, and a ceiling."""
    n_c, n_s = draw(st.integers(1, 60)), draw(st.integers(1, 200))
    total = draw(st.integers(1, min(40, n_c + n_s)))
    start = draw(st.floats(-5, 0))
    steps = draw(st.lists(st.floats(0, 4), min_size=total, max_size=total))
    return total, n_c, n_s, np.cumsum([start, *steps]), draw(st.floats(0.01, 8))


def mean_of(weights: NDArray[Any], logs: NDArray[Any]) -> float:
    return float(np.exp(np.logaddexp.reduce(weights + logs)))


@settings(max_examples=300, deadline=None)
@given(staked())
def test_what_is_staked_leaves_the_mean_unchanged(block: tuple[Any, ...]) -> None:
    total, n_c, n_s, gains, ceiling = block
    (won,) = log_stake(*floats(total, n_c, n_s), lambda j: gains[None, : len(j)], np.array([ceiling]))
    chance = law(total, n_c, n_s)
    before, after = mean_of(chance, gains), mean_of(chance, np.minimum(gains + won, ceiling))
    assert won >= 0
    if before < np.exp(ceiling) * (1 - 1e-9):
        assert after == pytest.approx(before, rel=1e-9)
    else:  # more than the ceiling can't be had
        assert after <= before


def test_nothing_is_staked_where_nothing_can_overshoot() -> None:
    assert log_stake(*floats(5, 10, 20), lambda j: 0.1 * j[None, :], np.array([4.0])) == [0.0]


def test_the_stake_of_one_failure_in_two_attempts_is_known() -> None:
    """Half of the time E is 8, of which 5 count: the 3 that are left make 0.5 into 3.5. Of 2.5 and 2: 0.5 into 1."""
    assert log_stake(*floats(1, 1, 1), lambda j: np.log([[0.5, 8.0]]), np.log([5.0])) == pytest.approx(np.log(7.0))
    assert log_stake(*floats(1, 1, 1), lambda j: np.log([[0.5, 2.5]]), np.log([2.0])) == pytest.approx(np.log(2.0))


def state(rollouts: int, harm: NDArray[Any], history: tuple[Any, ...] = (0, 0), stake: float = 0.0) -> Rates:
    """Rollouts that all have the same accumulators of harm."""
    known = History(*(np.full(rollouts, float(v)) for v in (*history, 1)))
    return replace(Rates.start(known), harm=np.tile(harm, (rollouts, 1)), stake=np.full(rollouts, stake))


def gains_of_all_outcomes(
    n_c: int,
    n_s: int,
    harm: NDArray[Any],
    margin: float,
    ceiling: Any,
    history: tuple[Any, ...] = (0, 0),
    stake: float = 0.0,
) -> NDArray[Any]:
    """How much the harm of one state grows in each outcome of a block, as an e-value of shape (n_c + 1, n_s + 1)."""
    y_c, y_s = (a.ravel().astype(float) for a in np.meshgrid(np.arange(n_c + 1), np.arange(n_s + 1), indexing="ij"))
    before = state(len(y_c), harm, history, stake)
    block = Counts(np.full(len(y_c), float(n_c)), y_c, np.full(len(y_c), float(n_s)), y_s)
    after = rates.fold(before, block, margin, ceiling)
    return (after.log_harm - before.log_harm).reshape(n_c + 1, n_s + 1)


def means(gains: NDArray[Any], margin: float) -> NDArray[Any]:
    """The exact mean of e^gains at every point of the grid."""
    n_c, n_s = gains.shape[0] - 1, gains.shape[1] - 1
    stable = binom.pmf(np.arange(n_s + 1)[:, None], n_s, GRID)
    found = []
    for share in BELOW:
        candidate = binom.pmf(np.arange(n_c + 1)[:, None], n_c, share * np.minimum(1.0, GRID + margin))
        found.append(np.einsum("ip,ij,jp->p", candidate, np.exp(gains), stable))
    return np.array(found)


def just_below(harm: NDArray[Any], ceiling: Any, below: float, stake: float = 0.0) -> Any:
    """The accumulators moved so that harm is `below` its ceiling."""
    harm = np.asarray(harm, dtype=float)
    return harm - log_mixture(harm, ODDS_WEIGHTS) + ceiling - below - stake


@st.composite
def accumulators(draw: Any) -> Any:
    """Flat, one alternative alone, a slope, or anything."""
    kind = draw(st.sampled_from(["flat", "one", "slope", "any"]))
    if kind == "flat":
        return np.zeros(len(ODDS))
    if kind == "one":
        return np.where(np.arange(len(ODDS)) == draw(st.integers(0, len(ODDS) - 1)), 0.0, -30.0)
    if kind == "slope":
        return np.linspace(0, draw(st.sampled_from([-20, -5, -1, 1, 5, 20])), len(ODDS))
    return np.array(draw(st.lists(st.floats(-10, 10), min_size=len(ODDS), max_size=len(ODDS))))


@st.composite
def near_verdict(draw: Any) -> Any:
    """A small block, and a state that may be decided by it."""
    ceiling = draw(st.sampled_from([-np.log(a) - np.log(w) for a in (0.2, 0.01, 0.001) for w in (1.0, 0.6, 0.15)]))
    stake = draw(st.sampled_from([0.0, 0.0, 0.7]))
    below = draw(st.sampled_from([1e-6, 0.01, 0.1, 0.5, 1.0, 2.0, 4.0]))
    return {
        "n_c": draw(st.integers(1, 12)),
        "n_s": draw(st.integers(1, 12)),
        "harm": just_below(draw(accumulators()), ceiling, below, stake),
        "margin": draw(st.sampled_from([0.0, 0.005, 0.05, 0.3])),
        "ceiling": ceiling,
        "history": draw(st.sampled_from([(0, 0), (100, 1), (100, 30), (5000, 0), (5000, 25), (5000, 4500)])),
        "stake": stake,
    }


@settings(max_examples=500, deadline=None)
@given(near_verdict())
def test_near_a_verdict_the_mean_is_at_most_one_on_the_whole_null(world: dict[str, Any]) -> None:
    """End to end: all outcomes of small blocks, through `rates.fold`, weighed with every pair of rates of a grid."""
    assert means(gains_of_all_outcomes(**world), world["margin"]).max() <= 1 + 1e-9


@settings(max_examples=150, deadline=None)
@given(near_verdict())
def test_evidence_rises_with_the_candidates_failures_at_any_number_of_stables(world: dict[str, Any]) -> None:
    """Why the mean is largest where the candidate is worst: the second half of the proof."""
    assert np.diff(gains_of_all_outcomes(**world), axis=0).min(initial=0) >= -1e-9


@pytest.mark.parametrize(("n_c", "n_s"), [(1, 1), (2, 2), (1, 12)])
@pytest.mark.parametrize("place", [8, 11])
def test_a_block_in_which_only_stable_fails_wins_nothing(n_c: int, n_s: int, place: int) -> None:
    """Its total is large, so much could be staked; but a candidate that is better than stable must not pay for it."""
    harm = np.where(np.arange(len(ODDS)) == place, 0.0, -30.0)
    gains = gains_of_all_outcomes(n_c, n_s, just_below(harm, 4.9, 0.5), 0.0, 4.9)
    assert gains[0, n_s] < 0


@pytest.mark.parametrize("margin", [0.0, 0.005])
def test_something_is_won_near_a_verdict(margin: float) -> None:
    """Blocks that do not decide are worth more than they would be under a ceiling that is far away."""
    harm = just_below(np.zeros(len(ODDS)), 4.6, 0.5)
    near, far = (gains_of_all_outcomes(2, 12, harm, margin, ceiling) for ceiling in (4.6, 100.0))
    assert near.max() <= 0.5 + 1e-9 < far.max()
    open_ = near < 0.5 - 1e-9
    assert np.all(near[open_] >= far[open_] - 1e-9)
    assert np.any(near[open_] > far[open_] + 0.01)
