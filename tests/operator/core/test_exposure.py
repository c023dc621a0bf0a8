"""How much traffic a candidate may get for what it may cost."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import betaln

from headgate.core.exposure import MIN_WEIGHT, first_weight, next_weight, upper_rate
from headgate.core.signals.rate import RateState, stable_rate, state_of


def seen(candidate: tuple[Any, ...] = (0, 0), stable: tuple[Any, ...] = (5, 1000)) -> RateState:
    (y_c, n_c), (y_s, n_s) = candidate, stable
    return RateState(candidateFailures=y_c, candidateAttempts=n_c, stableFailures=y_s, stableAttempts=n_s)


def weight(found: RateState, left: float, rate: float, alpha: float, largest: float, current: float = 100.0) -> float:
    upper = upper_rate(found.candidateFailures, found.candidateAttempts, alpha)
    return float(next_weight(current, upper, stable_rate(found), left, rate, largest))


def excess_failures(found: RateState) -> float:
    return float(state_of(found).excess[0])


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0.001, 0.2))
def test_the_upper_rate_is_where_the_mixture_reaches_one_over_alpha(n: int, share: float, alpha: float) -> None:
    failures = int(n * share)

    def beyond(p: Any) -> Any:
        mixture = betaln(0.5 + failures, 0.5 + n - failures) - betaln(0.5, 0.5)
        return mixture - failures * math.log(p) - (n - failures) * math.log1p(-p) + math.log(alpha)

    found = upper_rate(failures, n, alpha)
    if found == 1.0:
        assert beyond(1 - 1e-12) < 1e-6
    else:
        exact = brentq(beyond, max(failures / n, 1e-12), 1 - 1e-12, xtol=1e-12)
        assert found == pytest.approx(exact, abs=1e-6)


def test_before_the_first_request_everything_is_possible() -> None:
    assert upper_rate(0, 0, 0.01) == 1.0


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(0, 5000))
def test_the_upper_rate_rises_with_failures_and_falls_with_good_answers(n: int, failures: int) -> None:
    failures = min(failures, n - 1)
    assert upper_rate(failures + 1, n, 0.01) >= upper_rate(failures, n, 0.01)
    assert upper_rate(failures, n + 100, 0.01) <= upper_rate(failures, n, 0.01)
    assert upper_rate(failures, n, 0.01) > failures / n


evidence = st.builds(
    lambda n, y, m, z: seen((min(y, n), n), (min(z, m), m)),
    *(st.integers(0, 10_000), st.integers(0, 200), st.integers(0, 10_000), st.integers(0, 200)),
)


@settings(deadline=None, max_examples=50)
@given(evidence, st.floats(-10, 1e6), st.floats(0, 1e5), st.floats(0.1, 100))
def test_the_weight_stays_between_the_least_useful_and_the_largest_allowed_one(
    found: RateState, left: float, rate: float, largest: float
) -> None:
    got = weight(found, left, rate, 0.01, largest)
    assert min(1.0, math.floor(10 * largest) / 10) - 1e-9 <= got <= largest + 1e-6
    assert round(got, 1) == got


@settings(deadline=None)
@given(st.integers(50, 10_000), st.integers(0, 40), st.floats(0.5, 50), st.floats(1, 1000))
def test_the_weight_falls_with_every_failure_and_with_every_request_a_second(
    n: int, failures: int, left: float, rate: float
) -> None:
    now = weight(seen((failures, n)), left, rate, 0.01, 50)
    assert weight(seen((failures + 1, n)), left, rate, 0.01, 50) <= now
    assert weight(seen((failures, n)), left, rate * 2, 0.01, 50) <= now
    assert weight(seen((failures, n)), left / 2, rate, 0.01, 50) <= now


def test_a_look_costs_no_more_than_an_eighth_of_the_budget_that_is_left() -> None:
    found, requests, left = seen((0, 2000), (0, 2000)), 5000.0, 20.0
    got = weight(found, left, requests, 0.01, 50)
    assert 1 < got < 50
    excess = upper_rate(0, 2000, 0.01) - stable_rate(found)
    assert got / 100 * requests * excess <= 0.125 * left


@pytest.mark.parametrize(
    ("requests", "budget", "expected"), [(50, 20, 8.0), (750, 20, 1.0), (0, 20, 1.0), (5, 20, 10.0)]
)
def test_the_first_weight_may_cost_a_fifth_of_the_budget_if_the_candidate_always_fails(
    requests: int, budget: int, expected: float
) -> None:
    assert float(first_weight(requests, budget, 50.0)) == expected


def test_a_small_largest_weight_is_never_exceeded() -> None:
    assert weight(seen(), 20, 50, 0.01, 0.5) == 0.5
    assert weight(seen(), 20, 50, 0.01, 0.01) == 0.1


def test_without_traffic_the_largest_weight_is_harmless() -> None:
    assert weight(seen((0, 0)), 20, 0.0, 0.01, 50) == 50


def test_a_candidate_costs_what_it_fails_beyond_stable() -> None:
    assert excess_failures(seen((15, 1000), (10, 1000))) == pytest.approx(15 - 1000 * 10.25 / 1100)
    assert excess_failures(seen((1, 1000), (100, 1000))) == 0


def test_a_weight_at_most_doubles() -> None:
    assert weight(seen(), 20, 0.0, 0.01, 50, current=3.0) == 6.0


def test_many_rollouts_at_once_get_what_each_would_get_alone() -> None:
    failures, attempts = np.array([0, 3, 40]), np.array([100, 1000, 900])
    together = next_weight(4.0, upper_rate(failures, attempts, 0.01), 0.005, np.array([20, 10, 1]), 50.0, 50.0)
    alone = [
        float(next_weight(4.0, upper_rate(y, n, 0.01), 0.005, left, 50.0, 50.0))
        for y, n, left in zip(failures, attempts, (20, 10, 1), strict=True)
    ]
    assert together.tolist() == alone
    assert together.min() >= MIN_WEIGHT
