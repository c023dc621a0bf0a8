"""The evidence on bad answers as it is kept in the status: folds blocks of attempts into a `RateEvidence`.

Called by `core.learn` for every new block, for failed answers and for slow ones; `rates` does the arithmetic. Comes
out as a verdict: Fail rolls back, Pass is needed for promotion.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from headgate.api.status import RateEvidence, ShadowEvidence, Verdict
from headgate.core.evidence import rates
from headgate.core.evidence.difference import Floats
from headgate.core.evidence.rates import ODDS, SHARES, Alone, Counts, History, Rates

ACCUMULATORS = 2
"""Version of the accumulators: what was accumulated for other alternatives starts anew, the counts stay."""

PASS = float(np.log(20.0))
"""ln of the e-value at which a version counts as not worse."""

Seen = TypeVar("Seen", bound=RateEvidence)


@dataclass(frozen=True)
class AttemptBlock:
    """Attempts and bad answers of both versions between two looks. Raises ValueError for impossible counts."""

    candidate_attempts: int = 0
    candidate_failures: int = 0
    stable_attempts: int = 0
    stable_failures: int = 0

    def __post_init__(self) -> None:
        for version in ("candidate", "stable"):
            attempts, failures = getattr(self, f"{version}_attempts"), getattr(self, f"{version}_failures")
            if not 0 <= failures <= attempts:
                raise ValueError(f"a block with {failures} bad answers in {attempts} attempts on {version}")

    @property
    def counts(self) -> Counts:
        """As arrays of one rollout."""
        return Counts(
            np.array([float(self.candidate_attempts)]),
            np.array([float(self.candidate_failures)]),
            np.array([float(self.stable_attempts)]),
            np.array([float(self.stable_failures)]),
        )


def begin(seen: Seen, trials: int, events: int, dispersion: float) -> Seen:
    """The evidence with what is known of stable from before the rollout."""
    return seen.model_copy(update={"history": [float(trials), float(events), round(max(1.0, dispersion), 3)]})


def stable_rate(seen: RateEvidence) -> float:
    """Stable's rate of bad answers as estimated from what was seen, before and in this rollout."""
    return float(state_of(seen).stable_rate[0])


def fold(seen: Seen, block: AttemptBlock, margin: float, ceiling: float, seconds: float = 0.0) -> Seen:
    """The evidence after one more block, which took `seconds`.

    `margin` is a difference of rates; `ceiling` the ln e-value that decides.
    """
    return _stored(seen, rates.fold(state_of(seen), block.counts, margin, ceiling, seconds))


def settled(seen: Seen) -> Seen:
    """The evidence without what is waiting for the other version's attempts: the next weight follows from it."""
    return _stored(seen, state_of(seen).settled)


def fold_alone(seen: Seen, block: AttemptBlock, margin: float, rate: float) -> Seen:
    """The evidence after a block in which only the candidate served, against stable's earlier `rate`."""
    return _stored(seen, rates.fold_alone(state_of(seen), block.counts, margin, rate))


def cost(seen: RateEvidence) -> float:
    """Bad answers of the candidate beyond those that stable would have given."""
    return round(float(state_of(seen).excess[0]), 2)


def verdict(seen: RateEvidence | ShadowEvidence, ceiling: float) -> Verdict:
    """Fail when harm is shown at `ceiling` (a ln e-value), Pass when it is shown that there is none."""
    if seen.logHarm >= ceiling:
        return "Fail"
    return "Pass" if seen.logSafe >= PASS else "Inconclusive"


def state_of(seen: RateEvidence) -> Rates:
    """The arrays of one rollout."""
    counted = (seen.candidateAttempts, seen.candidateFailures, seen.stableAttempts, seen.stableFailures)
    history = seen.history if len(seen.history) == len(History._fields) else [0.0, 0.0, 1.0]
    *pieces, waited = seen.waiting if len(seen.waiting) == len(Counts._fields) + 1 else [0.0] * 5
    waiting = Counts(*_one(pieces))
    known = seen.accumulators == ACCUMULATORS
    alone = seen.alone if known and len(seen.alone) == len(Alone._fields) else [0.0, 0.0]
    return Rates(
        counts=Counts(*_one(counted)).minus(waiting),
        history=History(*_one(history)),
        harm=_logs(seen.harm if known else [], len(ODDS)),
        worse=_logs(seen.worse if known else [], len(ODDS)),
        safe=_logs(seen.safe if known else [], len(SHARES)),
        stake=np.array([seen.stake if known else 0.0]),
        waiting=waiting,
        waited=np.array([waited]),
        alone=Alone(*_one(alone)),
    )


def _stored(seen: Seen, state: Rates) -> Seen:
    n_c, y_c, n_s, y_s = (int(a[0]) for a in state.seen)
    waits, judged_alone = bool(state.waiting.trials[0]), bool(state.alone.trials[0])
    return seen.model_copy(
        update={
            "accumulators": ACCUMULATORS,
            "candidateAttempts": n_c,
            "candidateFailures": y_c,
            "stableAttempts": n_s,
            "stableFailures": y_s,
            "harm": _numbers(state.harm),
            "worse": _numbers(state.worse),
            "safe": _numbers(state.safe),
            "stake": round(float(state.stake[0]), 6),
            "waiting": [*(float(a[0]) for a in state.waiting), round(float(state.waited[0]), 3)] if waits else [],
            "alone": [float(a[0]) for a in state.alone] if judged_alone else [],
            "logHarm": round(float(state.log_harm[0]), 4),
            "logWorse": round(float(state.log_worse[0]), 4),
            "logSafe": round(float(state.log_safe[0]), 4),
        }
    )


def _one(values: Iterable[float]) -> Iterator[Floats]:
    """Each value as an array of one rollout."""
    return (np.array([float(value)]) for value in values)


def _logs(stored: list[float], size: int) -> Floats:
    return np.array([stored if len(stored) == size else [0.0] * size])


def _numbers(logs: Floats) -> list[float]:
    return [round(float(v), 6) for v in logs[0]]
