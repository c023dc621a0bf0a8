"""How much traffic a candidate may get: the largest weight whose expected cost stays inside the risk budget.

Called by `core.decide` in phase Canary, after the new blocks were folded.
"""

import math

from headgate.api.status import ErrorEvidence
from headgate.core.evidence.errors import stable_rate

SHARE_PER_SECOND = 0.2
"""Largest share of the remaining budget that a second may be expected to cost."""

MIN_WEIGHT = 1.0
"""Percent. A candidate that still has budget keeps getting enough traffic to be judged by, if `maxWeight` allows."""

_PRIOR = (0.5, 0.5)


def upper_rate(failures: int, attempts: int, alpha: float) -> float:
    """Upper end of a confidence sequence for a rate, valid at all times with probability 1 - alpha.

    Inverts the beta-binomial mixture M(p) = B(a+S, b+n-S)/B(a, b) / (p^S (1-p)^(n-S)) < 1/alpha, with a = b = 1/2
    (Robbins 1970; Howard, Ramdas et al. 2021).
    """
    a, b = _PRIOR
    s, n = failures, attempts
    mixture = _log_beta(a + s, b + n - s) - _log_beta(a, b)

    def inside(p: float) -> bool:
        return mixture - s * math.log(p) - (n - s) * math.log1p(-p) < -math.log(alpha)

    low, high = max(s / n if n else 0.0, 1e-12), 1 - 1e-12
    if inside(high):
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return high


def excess_failures(seen: ErrorEvidence) -> float:
    """Failures of the candidate beyond those that stable would have had: what the rollout has cost so far."""
    return max(0.0, seen.candidateFailures - stable_rate(seen) * seen.candidateAttempts)


def weight(
    seen: ErrorEvidence, budget_left: float, requests_per_second: float, alpha: float, max_weight: float
) -> float:
    """The candidate's weight in percent, rounded down to 0.1, but never to 0.

    `budget_left` in bad answers. Rescued answers count as bad ones: a rescue costs its user time.
    """
    excess = upper_rate(seen.candidateFailures, seen.candidateAttempts, alpha) - stable_rate(seen)
    cost_at_full_weight = max(requests_per_second, 1e-3) * max(excess, 1e-6)
    allowed = 100.0 * SHARE_PER_SECOND * max(budget_left, 0.0) / cost_at_full_weight
    return max(1, math.floor(10 * min(max_weight, max(MIN_WEIGHT, allowed)) + 1e-6)) / 10


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
