"""Several signals, one alpha: the rollout's e-value is a weighted mean of the signals' (valid under any dependence)."""

import math

import numpy as np

from headgate.api.status import Evidence
from headgate.core.evidence import errors, predictions

WEIGHTS = {"errors": 0.7, "predictions": 0.3}
"""How much of alpha each signal may use; they add up to 1."""


def threshold(alpha: float) -> float:
    """ln(1/alpha): where the combined evidence rolls back."""
    return -math.log(alpha)


def combine(evidence: Evidence, alpha: float) -> Evidence:
    """The evidence with its combined e-value and every signal's verdict brought up to date."""
    total = float(np.logaddexp.reduce(list(_shares(evidence).values())))
    limit = threshold(alpha)
    return evidence.model_copy(
        update={
            "logHarm": round(total, 4),
            "threshold": round(limit, 4),
            "errors": evidence.errors.model_copy(
                update={"verdict": errors.verdict(evidence.errors, limit - math.log(WEIGHTS["errors"]))}
            ),
            "predictions": evidence.predictions.model_copy(
                update={"verdict": predictions.verdict(evidence.predictions, limit - math.log(WEIGHTS["predictions"]))}
            ),
        }
    )


def carrier(evidence: Evidence) -> str:
    """The signal that carries most of the combined evidence."""
    shares = _shares(evidence)
    return max(shares, key=lambda name: shares[name])


def _shares(evidence: Evidence) -> dict[str, float]:
    """ln of what each signal adds to the combined e-value."""
    return {
        "errors": math.log(WEIGHTS["errors"]) + evidence.errors.logHarm,
        "predictions": math.log(WEIGHTS["predictions"]) + evidence.predictions.logHarm,
    }
