"""Refused requests: does the candidate refuse more of what users ask than stable?"""

from collections import Counter
from typing import ClassVar

from headgate.api.contract import REVISION
from headgate.api.quantities import fraction
from headgate.api.spec import Spec
from headgate.core.model import BaselineRate, Capabilities
from headgate.core.signals import rate
from headgate.core.signals.rate import RateSignal, RateState
from headgate.core.signals.signal import Samples, share
from headgate.core.statistics.rates import AttemptBlock

REQUESTS = "headgate_requests_total"


class Refusals(RateSignal[AttemptBlock]):
    name: ClassVar = "refusals"
    capital: ClassVar = 0.15
    series: ClassVar = (REQUESTS,)

    def block(self, samples: Samples) -> AttemptBlock:
        requests = Counter[tuple[str, bool]]()
        for i in samples.increments:
            if i.labels.get("__name__") == REQUESTS:
                requests[i.labels.get(REVISION, ""), i.labels.get("code", "").startswith("4")] += i.gained
        counts = []
        for revision in (samples.compared.candidate, samples.compared.stable):
            refused = requests[revision, True]
            counts += [refused + requests[revision, False], refused]
        return AttemptBlock(*counts)

    def wanted(self, spec: Spec, block: AttemptBlock | None, can: Capabilities) -> bool:
        return spec.rollout.refusals is not None

    def begin(self, spec: Spec, baseline: BaselineRate, block: AttemptBlock | None) -> RateState | None:
        return RateState() if spec.rollout.refusals else None

    def fold(
        self, state: RateState, block: AttemptBlock | None, spec: Spec, seconds: float, ceiling: float
    ) -> RateState:
        if block is None or spec.rollout.refusals is None:
            return state
        return rate.fold(state, block, fraction(spec.rollout.refusals), ceiling, seconds)

    def summary(self, state: RateState, stable: str) -> str:
        return (
            f"{share(state.candidateFailures, state.candidateAttempts)} requests were refused by the candidate, "
            f"{share(state.stableFailures, state.stableAttempts)} by {stable}"
        )

    def harm(self, state: RateState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        return (
            "RefusalsHigher",
            f"{self.summary(state, stable)}: worse by more than {spec.rollout.refusals}. {strength}",
        )

    def passed(self, state: RateState, spec: Spec) -> str:
        return f"Not more refused by {spec.rollout.refusals}: {self.summary(state, 'stable')}."


REFUSALS = Refusals()
