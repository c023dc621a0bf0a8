"""Slow answers, where the spec says what is slow: are more of the candidate's than of stable's?"""

from dataclasses import replace
from typing import ClassVar

from headgate.api.quantities import seconds
from headgate.api.spec import Spec
from headgate.core.model import BaselineRate
from headgate.core.signals.rate import RateSignal, RateState
from headgate.core.signals.signal import History, Samples, SlowAnswers, share
from headgate.core.statistics.rates import AttemptBlock


class Latency(RateSignal[SlowAnswers]):
    """Slow answers."""

    name: ClassVar = "latency"
    capital: ClassVar = 0.15

    def block(self, samples: Samples) -> SlowAnswers | None:
        return samples.slow_answers()

    def margin(self, spec: Spec) -> str | None:
        return spec.rollout.latency.margin if spec.rollout.latency else None

    def answers(self, block: SlowAnswers) -> AttemptBlock:
        return block.answers

    def baseline(self, history: History, block: SlowAnswers | None) -> BaselineRate:
        return history.slow_answers(block.edge) if block else BaselineRate()

    def begin(self, spec: Spec, baseline: BaselineRate, block: SlowAnswers | None) -> RateState | None:
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
        if spec.rollout.latency is None:
            return ""
        if not state.edge:
            return " Slow answers are not compared yet: the routers have timed none."
        threshold = spec.rollout.latency.threshold
        if seconds(state.edge) == seconds(threshold):
            return ""
        return f" Slow is what takes longer than {state.edge}: the routers don't measure {threshold} itself."


def _edge(block: SlowAnswers) -> str:
    return f"{block.edge:g}ms"


LATENCY = Latency()
