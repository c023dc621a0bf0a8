"""Failed answers: does the candidate fail more often than stable, by more than the margin?

The risk budget and the size of the next weight follow from the same counts, see `core.phases`.
"""

from collections.abc import Mapping

from headgate.api.quantities import fraction
from headgate.api.spec import Spec
from headgate.core.model import BaselineRate
from headgate.core.signals import rate
from headgate.core.signals.rate import RateSignal, RateState
from headgate.core.signals.signal import History, Samples, share
from headgate.core.statistics.rates import AttemptBlock


class Errors(RateSignal[AttemptBlock]):
    """Failed answers."""

    name = "errors"
    capital = 0.6

    def block(self, samples: Samples) -> AttemptBlock:
        return samples.attempts()

    def margin(self, spec: Spec) -> str:
        return spec.rollout.margins.errors

    def answers(self, block: AttemptBlock) -> AttemptBlock:
        return block

    def baseline(self, history: History, block: AttemptBlock | None) -> BaselineRate:
        return history.failures()

    def alone(self, state: RateState, block: AttemptBlock | None, spec: Spec, stable_rate: float) -> RateState:
        return rate.fold_alone(state, block or AttemptBlock(), fraction(self.margin(spec)), stable_rate)

    def counts(self, state: RateState) -> Mapping[str, float]:
        return {**super().counts(state), "candidateRejections": state.candidateRejections}

    def summary(self, state: RateState, stable: str) -> str:
        rejected = state.candidateRejections
        why = f", of them {rejected} refused or invalid where {stable} answered" if rejected else ""
        return (
            f"{share(state.candidateFailures, state.candidateAttempts)} attempts on the candidate failed{why}, "
            f"{share(state.stableFailures, state.stableAttempts)} on {stable}"
        )

    def harm(self, state: RateState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        worse = f"worse by more than {self.margin(spec)}"
        return "ErrorsHigher", f"{self.summary(state, stable)}: {worse}. {strength}"

    def passed(self, state: RateState, spec: Spec) -> str:
        return f"Not worse than stable by {self.margin(spec)} of failed answers: {self.summary(state, 'stable')}."


ERRORS = Errors()
