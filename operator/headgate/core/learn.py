"""Folds new metrics into the rollout's evidence. First step of `decide`, so that what follows knows all there is."""

import math

from headgate.api.quantities import fraction
from headgate.api.status import Evidence, LatencyEvidence, RateEvidence, Rollout, ShadowEvidence, Status
from headgate.core import shadow
from headgate.core.evidence import combine, errors, predictions
from headgate.core.model import Fresh, Observation, Paired, Slow

_COMPARING = frozenset({"Canary"})
_ALONE = frozenset({"Promoting", "Soaking"})


def begin_shadow(o: Observation, metrics: Fresh) -> Evidence:
    """The evidence of a rollout whose candidate is about to get copies."""
    return Evidence(weights=_weights(o, metrics), shadow=ShadowEvidence())


def begin(o: Observation, metrics: Fresh, seen: Evidence) -> Evidence:
    """The evidence of a rollout whose candidate is about to get its first traffic: what is known of stable.

    Together with what its shadow has shown: alpha is for the whole rollout, so the bet on that stays where it is.
    """
    past, slow = metrics.before, metrics.slow
    latency = LatencyEvidence(edge=_edge(slow)) if o.spec.rollout.latency else None
    if latency and slow:
        latency = errors.begin(latency, slow.before.attempts, slow.before.failures, slow.before.dispersion)
    begun = Evidence(
        weights=seen.weights or _weights(o, metrics),
        shadow=seen.shadow,
        errors=errors.begin(RateEvidence(), past.attempts, past.failures, past.dispersion),
        latency=latency,
    )
    return combine.combine(begun, o.spec.rollout.alpha) if seen.shadow else begun


def _weights(o: Observation, metrics: Fresh) -> dict[str, float]:
    policy = o.spec.rollout
    asked = {
        "errors": True,
        "predictions": metrics.predictions_expected,
        "latency": bool(policy.latency),
        "shadow": bool(policy.shadow),
    }
    return combine.weights([name for name, compared in asked.items() if compared])


def learn(o: Observation, status: Status) -> Status:
    """The status with the blocks of `o.metrics` folded in, and the cursor moved past them."""
    rollout, metrics = status.rollout, o.metrics
    if rollout and isinstance(metrics, Paired):
        return _learn_pairs(o, status, rollout, metrics)
    if rollout is None or not isinstance(metrics, Fresh) or rollout.phase not in _COMPARING | _ALONE:
        return status
    margins = o.spec.rollout.margins
    seen = rollout.evidence
    alpha = o.spec.rollout.alpha
    took = max(0.0, metrics.cursor - (metrics.cursor if rollout.cursor is None else rollout.cursor))
    if rollout.phase in _COMPARING:
        ceiling = combine.ceiling(combine.weights_of(seen)["errors"], alpha)
        seen = seen.model_copy(
            update={
                "errors": errors.fold(seen.errors, metrics.attempts, fraction(margins.errors), ceiling, took),
                "latency": _latency(o, seen, metrics.slow, took),
                "predictions": predictions.fold(
                    seen.predictions, list(metrics.predictions), fraction(margins.predictions), took
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
        budget = budget.model_copy(update={"spent": errors.cost(seen.errors)})
    learnt = rollout.model_copy(
        update={
            "evidence": seen,
            "cursor": metrics.cursor,
            "candidateRequests": seen.errors.candidateAttempts,
            "budget": budget,
        }
    )
    return status.model_copy(update={"rollout": learnt})


def _learn_pairs(o: Observation, status: Status, rollout: Rollout, metrics: Paired) -> Status:
    """The pairs of a shadow; none of anything else, for nobody has got the candidate's answers."""
    asked, seen = o.spec.rollout.shadow, rollout.evidence
    if rollout.phase != "Shadow" or asked is None or seen.shadow is None:
        return status
    seen = seen.model_copy(update={"shadow": shadow.fold(seen.shadow, metrics.block, asked)})
    learnt = {"evidence": combine.combine(seen, o.spec.rollout.alpha), "cursor": metrics.cursor}
    return status.model_copy(update={"rollout": rollout.model_copy(update=learnt)})


def _latency(o: Observation, seen: Evidence, slow: Slow | None, took: float) -> LatencyEvidence | None:
    """The evidence on slow answers after one more block, which took so many seconds.

    A spec that doesn't ask for it any more drops it; one that only now asks for it waits for the next rollout.
    """
    asked = o.spec.rollout.latency
    if seen.latency is None or asked is None or slow is None:
        return seen.latency if asked else None
    weight = combine.weights_of(seen).get("latency")
    ceiling = combine.ceiling(weight, o.spec.rollout.alpha) if weight else math.inf
    found = errors.fold(seen.latency, slow.answers, fraction(asked.margin), ceiling, took)
    return found.model_copy(update={"edge": _edge(slow)})


def _edge(slow: Slow | None) -> str:
    return f"{slow.edge:g}ms" if slow else ""
