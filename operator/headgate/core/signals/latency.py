"""Slow answers, where the spec says what is slow: are more of the candidate's than of stable's?"""

from dataclasses import replace
from typing import ClassVar

from headgate.api.quantities import fraction, seconds
from headgate.api.spec import Spec
from headgate.core.model import BaselineRate, Capabilities
from headgate.core.signals import rate
from headgate.core.signals.rate import RateSignal, RateState
from headgate.core.signals.signal import History, Samples, SlowAnswers, share


class Latency(RateSignal[SlowAnswers]):
    """Slow answers."""

    name: ClassVar = "latency"
    capital: ClassVar = 0.15

    def block(self, samples: Samples) -> SlowAnswers | None:
        return samples.slow_answers()

    def wanted(self, spec: Spec, block: SlowAnswers | None, can: Capabilities) -> bool:
        return spec.rollout.latency is not None

    def dropped(self, spec: Spec) -> bool:
        return spec.rollout.latency is None

    def baseline(self, history: History, block: SlowAnswers | None) -> BaselineRate:
        return history.slow_answers(block.edge) if block else BaselineRate()

    def begin(self, spec: Spec, baseline: BaselineRate, block: SlowAnswers | None) -> RateState | None:
        if spec.rollout.latency is None:
            return None
        return replace(rate.begun(baseline), edge=_edge(block)) if block else RateState()

    def fold(
        self, state: RateState, block: SlowAnswers | None, spec: Spec, seconds: float, ceiling: float
    ) -> RateState:
        if block is None or spec.rollout.latency is None:
            return state
        found = rate.fold(state, block.answers, fraction(spec.rollout.latency.margin), ceiling, seconds)
        return replace(found, edge=_edge(block))

    def summary(self, state: RateState, stable: str) -> str:
        if not state.edge:
            return ""
        return (
            f"{share(state.candidateFailures, state.candidateAttempts)} answers of the candidate took longer than "
            f"{state.edge}, {share(state.stableFailures, state.stableAttempts)} of {stable}"
        )

    def harm(self, state: RateState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        worse = f"worse by more than {_margin(spec)}"
        return "LatencyHigher", f"{self.summary(state, stable)}: {worse}. {strength}"

    def passed(self, state: RateState, spec: Spec) -> str:
        return f"Not slower by {_margin(spec)}: {self.summary(state, 'stable')}."

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


def _margin(spec: Spec) -> str:
    return spec.rollout.latency.margin if spec.rollout.latency else "the margin"


LATENCY = Latency()
