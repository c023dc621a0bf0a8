"""A signal of the user's own, by two counters: do more of the candidate's events go wrong than of stable's?

Both are read as they are, up to a cursor, and the status holds what was counted of them. So the difference to the next
reading counts once, whoever reads next. A counter is often a sum of several pods: where one of them starts anew, or is
not scraped, the sum falls, and what it lacks may come back. So nothing is counted before it is as high as it was; only
after some minutes is a fall taken for a loss, and then it is counted from there on.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from pydantic.dataclasses import dataclass

from headgate.api.quantities import fraction
from headgate.api.spec import Spec, UserSignal
from headgate.api.stored import CONFIG
from headgate.core.model import BaselineRate, Capabilities
from headgate.core.signals import rate
from headgate.core.signals.rate import RateState
from headgate.core.signals.signal import Samples, Signal, share
from headgate.core.statistics.rates import AttemptBlock
from headgate.core.user_queries import Asked

CAPITAL = 0.25
"""How much of alpha all signals of this kind may use together."""

LOST_AFTER = 300.0
"""Seconds after which what a counter lacks is taken for lost, as Prometheus itself forgets a series."""

_MOST = 2.0**53
"""What is larger is not counted one by one."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RatioState:
    """What is known of one pair of counters."""

    rates: RateState = field(default_factory=RateState)
    """Trials as attempts, and bad events as failures."""
    counters: list[float] = field(default_factory=list)
    """How high they are as far as they are counted: events and trials of the candidate, and of stable."""
    queries: str = ""
    """A digest of the queries that they are of: those of others begin anew."""
    at: float = 0.0
    """When they were that high, by Prometheus' clock."""
    fell: float | None = None
    """Since when one of them is lower."""
    trouble: str = ""

    @property
    def logHarm(self) -> float:  # noqa: N802
        """ln of the e-value against "not worse than the margin allows"."""
        return self.rates.logHarm

    @property
    def logSafe(self) -> float:  # noqa: N802
        """ln of the e-value against "worse than the margin allows"."""
        return self.rates.logSafe


class Ratio(Signal[RatioState, Asked]):
    """Bad events among the events that two counters count."""

    state = RatioState

    def __init__(self, asked: UserSignal, capital: float) -> None:
        self.name, self.capital, self.advisory = asked.name, capital, not asked.required
        self.queries = (asked.events or "", asked.trials or "")
        self._digest = hashlib.sha256("\n".join(self.queries).encode()).hexdigest()[:12]
        self._margin = asked.margin or "0%"

    def block(self, samples: Samples) -> Asked | None:
        return None

    def wanted(self, spec: Spec, block: Asked | None, can: Capabilities) -> bool:
        return not self.advisory

    def begin(self, spec: Spec, baseline: BaselineRate, block: Asked | None) -> RatioState:
        """What was counted before the candidate gets requests is not its own."""
        return self._from(RatioState(), block) if block and not block.trouble else RatioState()

    def fold(self, state: RatioState, block: Asked | None, spec: Spec, seconds: float, ceiling: float) -> RatioState:
        if block is None or block.at <= state.at:
            return state
        if trouble := block.trouble or _wrong([*block.candidate, *block.stable]):
            return replace(state, trouble=trouble)
        if not state.counters or state.queries != self._digest:
            return self._from(state, block)
        return self._counted(state, block, ceiling)

    def _counted(self, state: RatioState, block: Asked, ceiling: float) -> RatioState:
        """With what has been added since the last reading; nothing while a counter is lower than it was."""
        now = [*block.candidate, *block.stable]
        if any(after < before for after, before in zip(now, state.counters, strict=True)):
            fell = block.at if state.fell is None else state.fell
            if block.at - fell >= LOST_AFTER:
                return self._from(state, block)
            trouble = "its counters are lower than they were: a pod has started anew, or is not scraped"
            return replace(state, fell=fell, trouble=trouble)
        y_c, n_c, y_s, n_s = _gained(state.counters, now)
        if y_c > n_c or y_s > n_s:
            return replace(state, trouble="it counts more bad events than events: count both at the same place")
        counted = AttemptBlock(n_c, y_c, n_s, y_s)
        rates = rate.fold(state.rates, counted, fraction(self._margin), ceiling, block.at - state.at)
        return replace(self._from(state, block), rates=rates)

    def _from(self, state: RatioState, block: Asked) -> RatioState:
        """Counted from this reading on."""
        counters = [*block.candidate, *block.stable]
        return replace(state, counters=counters, queries=self._digest, at=block.at, fell=None, trouble="")

    def trouble(self, state: RatioState) -> str:
        return state.trouble

    def counts(self, state: RatioState) -> Mapping[str, float]:
        rates = state.rates
        return {
            "candidateTrials": rates.candidateAttempts,
            "candidateEvents": rates.candidateFailures,
            "stableTrials": rates.stableAttempts,
            "stableEvents": rates.stableFailures,
            "logWorse": rates.logWorse,
        }

    def summary(self, state: RatioState, stable: str) -> str:
        rates = state.rates
        return (
            f"{self.name}: {share(rates.candidateFailures, rates.candidateAttempts)} on the candidate, "
            f"{share(rates.stableFailures, rates.stableAttempts)} on {stable}"
        )

    def harm(self, state: RatioState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        return "SignalHigher", f"{self.summary(state, stable)}: higher by more than {self._margin}. {strength}"

    def passed(self, state: RatioState, spec: Spec) -> str:
        if self.advisory:
            return f"Only told: {self.summary(state, 'stable')}."
        return f"Not higher than stable by {self._margin}: {self.summary(state, 'stable')}."

    def note(self, state: RatioState, spec: Spec) -> str:
        return f" The signal {self.name} can't be read: {state.trouble}." if state.trouble and self.advisory else ""


def _wrong(counters: Iterable[float]) -> str:
    """Why these are no counters; empty if they are."""
    return "" if all(0 <= each < _MOST for each in counters) else "a counter is below 0, or too large to be counted"


def _gained(before: Iterable[float], after: Iterable[float]) -> list[int]:
    """In whole events."""
    return [math.floor(now) - math.floor(then) for then, now in zip(before, after, strict=True)]
