"""The one test that every signal is made of: its mean under any null is at most 1, whatever it bets on."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import comb

from headgate.core.statistics.difference import EDGE, log_e_at_least, log_e_at_most, log_mean, log_mixture

share = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-6, 0.001, 0.5, 0.999, 1.0]))
bet = st.one_of(st.floats(0.001, 0.999), st.sampled_from([0.001, 0.005, 0.5, 0.999]))
trials = st.integers(0, 12)
margins = st.one_of(st.floats(-0.9, 0.9), st.sampled_from([-0.05, 0.0, 0.005, 0.05]))


def binomial(y: NDArray[Any], n: int, p: float) -> Any:
    """The chance of y events in n trials; scipy's own overflows for the smallest numbers that there are."""
    return comb(n, y) * np.power(p, y) * np.power(1 - p, n - y)


def mean_e(
    test: Callable[..., Any], n_c: int, n_s: int, p_c: float, p_s: float, q_c: float, q_s: float, margin: float
) -> float:
    """The exact mean of E over all outcomes of a block."""
    y_c, y_s = np.arange(n_c + 1)[:, None], np.arange(n_s + 1)[None, :]
    chance = binomial(y_c, n_c, p_c) * binomial(y_s, n_s, p_s)
    return float(np.sum(chance * np.exp(test(y_c, n_c, y_s, n_s, q_c, q_s, margin))))


def null_at_most(p: float, fall: float, margin: float) -> tuple[Any, ...]:
    """A point with p_c - p_s <= margin, on the edge for `fall` 0; no nearer to 0 and 1 than the test looks."""
    p_s = min(max(p, EDGE, EDGE - margin), 1 - EDGE)
    return max(EDGE, min(1 - EDGE, p_s + margin) - fall), p_s


@settings(max_examples=200, deadline=None)
@given(trials, trials, share, st.one_of(st.just(0.0), share), bet, bet, margins)
def test_the_mean_is_at_most_one_wherever_the_candidate_is_worse_by_at_most_the_margin(
    n_c: int, n_s: int, p: float, fall: float, q_c: float, q_s: float, margin: float
) -> None:
    p_c, p_s = null_at_most(p, fall, margin)
    assert mean_e(log_e_at_most, n_c, n_s, p_c, p_s, q_c, q_s, margin) <= 1 + 1e-9


@settings(max_examples=200, deadline=None)
@given(trials, trials, share, st.one_of(st.just(0.0), share), bet, bet, margins)
def test_the_mean_of_the_mirror_is_at_most_one_wherever_the_candidate_is_worse_by_at_least_the_margin(
    n_c: int, n_s: int, p: float, fall: float, q_c: float, q_s: float, margin: float
) -> None:
    better_c, better_s = null_at_most(p, fall, -margin)
    assert mean_e(log_e_at_least, n_c, n_s, 1 - better_c, 1 - better_s, q_c, q_s, margin) <= 1 + 1e-9


@settings(max_examples=60, deadline=None)
@given(trials, trials, share, share, share, margins)
def test_bets_on_never_and_always_and_nulls_in_the_corners_cost_next_to_nothing(
    n_c: int, n_s: int, p: float, q_c: float, q_s: float, margin: float
) -> None:
    p_s = max(p, -margin)
    p_c = max(0.0, min(1.0, p_s + margin))
    assert mean_e(log_e_at_most, n_c, n_s, p_c, p_s, q_c, q_s, margin) <= 1 + 1e-4


@settings(max_examples=40, deadline=None)
@given(share, share, margins, st.integers(1, 1000))
def test_a_block_without_trials_in_one_arm_says_nothing(q_c: float, q_s: float, margin: float, n: int) -> None:
    for test in (log_e_at_most, log_e_at_least):
        assert test(0, 0, n // 2, n, q_c, q_s, margin) == 0
        assert test(n // 2, n, 0, 0, q_c, q_s, margin) == 0


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.9), st.integers(0, 50), st.integers(0, 50))
def test_a_bet_on_a_point_of_the_null_says_nothing(q_s: float, below: float, margin: float, y_c: int, y_s: int) -> None:
    assert log_e_at_most(y_c, 50, y_s, 50, max(0.0, q_s + margin - below - 1e-6), q_s, margin) == 0


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 0.4), st.floats(0.02, 0.5), st.sampled_from([0.0, 0.005, 0.01]))
def test_more_failures_of_the_candidate_are_more_evidence_and_more_of_stable_are_less(
    q_s: float, excess: float, margin: float
) -> None:
    failures = np.arange(41)
    q_c = q_s + margin + excess
    assert np.all(np.diff(log_e_at_most(failures, 40, 4, 40, q_c, q_s, margin)) > 0)
    assert np.all(np.diff(log_e_at_most(4, 40, failures, 40, q_c, q_s, margin)) < 0)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 0.4), st.sampled_from([0.005, 0.05, 0.2]))
def test_fewer_failures_of_the_candidate_are_more_evidence_for_it(q_s: float, margin: float) -> None:
    failures = np.arange(41)
    assert np.all(np.diff(log_e_at_least(failures, 40, 4, 40, q_s, q_s, margin)) < 0)


@pytest.mark.parametrize(("margin", "q_c", "q_s"), [(0.0, 0.05, 0.01), (0.005, 0.05, 0.005), (0.05, 0.4, 0.2)])
def test_evidence_grows_with_every_block_when_the_bet_is_right(margin: float, q_c: float, q_s: float) -> None:
    one = log_e_at_most(1000 * q_c, 1000, 1000 * q_s, 1000, q_c, q_s, margin)
    ten = log_e_at_most(10_000 * q_c, 10_000, 10_000 * q_s, 10_000, q_c, q_s, margin)
    assert one > 1
    assert ten == pytest.approx(10 * one)


def test_with_margin_zero_it_is_the_test_of_turner_ly_and_gruenwald() -> None:
    q_c, q_s, n_c, n_s, y_c, y_s = 0.3, 0.1, 20, 60, 7, 5
    pooled = (n_c * q_c + n_s * q_s) / (n_c + n_s)
    theirs = (
        y_c * math.log(q_c / pooled)
        + (n_c - y_c) * math.log((1 - q_c) / (1 - pooled))
        + y_s * math.log(q_s / pooled)
        + (n_s - y_s) * math.log((1 - q_s) / (1 - pooled))
    )
    assert log_e_at_most(y_c, n_c, y_s, n_s, q_c, q_s, 0.0) == pytest.approx(theirs)


def test_all_arguments_broadcast() -> None:
    found = log_e_at_most(np.arange(3)[:, None], 10, 1, 10, np.array([0.2, 0.3]), 0.1, 0.0)
    assert found.shape == (3, 2)
    assert found[2, 1] == log_e_at_most(2, 10, 1, 10, 0.3, 0.1, 0.0)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=10))
def test_the_mean_of_e_values_is_taken_without_overflow(logs: list[Any]) -> None:
    exact = max(logs) + math.log(math.fsum(math.exp(v - max(logs)) for v in logs) / len(logs))
    assert float(log_mean(logs)) == pytest.approx(exact, abs=1e-9)


def test_the_mean_is_taken_along_the_last_axis() -> None:
    assert log_mean(np.log([[1.0, 3.0], [2.0, 2.0]])) == pytest.approx(np.log([2.0, 2.0]))
    assert log_mixture(np.log([[1.0, 3.0], [2.0, 2.0]]), [0.25, 0.75]) == pytest.approx(np.log([2.5, 2.0]))
