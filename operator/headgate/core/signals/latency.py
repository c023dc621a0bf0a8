"""Slow answers: are more of the candidate's slow than of stable's?

What is slow the spec says, or stable does: twice the time within which it gave nearly all of its answers before the
rollout. That time is fixed when the candidate gets its first requests, so nothing that happens later moves it.
"""

from dataclasses import replace

from headgate.api.quantities import seconds
from headgate.api.spec import Spec
from headgate.api.status import Evidence
from headgate.core.model import BaselineRate, Capabilities
from headgate.core.signals.rate import RateSignal, RateState
from headgate.core.signals.signal import History, Samples, SlowAnswers, share
from headgate.core.statistics.rates import AttemptBlock

USUAL = 0.99
"""The part of stable's answers whose time is the usual one."""

TIMES_USUAL, LEAST_MS = 2.0, 5.0
"""Without a threshold in the spec an answer is slow that takes so many times the usual time, and so many milliseconds
at least: below that, what a machine does besides is all that one sees."""


def slow_after(spec: Spec, evidence: Evidence, history: History | None = None) -> float | None:
    """Seconds after which an answer is slow, in a rollout with this evidence; None: not compared, or not known.

    `history` is what stable did before, when the candidate is about to get its first requests.
    """
    wanted = spec.rollout.latency
    if not wanted.enabled:
        return None
    if wanted.threshold:
        return seconds(wanted.threshold)
    state = LATENCY.state_in(evidence)
    if state and state.edge:
        return seconds(state.edge)
    usual = history.time_of(USUAL) if history else None
    return None if usual is None else max(LEAST_MS, TIMES_USUAL * usual) / 1000


class Latency(RateSignal[SlowAnswers]):
    """Slow answers."""

    name = "latency"
    capital = 0.15

    def block(self, samples: Samples) -> SlowAnswers | None:
        return samples.slow_answers()

    def margin(self, spec: Spec) -> str | None:
        return spec.rollout.latency.margin if spec.rollout.latency.enabled else None

    def wanted(self, spec: Spec, block: SlowAnswers | None, can: Capabilities) -> bool:
        """Not where nobody says what is slow: no stable answers were timed before."""
        known = block is not None or spec.rollout.latency.threshold is not None
        return known and super().wanted(spec, block, can)

    def is_due(self, state: RateState, spec: Spec) -> bool:
        """Not where the spec says no longer what is slow, and stable did not either when it could."""
        return bool(state.edge) or spec.rollout.latency.threshold is not None

    def answers(self, block: SlowAnswers) -> AttemptBlock:
        return block.answers

    def baseline(self, history: History, block: SlowAnswers | None) -> BaselineRate:
        return history.slow_answers(block.edge) if block else BaselineRate()

    def begin(self, spec: Spec, baseline: BaselineRate, block: SlowAnswers | None) -> RateState | None:
        if block is None and spec.rollout.latency.threshold is None:
            return None
        state = super().begin(spec, baseline, block)
        return replace(state, edge=_edge(block)) if state and block else state

    def fold(
        self, state: RateState, block: SlowAnswers | None, spec: Spec, seconds: float, ceiling: float
    ) -> RateState:
        after = super().fold(state, block, spec, seconds, ceiling)
        return replace(after, edge=_edge(block)) if block else after

    def summary(self, state: RateState, stable: str) -> str:
        if not state.edge:
            return ""
        return (
            f"{share(state.candidateFailures, state.candidateAttempts)} answers of the candidate took longer than "
            f"{state.edge}, {share(state.stableFailures, state.stableAttempts)} of {stable}"
        )

    def harm(self, state: RateState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        worse = f"worse by more than {self.margin(spec) or 'the margin'}"
        return "LatencyHigher", f"{self.summary(state, stable)}: {worse}. {strength}"

    def passed(self, state: RateState, spec: Spec) -> str:
        return f"Not slower by {self.margin(spec) or 'the margin'}: {self.summary(state, 'stable')}."

    def note(self, state: RateState, spec: Spec) -> str:
        """What to know about the threshold; empty where it is what was asked for."""
        if not state.edge:
            return " Slow answers are not compared yet: the routers have timed none."
        threshold = spec.rollout.latency.threshold
        if threshold is None:
            return f" Slow is what takes longer than {state.edge}, about {TIMES_USUAL:g} times what stable needs."
        if seconds(state.edge) == seconds(threshold):
            return ""
        return f" Slow is what takes longer than {state.edge}: the routers don't measure {threshold} itself."


def _edge(block: SlowAnswers) -> str:
    return f"{block.edge:g}ms"


LATENCY = Latency()
