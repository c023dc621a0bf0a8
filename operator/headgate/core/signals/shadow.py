"""Answers to the same requests: does the candidate answer copies of requests as stable answers the originals?

The e-values depend on the numbers of pairs alone, so nothing else is kept.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass

from headgate.api.quantities import fraction
from headgate.api.spec import Spec
from headgate.api.stored import CONFIG
from headgate.core.model import Capabilities, Reading
from headgate.core.signals.signal import PASS, PairBlock, Samples, Signal, share
from headgate.core.statistics import agreement
from headgate.core.statistics.agreement import Agreement


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class PairState:
    """What is known from requests that both versions were asked."""

    pairs: int = 0
    """Requests that were compared."""
    agreed: int = 0
    """Those that both answered alike."""
    failed: int = 0
    """Those that the candidate did not answer."""
    logHarm: float = 0.0  # noqa: N815
    """ln of the e-value against "at least minAgreement of them agree"."""
    logSafe: float = 0.0  # noqa: N815
    """ln of the e-value against "at most minAgreement of them agree"."""


class Shadow(Signal[PairState, PairBlock]):
    """Agreement of both versions on copies of requests."""

    name: ClassVar = "shadow"
    capital: ClassVar = 0.25
    reading: ClassVar = Reading.PAIRS
    state = PairState

    def block(self, samples: Samples) -> PairBlock:
        return samples.pairs()

    def wanted(self, spec: Spec, block: PairBlock | None, can: Capabilities) -> bool:
        return spec.rollout.shadow is not None and can.shadow

    def fold(self, state: PairState, block: PairBlock | None, spec: Spec, seconds: float, ceiling: float) -> PairState:
        policy = spec.rollout.shadow
        if policy is None or block is None:
            return state
        pairs, agreed = state.pairs + block.pairs, state.agreed + block.agreed
        folded = agreement.fold(
            Agreement.start(1), np.array([float(pairs)]), np.array([float(agreed)]), fraction(policy.minAgreement)
        )
        return PairState(
            pairs=pairs,
            agreed=agreed,
            failed=state.failed + block.failed,
            logHarm=round(float(folded.log_harm[0]), 4),
            logSafe=round(float(folded.log_safe[0]), 4),
        )

    def is_enough(self, state: PairState, spec: Spec) -> bool:
        """Whether it is shown that enough of the answers agree, or nobody asks for that any more."""
        policy = spec.rollout.shadow
        return policy is None or (state.pairs >= policy.minPairs and state.logSafe >= PASS)

    def counts(self, state: PairState) -> Mapping[str, float]:
        return {"pairs": state.pairs, "agreed": state.agreed, "failed": state.failed}

    def summary(self, state: PairState, stable: str) -> str:
        return (
            f"Of {state.pairs} requests that {stable} answered, the candidate answered "
            f"{share(state.agreed, state.pairs)} alike and {share(state.failed, state.pairs)} not at all"
        )

    def harm(self, state: PairState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        policy = spec.rollout.shadow
        least = policy.minAgreement if policy else "what was asked for"
        mostly_failed = 2 * state.failed > state.pairs - state.agreed
        return (
            "ShadowFailing" if mostly_failed else "ShadowDisagrees",
            f"{self.summary(state, stable)}: fewer alike than {least}. No user got its answers. {strength} If the "
            "difference is intended, lower spec.rollout.shadow.minAgreement, or raise its tolerance.",
        )

    def passed(self, state: PairState, spec: Spec) -> str:
        return f"Before that, {share(state.agreed, state.pairs)} copies were answered alike."

    def note(self, state: PairState, spec: Spec) -> str:
        policy = spec.rollout.shadow
        if policy is None:
            return ""
        if not state.pairs:
            return " None has been compared yet."
        return (
            f" The canary begins when {policy.minAgreement} of at least {policy.minPairs} are shown to be answered "
            "alike."
        )


SHADOW = Shadow()
