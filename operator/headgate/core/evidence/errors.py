"""Are the candidate's answers failing more often than stable's? Folds blocks of attempts into `ErrorEvidence`.

Called by `core.decide` for every new block; comes out as a verdict: Fail rolls back, Pass is needed for promotion.
"""

from dataclasses import dataclass

import numpy as np

from headgate.api.status import ErrorEvidence, Verdict
from headgate.core.evidence.difference import Floats, log_e_at_least, log_e_at_most, log_mean

EXCESS = np.array([0.01, 0.02, 0.045, 0.1, 0.25, 0.6, 0.97])
"""Alternatives of the harm test: failure rate of the candidate beyond stable's plus the margin."""

SHARES = np.array([0.6, 0.3, 0.1])
"""Alternatives of the mirror test: the candidate's excess over stable is this share of the margin below it."""

PRIOR_FAILURES, PRIOR_ATTEMPTS = 0.25, 100.0
"""What is assumed of stable before anything was seen: a quarter of a failure in a hundred attempts."""

PASS = float(np.log(20.0))
"""ln of the e-value at which a version counts as not worse."""


@dataclass(frozen=True)
class AttemptBlock:
    """Attempts and failures of both versions between two looks."""

    candidate_attempts: int = 0
    candidate_failures: int = 0
    stable_attempts: int = 0
    stable_failures: int = 0


def stable_rate(seen: ErrorEvidence) -> float:
    """Stable's failure rate as estimated from what was seen."""
    return (seen.stableFailures + PRIOR_FAILURES) / (seen.stableAttempts + PRIOR_ATTEMPTS)


def fold(seen: ErrorEvidence, block: AttemptBlock, margin: float) -> ErrorEvidence:
    """The evidence after one more block. `margin` is a difference of rates, such as 0.005."""
    q_s = stable_rate(seen)
    harm_q = np.minimum(q_s + margin + EXCESS, 0.99)
    safe_q = q_s + margin * (1 - SHARES) * (q_s / (q_s + margin))
    counts = (
        block.candidate_failures,
        block.candidate_attempts,
        block.stable_failures,
        block.stable_attempts,
    )
    harm = _start(seen.harm, EXCESS) + log_e_at_most(*counts, harm_q, q_s, margin)
    safe = _start(seen.safe, SHARES) + log_e_at_least(*counts, safe_q, q_s, margin)
    return seen.model_copy(
        update={
            "candidateAttempts": seen.candidateAttempts + block.candidate_attempts,
            "candidateFailures": seen.candidateFailures + block.candidate_failures,
            "stableAttempts": seen.stableAttempts + block.stable_attempts,
            "stableFailures": seen.stableFailures + block.stable_failures,
            "harm": [round(float(v), 6) for v in harm],
            "safe": [round(float(v), 6) for v in safe],
            "logHarm": round(float(log_mean(harm)), 4),
            "logSafe": round(float(log_mean(safe)), 4),
        }
    )


def fold_alone(seen: ErrorEvidence, block: AttemptBlock, margin: float, rate: float) -> ErrorEvidence:
    """The evidence after a block in which only the candidate served, against stable's earlier failure `rate`."""
    limit = min(rate + margin, 0.98)
    q = np.minimum(limit + EXCESS, 0.99)
    y, n = block.candidate_failures, block.candidate_attempts
    harm = _start(seen.harm, EXCESS) + y * np.log(q / limit) + (n - y) * np.log((1 - q) / (1 - limit))
    return seen.model_copy(
        update={
            "candidateAttempts": seen.candidateAttempts + n,
            "candidateFailures": seen.candidateFailures + y,
            "harm": [round(float(v), 6) for v in harm],
            "logHarm": round(float(log_mean(harm)), 4),
        }
    )


def verdict(seen: ErrorEvidence, threshold: float) -> Verdict:
    """Fail when harm is shown at `threshold` (a ln e-value), Pass when it is shown that there is none."""
    if seen.logHarm >= threshold:
        return "Fail"
    return "Pass" if seen.logSafe >= PASS else "Inconclusive"


def _start(log_e: list[float], alternatives: Floats) -> Floats:
    if len(log_e) != len(alternatives):
        return np.zeros(len(alternatives))
    return np.asarray(log_e, dtype=np.float64)
