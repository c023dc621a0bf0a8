"""Answers to the same requests: does the candidate answer copies of requests as stable answers the originals?

The e-values depend on the numbers of pairs alone, so nothing else is kept.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass

from headgate.api.quantities import fraction, routed_percent
from headgate.api.spec import Shadow as Policy
from headgate.api.spec import Spec
from headgate.api.stored import CONFIG
from headgate.core.model import Capabilities, Reading
from headgate.core.signals.signal import PASS, PairBlock, Samples, Signal, share
from headgate.core.statistics import agreement
from headgate.core.statistics.agreement import Agreement

MIN_PAIRS = 500
"""That have to be compared where answers have to agree, and the spec does not say how many."""

ANSWERED_WELL = 0.95
"""The part of the requests that a candidate has to answer well where nobody asks for more. What fails more often is
found with a handful of copies, and what fails less often than that the canary finds, where stable rescues each
request."""

LABELS_ALIKE = 0.5
"""The part of the requests of which a candidate has to give at least half of the rows stable's label, where nobody says
how many answers have to agree. A version that was trained anew gives others to a few in a hundred; this one answers
another question, or has its columns or classes in another order."""

PAIRS_PER_SECOND = 20.0
"""Copies for which the fraction is chosen where the spec names none: a verdict takes some ninety."""


def copied(policy: Policy, requests_per_second: float) -> float:
    """Percent of the requests of which the candidate gets copies, at so many requests per second."""
    if policy.fraction is not None:
        return routed_percent(policy.fraction)
    return min(100.0, max(1.0, round(100 * PAIRS_PER_SECOND / max(requests_per_second, 1e-3), 1)))


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class PairState:
    """What is known from requests that both versions were asked."""

    pairs: int = 0
    """Requests that were compared."""
    agreed: int = 0
    """Those that both answered alike."""
    failed: int = 0
    """Those that the candidate did not answer well."""
    few: int = 0
    """Those of which most rows got another label than stable's."""
    logHarm: float = 0.0  # noqa: N815
    """ln of the e-value against "at least minAgreement of them agree". Without minAgreement: the mean of two e-values,
    against "at least ANSWERED_WELL are answered well" and "at least LABELS_ALIKE have mostly the same labels"."""
    logSafe: float = 0.0  # noqa: N815
    """ln of the e-value against "at most minAgreement of them agree". Without minAgreement: the smaller one of two."""


class Shadow(Signal[PairState, PairBlock]):
    """Agreement of both versions on copies of requests."""

    name = "shadow"
    capital = 0.25
    reading: ClassVar = Reading.PAIRS
    state = PairState

    def block(self, samples: Samples) -> PairBlock:
        return samples.pairs()

    def wanted(self, spec: Spec, block: PairBlock | None, can: Capabilities) -> bool:
        return spec.rollout.shadow.enabled and can.shadow

    def fold(self, state: PairState, block: PairBlock | None, spec: Spec, seconds: float, ceiling: float) -> PairState:
        policy = spec.rollout.shadow
        if not policy.enabled or block is None:
            return state
        pairs, agreed = state.pairs + block.pairs, state.agreed + block.agreed
        failed, few = state.failed + block.failed, state.few + block.few
        if policy.minAgreement:
            harm, safe = _evidence(pairs, agreed, fraction(policy.minAgreement))
        else:
            well, alike = _evidence(pairs, pairs - failed, ANSWERED_WELL), _evidence(pairs, pairs - few, LABELS_ALIKE)
            harm, safe = float(np.logaddexp(well[0], alike[0]) - np.log(2)), min(well[1], alike[1])
        return PairState(
            pairs=pairs, agreed=agreed, failed=failed, few=few, logHarm=round(harm, 4), logSafe=round(safe, 4)
        )

    def is_enough(self, state: PairState, spec: Spec) -> bool:
        """Whether it is shown that enough of the answers agree, or nobody asks for that any more."""
        policy = spec.rollout.shadow
        pairs = policy.minPairs or (MIN_PAIRS if policy.minAgreement else 1)
        return not policy.enabled or (state.pairs >= pairs and state.logSafe >= PASS)

    def counts(self, state: PairState) -> Mapping[str, float]:
        return {"pairs": state.pairs, "agreed": state.agreed, "failed": state.failed, "few": state.few}

    def summary(self, state: PairState, stable: str) -> str:
        return (
            f"Of {state.pairs} requests that {stable} answered, the candidate answered "
            f"{share(state.agreed, state.pairs)} alike and {share(state.failed, state.pairs)} not at all, or not as a "
            "client of stable needs it"
        )

    def harm(self, state: PairState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        policy = spec.rollout.shadow
        if not policy.minAgreement and _differs_most(state):
            return "ShadowDisagrees", (
                f"{self.summary(state, stable)}. Of {share(state.few, state.pairs)} of the requests most rows got "
                f"another label. No user got its answers. {strength} If the difference is intended, say in "
                "spec.rollout.shadow.minAgreement how many answers have to be alike."
            )
        if not policy.minAgreement:
            fewer = f"fewer good answers than {ANSWERED_WELL:.0%}"
            return "ShadowFailing", f"{self.summary(state, stable)}: {fewer}. No user got its answers. {strength}"
        mostly_failed = 2 * state.failed > state.pairs - state.agreed
        return (
            "ShadowFailing" if mostly_failed else "ShadowDisagrees",
            f"{self.summary(state, stable)}: fewer alike than {policy.minAgreement}. No user got its "
            f"answers. {strength} If the difference is intended, lower spec.rollout.shadow.minAgreement, or raise its "
            "tolerance.",
        )

    def passed(self, state: PairState, spec: Spec) -> str:
        return f"Before that, {share(state.agreed, state.pairs)} copies were answered alike."

    def note(self, state: PairState, spec: Spec) -> str:
        policy = spec.rollout.shadow
        if not state.pairs:
            return " None has been compared yet."
        if not policy.minAgreement:
            return (
                f" The canary begins when it is shown that {ANSWERED_WELL:.0%} of them are answered well and most with "
                f"the same labels, and after {policy.maxDuration} at most."
            )
        return (
            f" The canary begins when {policy.minAgreement} of at least {policy.minPairs or MIN_PAIRS} are shown to be "
            "answered alike."
        )


def _evidence(pairs: int, good: int, minimum: float) -> tuple[float, float]:
    """ln of the e-values of harm and of its absence, where at least `minimum` of the pairs have to be good ones."""
    folded = agreement.fold(Agreement.start(1), np.array([float(pairs)]), np.array([float(good)]), minimum)
    return float(folded.log_harm[0]), float(folded.log_safe[0])


def _differs_most(state: PairState) -> bool:
    """Whether other labels say more against it than answers that are not good."""
    labels = _evidence(state.pairs, state.pairs - state.few, LABELS_ALIKE)[0]
    return labels > _evidence(state.pairs, state.pairs - state.failed, ANSWERED_WELL)[0]


SHADOW = Shadow()
