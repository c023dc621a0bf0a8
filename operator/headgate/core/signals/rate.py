"""The state of a signal about bad answers of one kind: counts of attempts, and the accumulators of the tests.

`errors` and `latency` are such signals; `statistics.rates` does the arithmetic.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace

import numpy as np
from pydantic.dataclasses import dataclass

from headgate.api.quantities import fraction
from headgate.api.spec import Spec
from headgate.api.stored import CONFIG
from headgate.core.model import BaselineRate, Capabilities
from headgate.core.signals.signal import Block, Signal
from headgate.core.statistics import rates
from headgate.core.statistics.difference import Floats
from headgate.core.statistics.rates import ODDS, SHARES, Alone, AttemptBlock, Counts, History, Rates

ACCUMULATORS = 2
"""Version of the accumulators: what was accumulated for other alternatives starts anew, the counts stay."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RateState:
    """What is known about bad answers of one kind."""

    accumulators: int = 0
    """Version of the accumulators. Those of another version start anew."""
    candidateAttempts: int = 0  # noqa: N815
    candidateFailures: int = 0  # noqa: N815
    stableAttempts: int = 0  # noqa: N815
    stableFailures: int = 0  # noqa: N815
    candidateRejections: int = 0  # noqa: N815
    """Of the candidate's bad answers those that were refusals, or invalid, where stable gave a good answer."""
    logHarm: float = 0.0  # noqa: N815
    logSafe: float = 0.0  # noqa: N815
    logWorse: float = 0.0  # noqa: N815
    """ln of the e-value against "not worse than stable at all"."""
    history: list[float] = field(default_factory=list)
    """Stable before the rollout: attempts, bad answers, and how much these cluster (1: not at all)."""
    harm: list[float] = field(default_factory=list)
    """ln e-values of the harm test, one for each alternative of its mixture."""
    worse: list[float] = field(default_factory=list)
    """ln e-values against "not worse at all", one for each alternative of its mixture."""
    safe: list[float] = field(default_factory=list)
    """ln e-values of the mirror test, one for each alternative of its mixture."""
    stake: float = 0.0
    """ln of what the harm test won by never betting for more than decides."""
    waiting: list[float] = field(default_factory=list)
    """Of the attempts above those of one version that wait for the other's, to be compared together: attempts and bad
    answers of the candidate, of stable, and seconds since the first of them. Empty where none do."""
    alone: list[float] = field(default_factory=list)
    """Of the candidate's attempts those that stable had none beside for too long, and how many of them were bad."""
    edge: str = ""
    """Where bad means slow: answers later than this."""


class RateSignal(Signal[RateState, Block]):
    """A signal about bad answers of one kind."""

    state = RateState

    @abstractmethod
    def margin(self, spec: Spec) -> str | None:
        """How far the candidate's rate may be above stable's, as the spec says it; None: it does not ask for this."""

    @abstractmethod
    def answers(self, block: Block) -> AttemptBlock:
        """All answers of a block, and the bad ones."""

    def wanted(self, spec: Spec, block: Block | None, can: Capabilities) -> bool:
        return self.margin(spec) is not None

    def dropped(self, spec: Spec) -> bool:
        return self.margin(spec) is None

    def begin(self, spec: Spec, baseline: BaselineRate, block: Block | None) -> RateState | None:
        return None if self.margin(spec) is None else begun(baseline)

    def fold(self, state: RateState, block: Block | None, spec: Spec, seconds: float, ceiling: float) -> RateState:
        margin = self.margin(spec)
        if block is None or margin is None:
            return state
        return fold(state, self.answers(block), fraction(margin), ceiling, seconds)

    def counts(self, state: RateState) -> Mapping[str, float]:
        names = ("candidateAttempts", "candidateFailures", "stableAttempts", "stableFailures", "logWorse")
        return {name: getattr(state, name) for name in names}


def begun(baseline: BaselineRate) -> RateState:
    """The state with what is known of stable from before the rollout."""
    history = [float(baseline.attempts), float(baseline.failures), round(max(1.0, baseline.dispersion), 3)]
    return RateState(history=history)


def stable_rate(state: RateState) -> float:
    """Stable's rate of bad answers as estimated from what was seen, before and in this rollout."""
    return float(state_of(state).stable_rate[0])


def fold(state: RateState, block: AttemptBlock, margin: float, ceiling: float, seconds: float = 0.0) -> RateState:
    """The evidence after one more block, which took `seconds`.

    `margin` is a difference of rates; `ceiling` the ln e-value that decides.
    """
    return _stored(_with_rejections(state, block), rates.fold(state_of(state), block.counts, margin, ceiling, seconds))


def settled(state: RateState) -> RateState:
    """The evidence without what is waiting for the other version's attempts: the next weight follows from it."""
    return _stored(state, state_of(state).settled)


def fold_alone(state: RateState, block: AttemptBlock, margin: float, rate: float) -> RateState:
    """The evidence after a block in which only the candidate served, against stable's earlier `rate`."""
    return _stored(_with_rejections(state, block), rates.fold_alone(state_of(state), block.counts, margin, rate))


def _with_rejections(state: RateState, block: AttemptBlock) -> RateState:
    return replace(state, candidateRejections=state.candidateRejections + block.candidate_rejections)


BROKEN = 0.95
"""The part of its attempts that a stable version fails which answers next to nothing."""
WELL = 0.05
"""The part of its attempts that a version may fail which is better than that in any case."""
ENOUGH = 200
"""Attempts on each: a pod of stable that starts anew is no broken version."""


def answers_nothing(state: RateState) -> bool:
    """Whether stable has failed nearly all since the canary opened, while the candidate answers: what needs answers of
    both is never compared then."""
    return (
        min(state.stableAttempts, state.candidateAttempts) >= ENOUGH
        and state.stableFailures >= BROKEN * state.stableAttempts
        and state.candidateFailures <= WELL * state.candidateAttempts
    )


def cost(state: RateState) -> float:
    """Bad answers of the candidate beyond those that stable would have given."""
    return round(float(state_of(state).excess[0]), 2)


def state_of(state: RateState) -> Rates:
    """The arrays of one rollout."""
    counted = (state.candidateAttempts, state.candidateFailures, state.stableAttempts, state.stableFailures)
    history = state.history if len(state.history) == len(History._fields) else [0.0, 0.0, 1.0]
    *pieces, waited = state.waiting if len(state.waiting) == len(Counts._fields) + 1 else [0.0] * 5
    waiting = Counts(*_one(pieces))
    current = state.accumulators == ACCUMULATORS
    alone = state.alone if current and len(state.alone) == len(Alone._fields) else [0.0, 0.0]
    return Rates(
        counts=Counts(*_one(counted)).minus(waiting),
        history=History(*_one(history)),
        harm=_logs(state.harm if current else [], len(ODDS)),
        worse=_logs(state.worse if current else [], len(ODDS)),
        safe=_logs(state.safe if current else [], len(SHARES)),
        stake=np.array([state.stake if current else 0.0]),
        waiting=waiting,
        waited=np.array([waited]),
        alone=Alone(*_one(alone)),
    )


def _stored(before: RateState, state: Rates) -> RateState:
    n_c, y_c, n_s, y_s = (int(a[0]) for a in state.seen)
    is_waiting, judged_alone = bool(state.waiting.trials[0]), bool(state.alone.trials[0])
    return replace(
        before,
        accumulators=ACCUMULATORS,
        candidateAttempts=n_c,
        candidateFailures=y_c,
        stableAttempts=n_s,
        stableFailures=y_s,
        harm=_numbers(state.harm),
        worse=_numbers(state.worse),
        safe=_numbers(state.safe),
        stake=round(float(state.stake[0]), 6),
        waiting=[*(float(a[0]) for a in state.waiting), round(float(state.waited[0]), 3)] if is_waiting else [],
        alone=[float(a[0]) for a in state.alone] if judged_alone else [],
        logHarm=round(float(state.log_harm[0]), 4),
        logWorse=round(float(state.log_worse[0]), 4),
        logSafe=round(float(state.log_safe[0]), 4),
    )


def _one(values: Iterable[float]) -> Iterator[Floats]:
    """Each value as an array of one rollout."""
    return (np.array([float(value)]) for value in values)


def _logs(stored: list[float], size: int) -> Floats:
    return np.array([stored if len(stored) == size else [0.0] * size])


def _numbers(logs: Floats) -> list[float]:
    return [round(float(v), 6) for v in logs[0]]
