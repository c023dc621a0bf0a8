"""A signal of the user's own, by a gauge: does the candidate keep to a bound?

This is no test, and takes no share of alpha: the bound is the user's word, and so is the time. Beyond it at every
reading for so long the candidate goes; within it at every reading for so long, and at `LOOKS` readings, it has passed.
A reading that fails, or a time without one, ends either run, so what was not seen shows nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from pydantic.dataclasses import dataclass

from headgate.api.quantities import seconds as seconds_of
from headgate.api.spec import Spec, UserSignal
from headgate.api.stored import CONFIG
from headgate.core.model import BaselineRate, Capabilities
from headgate.core.signals.signal import Samples, Signal
from headgate.core.user_queries import Asked

LOOKS = 5
"""Readings within the bound that a candidate needs to pass, at least."""

LONGEST_GAP = 120.0
"""Seconds between two readings of one run, at most: a scrape each minute is often enough."""

_PASSED = 3.0
"""A logSafe that passes."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class BoundState:
    """What is known of one gauge of the candidate."""

    query: str = ""
    """A digest of the query and its bound: what was seen of others counts for nothing."""
    value: float = 0.0
    """The last one."""
    within: bool = False
    """Whether it was within the bound."""
    at: float = 0.0
    """When it was read, by Prometheus' clock."""
    since: float = 0.0
    """Since when it has been on that side of the bound at every reading."""
    looks: int = 0
    """So many readings; 0: there is no value now."""
    trouble: str = ""
    logHarm: float = 0.0  # noqa: N815
    """Always 0: nothing is bet."""
    logSafe: float = 0.0  # noqa: N815
    """No e-value: as high as it takes to pass once the candidate has kept to its bound for long enough, else 0."""


class Bound(Signal[BoundState, Asked]):
    """A gauge with a largest or a smallest value."""

    state = BoundState
    capital = 0.0
    about_stable = False

    def __init__(self, asked: UserSignal) -> None:
        self.name, self.advisory = asked.name, not asked.required
        self.queries = (asked.query or "",)
        self._max, self._min, self._for = asked.max, asked.min, asked.for_ or "0s"
        told = "\n".join((*self.queries, str(self._max), str(self._min)))
        self._digest = hashlib.sha256(told.encode()).hexdigest()[:12]

    def block(self, samples: Samples) -> Asked | None:
        return None

    def wanted(self, spec: Spec, block: Asked | None, can: Capabilities) -> bool:
        return False

    def begin(self, spec: Spec, baseline: BaselineRate, block: Asked | None) -> BoundState:
        """What was before the candidate gets requests says nothing."""
        return BoundState(at=block.at) if block else BoundState()

    def fold(self, state: BoundState, block: Asked | None, spec: Spec, seconds: float, ceiling: float) -> BoundState:
        if block is None or block.at <= state.at:
            return state
        if block.trouble:
            return BoundState(at=block.at, trouble=block.trouble)
        (value,) = block.candidate
        within = (self._max is None or value <= self._max) and (self._min is None or value >= self._min)
        goes_on = (
            (state.query, state.within) == (self._digest, within)
            and state.looks > 0
            and block.at - state.at <= LONGEST_GAP
        )
        after = BoundState(
            query=self._digest,
            value=value,
            within=within,
            at=block.at,
            since=state.since if goes_on else block.at,
            looks=state.looks + 1 if goes_on else 1,
        )
        passed = within and after.looks >= LOOKS and self._has_lasted(after)
        return replace(after, logSafe=_PASSED) if passed else after

    def alone(self, state: BoundState, block: Asked | None, spec: Spec, stable_rate: float) -> BoundState:
        return self.fold(state, block, spec, 0.0, 0.0)

    def is_harm(self, state: BoundState) -> bool:
        """At two readings at least."""
        mine = state.query == self._digest and not self.advisory
        return mine and state.looks > 1 and not state.within and self._has_lasted(state)

    def trouble(self, state: BoundState) -> str:
        return state.trouble

    def counts(self, state: BoundState) -> Mapping[str, float]:
        return {"value": state.value, "within": float(state.within), "looks": state.looks} if state.looks else {}

    def summary(self, state: BoundState, stable: str) -> str:
        if not state.looks:
            return ""
        side = "within" if state.within else "beyond"
        return (
            f"{self.name} of the candidate is {state.value:g}, {side} its bound ({self._bound}) at {state.looks} looks"
        )

    def harm(self, state: BoundState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        return "SignalOutOfBounds", f"{self.summary(state, stable)}, for {self._for} or longer."

    def passed(self, state: BoundState, spec: Spec) -> str:
        told = self.summary(state, "stable") or f"{self.name} could not be read"
        return f"{'Only told: ' if self.advisory else ''}{told}."

    def note(self, state: BoundState, spec: Spec) -> str:
        return f" The signal {self.name} can't be read: {state.trouble}." if state.trouble and self.advisory else ""

    @property
    def _bound(self) -> str:
        return f"at most {self._max:g}" if self._max is not None else f"at least {self._min:g}"

    def _has_lasted(self, state: BoundState) -> bool:
        return state.at - state.since >= seconds_of(self._for)
