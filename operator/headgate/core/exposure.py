"""How much traffic a candidate may get: the largest weight whose expected cost stays inside the risk budget.

Called by `core.phases` for one rollout and by `simulate` for many: numbers or arrays of one length.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from headgate.core.evidence.difference import Floats

SHARE_PER_SECOND = 0.2
"""Largest share of the remaining budget that a second may be expected to cost."""

FIRST_WEIGHT = 1.0
"""Percent, until the first block tells how much traffic there is."""

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
    requests_per_second: ArrayLike,
    max_weight: float,
) -> Floats:
    """The candidate's next weight in percent, rounded down to 0.1, but never to 0.

    `upper` bounds the candidate's rate of bad answers; `budget_left` in bad answers. Rescued answers count as bad
    ones: a rescue costs its user time.
    """
    excess = np.maximum(np.asarray(upper) - stable_rate, 1e-6)
    cost_at_full_weight = np.maximum(requests_per_second, 1e-3) * excess
    allowed = 100.0 * SHARE_PER_SECOND * np.maximum(budget_left, 0.0) / cost_at_full_weight
    wanted = np.minimum(np.minimum(max_weight, np.maximum(MIN_WEIGHT, allowed)), GROWTH * np.asarray(current))
    return np.asarray(np.maximum(1.0, np.floor(10 * wanted + 1e-6)) / 10, dtype=np.float64)


def _log_beta(a: Floats, b: Floats) -> Floats:
    return np.asarray(_lgamma(a) + _lgamma(b) - _lgamma(a + b), dtype=np.float64)
