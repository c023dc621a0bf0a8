"""Folds new metrics into the rollout's evidence. First step of `decide`, so that what follows knows all there is."""

from headgate.api.quantities import fraction
from headgate.api.status import Evidence, RateEvidence, Status
from headgate.core.evidence import combine, errors, predictions
from headgate.core.model import Fresh, Observation

_COMPARING = frozenset({"Canary"})
_ALONE = frozenset({"Promoting", "Soaking"})


def begin(metrics: Fresh) -> Evidence:
    """The evidence of a rollout whose candidate is about to get its first traffic: what is known of stable."""
    signals = ["errors", *(["predictions"] if metrics.predictions_expected else [])]
    past = metrics.before
    return Evidence(
        weights=combine.weights(signals),
        errors=errors.begin(RateEvidence(), past.attempts, past.failures, past.dispersion),
    )


def learn(o: Observation, status: Status) -> Status:
    """The status with the blocks of `o.metrics` folded in, and the cursor moved past them."""
    rollout, metrics = status.rollout, o.metrics
    if rollout is None or not isinstance(metrics, Fresh) or rollout.phase not in _COMPARING | _ALONE:
        return status
    margins = o.spec.rollout.margins
    seen = rollout.evidence
    alpha = o.spec.rollout.alpha
    if rollout.phase in _COMPARING:
        ceiling = combine.ceiling(combine.weights_of(seen)["errors"], alpha)
        seen = seen.model_copy(
            update={
                "errors": errors.fold(seen.errors, metrics.attempts, fraction(margins.errors), ceiling),
                "predictions": predictions.fold(
                    seen.predictions, list(metrics.predictions), fraction(margins.predictions)
                ),
            }
        )
    else:
        rate = rollout.stableRate or 0.0
        alone = errors.fold_alone(seen.errors, metrics.attempts, fraction(margins.errors), rate)
        seen = seen.model_copy(update={"errors": alone})
    seen = combine.combine(seen, alpha)
    budget = rollout.budget
    if budget:
        budget = budget.model_copy(update={"spent": round(float(errors.state_of(seen.errors).excess[0]), 2)})
    learnt = rollout.model_copy(
        update={
            "evidence": seen,
            "cursor": metrics.cursor,
            "candidateRequests": seen.errors.candidateAttempts,
            "budget": budget,
        }
    )
    return status.model_copy(update={"rollout": learnt})
