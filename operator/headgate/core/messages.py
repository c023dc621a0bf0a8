"""The sentences in which decisions are told, with the figures they were taken on. Used by `phases`."""

import math
from collections.abc import Sequence

from headgate.api.quantities import seconds
from headgate.api.status import Budget, Evidence, LatencyEvidence, Rollout, ShadowEvidence, Status
from headgate.core.model import Observation, Workload

_NAMED = 5
"""Pods and revisions that a message names at most."""


def _times(log_e: float) -> str:
    """ln of an e-value -> "300 times"."""
    return f"{math.exp(min(log_e, 690.0)):.3g} times"


def _share(events: int, total: int) -> str:
    return f"{events} of {total} ({100 * events / total:.2f} %)" if total else "0 of 0"


def errors_higher(o: Observation, status: Status, evidence: Evidence) -> str:
    """Why failed answers rolled back."""
    seen = evidence.errors
    return (
        f"{_share(seen.candidateFailures, seen.candidateAttempts)} attempts on the candidate failed, "
        f"{_share(seen.stableFailures, seen.stableAttempts)} on {_stable(status)}: "
        f"worse by more than {o.spec.rollout.margins.errors}. {_strength(evidence, o)}"
    )


def predictions_shifted(o: Observation, status: Status, evidence: Evidence) -> str:
    """Why predictions rolled back."""
    seen = evidence.predictions
    return (
        f"The predictions differ from those of {_stable(status)} on the same traffic by more than "
        f"{o.spec.rollout.margins.predictions}: the share of answers where {seen.largestEvent} moved by "
        f"{seen.largestShift:+.1f} points ({seen.candidateAnswers} answers of the candidate, "
        f"{seen.stableAnswers} of stable). {_strength(evidence, o)} If this is intended, raise "
        "spec.rollout.margins.predictions."
    )


def latency_higher(o: Observation, status: Status, evidence: Evidence) -> str:
    """Why slow answers rolled back."""
    return f"{_slower(evidence, _stable(status))}: worse by more than {_latency_margin(o)}. {_strength(evidence, o)}"


def _slower(evidence: Evidence, stable: str) -> str:
    seen = evidence.latency or LatencyEvidence()
    return (
        f"{_share(seen.candidateFailures, seen.candidateAttempts)} answers of the candidate took longer than "
        f"{seen.edge}, {_share(seen.stableFailures, seen.stableAttempts)} of {stable}"
    )


def _latency_margin(o: Observation) -> str:
    return o.spec.rollout.latency.margin if o.spec.rollout.latency else "the margin"


def latency_note(o: Observation, rollout: Rollout) -> str:
    """What to know about the threshold of slow answers while they are compared; empty where it is what was asked."""
    asked, seen = o.spec.rollout.latency, rollout.evidence.latency
    if asked is None or seen is None:
        return ""
    if not seen.edge:
        return " Slow answers are not compared yet: the routers have timed none."
    if seconds(seen.edge) == seconds(asked.threshold):
        return ""
    return f" Slow is what takes longer than {seen.edge}: the routers don't measure {asked.threshold} itself."


def shadow_disagrees(o: Observation, status: Status, evidence: Evidence) -> str:
    """Why a shadow rolled back, whether the candidate disagreed or did not answer."""
    seen = evidence.shadow or ShadowEvidence()
    asked = o.spec.rollout.shadow
    least = asked.minAgreement if asked else "what was asked for"
    return (
        f"Of {seen.pairs} requests that {_stable(status)} answered, the candidate answered "
        f"{_share(seen.agreed, seen.pairs)} alike and {_share(seen.failed, seen.pairs)} not at all: fewer alike than "
        f"{least}. No user got its answers. {_strength(evidence, o)} If the difference is intended, lower "
        "spec.rollout.shadow.minAgreement, or raise its tolerance."
    )


def mostly_failed(evidence: Evidence) -> bool:
    """Whether a shadow that does not agree does so for want of answers."""
    seen = evidence.shadow or ShadowEvidence()
    return 2 * seen.failed > seen.pairs - seen.agreed


def shadow_note(o: Observation, rollout: Rollout) -> str:
    """What to know about a shadow; nothing that changes with each request."""
    seen, asked = rollout.evidence.shadow, o.spec.rollout.shadow
    if asked is None or seen is None:
        return ""
    if not seen.pairs:
        return " None has been compared yet."
    return f" The canary begins when {asked.minAgreement} of at least {asked.minPairs} are shown to be answered alike."


def deadline_exceeded(o: Observation, rollout: Rollout) -> str:
    """What can be done about a rollout that finds no verdict."""
    told = f"There was too little evidence to decide within {o.spec.rollout.deadline}. The rollout goes on; "
    if rollout.phase == "Canary":
        return told + "send more traffic, widen spec.rollout.margins, or ask for the old version again."
    return told + (
        "send more traffic, raise spec.rollout.shadow.fraction, lower its minAgreement, or take the shadow out."
    )


def still_pending(o: Observation, status: Status, rollout: Rollout) -> str:
    """What a version waits for that should have been ready long ago."""
    if status.traffic and status.stable is None:
        return f"{rollout.version} is ready, and no router sends it requests: look at the pods of {o.name}-router."
    if o.workloads.get(rollout.revision, Workload()).rolled_out:
        return (
            f"{rollout.version} is ready for longer than {o.spec.rollout.deadline}, and there are no metrics to "
            "judge it by: it gets no traffic before there are."
        )
    return f"The pods of {rollout.version} were not ready within {o.spec.rollout.deadline}: kubectl describe them."


def still_soaking(o: Observation, rollout: Rollout) -> str:
    """A soak that can't end: without metrics nobody knows how the new version does."""
    return (
        f"{rollout.version} has all the traffic for longer than {o.spec.rollout.soak}, and there are no metrics to "
        "judge it by. The old version's pods stay until there are."
    )


def routers_behind(status: Status, routers: Sequence[str]) -> str:
    """Whom a promotion waits for."""
    who = f"these pods still do: {', '.join(routers[:_NAMED])}" if routers else "it is not known which pods still do"
    return (
        f"All requests should go to the new version, and {_stable(status)} still gets some; {who}. Restart a router "
        "whose agent does not follow. The promotion goes on after five minutes; the old version's pods stay until "
        "every router has left them."
    )


def routers_unknown(status: Status) -> str:
    """A promotion that nobody can follow."""
    return (
        f"All requests should go to the new version; without metrics nobody knows whether {_stable(status)} still gets "
        "some. The promotion goes on after five minutes; the old version's pods stay until every router has left them."
    )


def waiting_for_routers(revisions: Sequence[str]) -> str:
    """Why pods stay that nobody needs."""
    return (
        f"The pods of {', '.join(revisions[:_NAMED])} stay until every router pod has said, in headgate_router_routes, "
        "that it sends them nothing. Is Prometheus there, and does it scrape the routers' port agent-metrics?"
    )


def budget_spent(status: Status, budget: Budget) -> str:
    """Why an empty risk budget rolled back."""
    return (
        f"The candidate cost {budget.spent:g} more bad answers than {_stable(status)} would have, of a risk budget "
        f"of {budget.total:g}. That is more than bad luck, though not shown to be more than the margin."
    )


def never_ready(o: Observation, rollout: Rollout, workload: Workload) -> str:
    """Why a candidate was given up before it had traffic."""
    why = workload.problem.message if workload.problem else "its pods did not become ready"
    return f"{rollout.version} was not ready within {o.spec.rollout.deadline}: {why}"


def passed(o: Observation, rollout: Rollout) -> str:
    """Why a candidate was promoted."""
    seen = rollout.evidence
    told = (
        f"Not worse than stable by {o.spec.rollout.margins.errors} of failed answers: "
        f"{_share(seen.errors.candidateFailures, seen.errors.candidateAttempts)} attempts on the candidate failed, "
        f"{_share(seen.errors.stableFailures, seen.errors.stableAttempts)} on stable."
    )
    if seen.latency:
        told += f" Not slower by {_latency_margin(o)}: {_slower(seen, 'stable')}."
    if seen.shadow:
        told += f" Before that, {_share(seen.shadow.agreed, seen.shadow.pairs)} copies were answered alike."
    if seen.predictions.outputs:
        return (
            f"{told} No share of its predictions moved by {o.spec.rollout.margins.predictions} "
            f"(largest: {seen.predictions.largestEvent}, {seen.predictions.largestShift:+.1f} points)."
        )
    return f"{told} Predictions were not compared: stable has no profile."


def _stable(status: Status) -> str:
    return f"stable {status.stable.version}" if status.stable else "stable"


def _strength(evidence: Evidence, o: Observation) -> str:
    return (
        f"The evidence is {_times(evidence.logHarm)} what chance would give; {1 / o.spec.rollout.alpha:.3g} times "
        "were needed."
    )
