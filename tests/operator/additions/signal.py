"""Refused requests: does the candidate refuse more of what users ask than stable?"""

from collections import Counter
from typing import ClassVar

from headgate.api.contract import REVISION
from headgate.api.spec import Spec
from headgate.core.signals.rate import RateSignal, RateState
from headgate.core.signals.signal import Samples, share
from headgate.core.statistics.rates import AttemptBlock

REQUESTS = "headgate_requests_total"


class Refusals(RateSignal[AttemptBlock]):
    name = "refusals"
    capital = 0.15
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

    def margin(self, spec: Spec) -> str | None:
        return spec.rollout.refusals

    def answers(self, block: AttemptBlock) -> AttemptBlock:
        return block

    def summary(self, state: RateState, stable: str) -> str:
        return (
            f"{share(state.candidateFailures, state.candidateAttempts)} requests were refused by the candidate, "
            f"{share(state.stableFailures, state.stableAttempts)} by {stable}"
        )

    def harm(self, state: RateState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        return (
            "RefusalsHigher",
            f"{self.summary(state, stable)}: worse by more than {self.margin(spec)}. {strength}",
        )

    def passed(self, state: RateState, spec: Spec) -> str:
        return f"Not more refused by {self.margin(spec)}: {self.summary(state, 'stable')}."


REFUSALS = Refusals()
