"""Does the candidate answer as stable does, where both were asked the same? The evidence of shadow pairs.

A pair agrees when both name the same class, or their outputs are within a tolerance. `minimum` is the share of pairs
that must agree. Two e-processes over arrays of any number of rollouts, each a mixture of likelihood ratios against the
minimum:

- harm, against "at least the minimum agree": alternatives below it;
- safe, against "at most the minimum agree": alternatives above it.

For an alternative q and the minimum m a pair that agrees pays q/m, another one (1 - q)/(1 - m). The mean of that is
linear in the true share and 1 at m, so it is at most 1 on m's other side, pair by pair.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from headgate.core.statistics.difference import EDGE, Floats, log_mean

FEWER = np.array([0.98, 0.95, 0.9, 0.75, 0.5])
"""Alternatives of harm: this part of the minimum."""

DISAGREE = np.array([0.75, 0.5, 0.25, 0.05])
"""Alternatives of safe: this part of the disagreement that the minimum allows."""


@dataclass(frozen=True)
class Agreement:
    """Pairs and those that agreed, of shape (rollouts,); ln e-values of shape (rollouts, alternatives)."""

    pairs: Floats
    agreed: Floats
    harm: Floats
    safe: Floats

    @classmethod
    def start(cls, rollouts: int) -> Self:
        """Before the first pair."""
        zeros = np.zeros(rollouts)
        return cls(zeros, zeros, np.zeros((rollouts, len(FEWER))), np.zeros((rollouts, len(DISAGREE))))

    @property
    def log_harm(self) -> Floats:
        """ln of the e-value against "at least the minimum agree"."""
        return log_mean(self.harm)

    @property
    def log_safe(self) -> Floats:
        """ln of the e-value against "at most the minimum agree"."""
        return log_mean(self.safe)


def fold(state: Agreement, pairs: Floats, agreed: Floats, minimum: float) -> Agreement:
    """The state after more pairs. Raises ValueError for impossible counts; `minimum` in (0, 1)."""
    if not 0 < minimum < 1:
        raise ValueError(f"a minimum agreement of {minimum:g}: must be above 0 and below 1")
    if np.any(agreed < 0) or np.any(agreed > pairs):
        raise ValueError("more pairs agree than there are, or fewer than none")
    return replace(
        state,
        pairs=state.pairs + pairs,
        agreed=state.agreed + agreed,
        harm=state.harm + _log_e(pairs, agreed, FEWER * minimum, minimum),
        safe=state.safe + _log_e(pairs, agreed, 1 - DISAGREE * (1 - minimum), minimum),
    )


def _log_e(pairs: Floats, agreed: Floats, q: Floats, minimum: float) -> Floats:
    q = np.clip(q, EDGE, 1 - EDGE)
    yes, no = np.log(q / minimum), np.log((1 - q) / (1 - minimum))
    return np.asarray(agreed[:, None] * yes + (pairs - agreed)[:, None] * no, dtype=np.float64)
