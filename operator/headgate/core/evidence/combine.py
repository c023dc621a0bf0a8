"""Several signals, one alpha: the rollout's e-value is a weighted mean of the signals' (valid under any dependence).

Where blocks of several scrapes are merged (`waiting`), those of the signals end at different times. The mean is then
valid if what one signal has seen doesn't tell how the open block of another one will end.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from headgate.api.status import Evidence
from headgate.core.evidence import errors, predictions
from headgate.core.evidence.difference import Floats

CAPITAL = {"errors": 0.6, "predictions": 0.25, "latency": 0.15, "shadow": 0.25}
"""How much of alpha each signal may use, where all of them are compared."""

_ROUNDING = 1e-3
"""Accumulators are stored with a few decimals: no signal stops just below what decides."""


def threshold(alpha: float) -> float:
    """ln(1/alpha): where the combined evidence rolls back."""
    return -math.log(alpha)


def weights(signals: Iterable[str]) -> dict[str, float]:
    """The share of alpha of each signal that this rollout compares. Fixed when it begins: they add up to 1."""
    asked = set(signals)
    present = [name for name in CAPITAL if name in asked]
    total = sum(CAPITAL[name] for name in present)
    return {name: round(CAPITAL[name] / total, 6) for name in present}


def weights_of(evidence: Evidence) -> Mapping[str, float]:
    """The weights that the rollout began with."""
    return evidence.weights or weights(["errors", "predictions"])


def ceiling(weight: float, alpha: float) -> float:
    """ln of the e-value at which a signal of this weight decides alone."""
    return threshold(alpha) - math.log(weight) + _ROUNDING


def log_total(log_harm: Mapping[str, Floats], shares: Mapping[str, float]) -> Floats:
    """ln of the combined e-value. Signals without a share are only there to pass."""
    parts = [math.log(shares[name]) + logs for name, logs in log_harm.items() if name in shares]
    return np.asarray(np.logaddexp.reduce(parts), dtype=np.float64)


def combine(evidence: Evidence, alpha: float) -> Evidence:
    """The evidence with its combined e-value and every signal's verdict brought up to date."""
    shares = weights_of(evidence)
    total = float(log_total(_logs(evidence), shares))
    limits = {name: ceiling(shares[name], alpha) - _ROUNDING if name in shares else math.inf for name in CAPITAL}
    found = evidence.model_copy(
        update={
            "logHarm": round(total, 4),
            "threshold": round(threshold(alpha), 4),
            "errors": evidence.errors.model_copy(update={"verdict": errors.verdict(evidence.errors, limits["errors"])}),
            "predictions": evidence.predictions.model_copy(
                update={"verdict": predictions.verdict(evidence.predictions, limits["predictions"])}
            ),
        }
    )
    for name in ("latency", "shadow"):
        if seen := getattr(evidence, name):
            told = seen.model_copy(update={"verdict": errors.verdict(seen, limits[name])})
            found = found.model_copy(update={name: told})
    return found


def carrier(evidence: Evidence) -> str:
    """The signal that carries most of the combined evidence."""
    shares, logs = weights_of(evidence), _logs(evidence)
    return max(shares, key=lambda name: math.log(shares[name]) + float(logs[name]))


def _logs(evidence: Evidence) -> dict[str, Floats]:
    seen = {name: getattr(evidence, name) for name in CAPITAL}
    return {name: np.asarray(signal.logHarm if signal else 0.0) for name, signal in seen.items()}
