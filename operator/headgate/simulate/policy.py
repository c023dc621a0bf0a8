"""The part of `spec.rollout` that a simulation follows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headgate.api.quantities import fraction, seconds
from headgate.api.spec import Shadow, Spec
from headgate.core.signals import SIGNALS
from headgate.core.signals.errors import ERRORS
from headgate.core.signals.rate import RateSignal
from headgate.core.signals.shadow import MIN_PAIRS, PAIRS_PER_SECOND


@dataclass(frozen=True)
class ShadowPolicy:
    """What `spec.rollout.shadow` says. Shares of 1."""

    fraction: float | None = 0.1
    """None: as the operator chooses it."""
    min_pairs: int = MIN_PAIRS
    min_agreement: float = 0.98

    def fraction_at(self, requests_per_second: float) -> float:
        """Part of the requests that are copied."""
        return self.fraction or min(1.0, max(0.01, PAIRS_PER_SECOND / max(requests_per_second, 1e-3)))


@dataclass(frozen=True)
class Policy:
    """How a candidate is exposed and judged. Weights in percent, margins as differences of rates."""

    alpha: float = 0.01
    margin: float = 0.005
    prediction_margin: float = 0.05
    risk_budget: float | None = 20.0
    """Bad answers; None: no budget ends the rollout (only with a fixed weight)."""
    max_weight: float = 50.0
    fixed_weight: float | None = None
    steps: tuple[tuple[float, float], ...] = ()
    """An explicit ladder: weight and seconds to hold it."""
    retry_on_stable: bool = True
    margins: Mapping[str, float] = field(default_factory=lambda: {"latency": 0.01})
    """Of further signals about bad answers, by their names."""
    shadow: ShadowPolicy | None = None

    @property
    def ramps(self) -> bool:
        """Whether the weight follows the risk budget."""
        return self.fixed_weight is None and not self.steps

    def weight_at(self, time: float) -> float:
        """The weight of a policy that doesn't ramp, in percent, after `time` seconds."""
        if self.fixed_weight is not None:
            return self.fixed_weight
        for weight, hold in self.steps:
            if time < hold:
                return weight
            time -= hold
        return self.steps[-1][0]

    @property
    def earliest_promotion(self) -> float:
        """Seconds that the ladder takes."""
        return sum(hold for _, hold in self.steps)


def _further_margins(spec: Spec) -> Iterator[tuple[str, float]]:
    for signal in SIGNALS:
        if isinstance(signal, RateSignal) and signal is not ERRORS and (margin := signal.margin(spec)):
            yield signal.name, fraction(margin)


def _shadow(shadow: Shadow) -> ShadowPolicy | None:
    """Where answers have to agree. One that only asks for good answers is left out: it is over within seconds."""
    if not (shadow.enabled and shadow.minAgreement):
        return None
    part = fraction(shadow.fraction) if shadow.fraction else None
    return ShadowPolicy(part, shadow.minPairs or MIN_PAIRS, fraction(shadow.minAgreement))


def policy_of(spec: Spec) -> Policy:
    """What the manifest says."""
    rollout = spec.rollout
    return Policy(
        alpha=rollout.alpha,
        margin=fraction(rollout.margins.errors),
        prediction_margin=fraction(rollout.margins.predictions),
        risk_budget=float(rollout.riskBudget),
        max_weight=rollout.maxWeight,
        steps=tuple((step.weight, seconds(step.hold)) for step in rollout.steps),
        retry_on_stable=spec.traffic.retryOnStable,
        margins={**Policy().margins, **dict(_further_margins(spec))},
        shadow=_shadow(rollout.shadow),
    )
