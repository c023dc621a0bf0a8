"""How much traffic a candidate may get: the largest weight whose expected cost stays inside the risk budget.

Called by `core.phases` for one rollout and by `simulate` for many: numbers or arrays of one length.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from headgate.core.statistics.difference import Floats

FIRST_SHARE, SHARE = 0.2, 0.125
"""Largest share of the remaining budget that the time between two reconciliations may be expected to cost, at first and
later."""

FIRST_WEIGHT = 1.0
"""Percent, where it is not known how much traffic there is."""

MOST_AT_FIRST = 10.0
"""Percent, at most, when nothing is known of the candidate: the traffic may grow the next moment."""

MIN_WEIGHT = 1.0
"""Percent. A candidate that still has budget keeps getting enough traffic to be judged by, if `maxWeight` allows."""

GROWTH = 2.0
"""At most this factor between two weights: a quiet minute must not open the gate for the rush after it."""

_PRIOR = (0.5, 0.5)
_lgamma = np.frompyfunc(math.lgamma, 1, 1)


def upper_rate(failures: ArrayLike, attempts: ArrayLike, alpha: float) -> Floats:
    """Upper end of a confidence sequence for a rate, valid at all times with probability 1 - alpha.

    Inverts the beta-binomial mixture M(p) = B(a+S, b+n-S)/B(a, b) / (p^S (1-p)^(n-S)) < 1/alpha, with a = b = 1/2
    (Robbins 1970; Howard, Ramdas et al. 2021).
    """
    a, b = _PRIOR
    s, n = (np.asarray(v, dtype=np.float64) for v in (failures, attempts))
    mixture = _log_beta(a + s, b + n - s) - _log_beta(np.asarray(a), np.asarray(b))
    low = np.maximum(s / np.maximum(n, 1.0), 1e-12)
    high = np.full(low.shape, 1 - 1e-12)
    edge = mixture - s * np.log(high) - (n - s) * np.log1p(-high) < -math.log(alpha)
    for _ in range(50):
        middle = (low + high) / 2
        inside = mixture - s * np.log(middle) - (n - s) * np.log1p(-middle) < -math.log(alpha)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray(np.where(edge, 1.0, high), dtype=np.float64)


def next_weight(
    current: ArrayLike,
    upper: ArrayLike,
    stable_rate: ArrayLike,
    budget_left: ArrayLike,
    requests: ArrayLike,
    max_weight: float,
) -> Floats:
    """The candidate's next weight in percent, rounded down to 0.1, but never to 0.

    `upper` bounds the candidate's rate of bad answers; `budget_left` in bad answers; `requests` that the model gets
    between two reconciliations. Rescued answers count as bad ones: a rescue costs its user time.
    """
    excess = np.maximum(np.asarray(upper) - stable_rate, 1e-6)
    wanted = np.minimum(_affordable(SHARE, budget_left, requests, excess), GROWTH * np.asarray(current))
    return _rounded(np.minimum(wanted, max_weight))


def first_weight(requests: ArrayLike, budget: float, max_weight: float) -> Floats:
    """The candidate's first weight in percent, when nothing is known of it: it may always fail.

    `requests` that the model got between two reconciliations before the rollout; 0 where that is not known.
    """
    traffic = np.asarray(requests, dtype=np.float64)
    opened = np.minimum(_affordable(FIRST_SHARE, budget, traffic, 1.0), MOST_AT_FIRST)
    weight = np.where(traffic > 0, opened, FIRST_WEIGHT)
    return _rounded(np.minimum(weight, max_weight))


def _affordable(share: float, budget: ArrayLike, requests: ArrayLike, excess: ArrayLike) -> Floats:
    """Percent of the traffic whose expected cost is `share` of the budget, but at least MIN_WEIGHT."""
    cost_at_full_weight = np.maximum(requests, 1e-3) * excess
    return np.asarray(np.maximum(MIN_WEIGHT, 100.0 * share * np.maximum(budget, 0.0) / cost_at_full_weight))


def _rounded(weight: Floats) -> Floats:
    return np.asarray(np.maximum(1.0, np.floor(10 * weight + 1e-6)) / 10, dtype=np.float64)


def _log_beta(a: Floats, b: Floats) -> Floats:
    return np.asarray(_lgamma(a) + _lgamma(b) - _lgamma(a + b), dtype=np.float64)
