"""What each phase of a rollout waits for, and where it can go. Called by `decide` after it has learnt.

    Pending --ready--> Canary --evidence passed--> Promoting --routers followed--> Soaking --time--> Stable
       |                 |                             |                              |
       +--deadline-------+--------evidence failed------+------------------------------+--> RollingBack --> RolledBack

Where the spec asks for it, Shadow comes between Pending and Canary: copies of requests, whose answers nobody gets. It
ends when enough pairs agree, or as a canary does. The first version of a model goes from Pending to Stable, when its
pods are ready and a router sends them requests.
"""

from collections.abc import Callable

from headgate.api.quantities import routed_percent, seconds
from headgate.api.status import Rollout, Status
from headgate.core import exposure, judge, learn, messages, shadow, transitions
from headgate.core.children import is_own_fault
from headgate.core.evidence import combine, errors
from headgate.core.model import Blind, Fresh, Observation, Workload
from headgate.core.times import seconds_since, stamp

_HARM = {
    "errors": ("ErrorsHigher", messages.errors_higher),
    "predictions": ("PredictionsShifted", messages.predictions_shifted),
    "latency": ("LatencyHigher", messages.latency_higher),
    "shadow": ("ShadowDisagrees", messages.shadow_disagrees),
}
"""Reason and message by the signal that carries the evidence."""
_EXPOSED = frozenset({"Canary", "Promoting", "Soaking"})
_JUDGED = _EXPOSED | {"Shadow"}
_FOLLOWED_WITHIN = 300.0
"""Seconds that Promoting waits for all routers. Stable's pods stay afterwards too, until each router has left them."""
_LOOK_AGAIN = {"Pending": 5.0, "Shadow": 1.0, "Canary": 1.0, "Promoting": 1.0, "Soaking": 2.0, "RollingBack": 2.0}
_IDLE_LOOK = 30.0


def reason_to_roll_back(o: Observation, status: Status) -> tuple[str, str] | None:
    """Reason and message, if the candidate that answers requests, or copies of them, has to go now.

    Looks at nothing that could delay it.
    """
    rollout = status.rollout
    if rollout is None or rollout.phase not in _JUDGED or status.stable is None:
        return None
    evidence = rollout.evidence
    alpha = o.spec.rollout.alpha
    if judge.harmful(evidence.logHarm, alpha):
        reason, told = _HARM[combine.carrier(evidence)]
        if reason == "ShadowDisagrees" and messages.mostly_failed(evidence):
            reason = "ShadowFailing"
        return reason, told(o, status, evidence)
    budget = rollout.budget
    if (
        rollout.phase == "Canary"
        and budget
        and judge.budget_spent(
            budget.spent, budget.total, evidence.errors.logWorse, judge.passed([evidence.errors.logSafe]), alpha
        )
    ):
        return "RiskBudgetSpent", messages.budget_spent(status, budget)
    workload = o.workloads.get(rollout.revision)
    if workload and workload.ready == 0 and workload.problem and is_own_fault(workload.problem):
        return "CandidateCrashing", f"No pod of {rollout.version} is left: {workload.problem.message}"
    return None


def advance(o: Observation, status: Status, now: float) -> Status:
    """One step further, if what the phase waits for is there."""
    if status.rollout is None:
        return status
    step = _STEPS.get(status.rollout.phase)
    return step(o, status, status.rollout, now) if step else status


def needed(status: Status) -> frozenset[str]:
    """Revisions whose pods must exist."""
    refs = [r.revision for r in (status.stable, status.candidate) if r]
    return frozenset([*refs, *(t.revision for t in status.traffic), *(r.revision for r in status.retiring)])


def look_again_after(status: Status) -> float:
    """Seconds until the next look, if no event comes before."""
    soonest = 2.0 if status.retiring else _IDLE_LOOK
    return min(soonest, _LOOK_AGAIN.get(status.phase, _IDLE_LOOK))


def _pending(o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
    workload = o.workloads.get(rollout.revision, Workload())
    if not workload.rolled_out:
        late = seconds_since(rollout.startedAt, now) > seconds(o.spec.rollout.deadline)
        if late and status.stable:
            return transitions.roll_back(status, "NeverReady", messages.never_ready(o, rollout, workload), now)
        return status
    if status.stable is None:
        # Routers get ready by the first version that they route to.
        return (
            transitions.go_live(status, now)
            if status.traffic and o.router.available
            else transitions.route_first(status, now)
        )
    if isinstance(o.metrics, Fresh) and (asked := o.spec.rollout.shadow):
        evidence = learn.begin_shadow(o, o.metrics)
        return transitions.open_shadow(status, routed_percent(asked.fraction), evidence, o.metrics.cursor, now)
    return _open_canary(o, status, rollout, now)


def _shadow(o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
    asked = o.spec.rollout.shadow
    if asked is None or shadow.is_over(o.spec, rollout):
        return _open_canary(o, status, rollout, now)
    return status if isinstance(o.metrics, Blind) else transitions.set_shadow(status, routed_percent(asked.fraction))


def _open_canary(o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
    if not isinstance(o.metrics, Fresh):
        return status
    evidence = learn.begin(o, o.metrics, rollout.evidence)
    return transitions.open_canary(status, _first_weight(o, o.metrics), evidence, o.metrics.cursor, now)


def _canary(o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
    if not isinstance(o.metrics, Fresh):
        return status
    climbed = not o.spec.rollout.steps
    if not climbed:
        status, climbed = _climb(o, status, rollout, now)
    elif sum((o.metrics.attempts.candidate_attempts, o.metrics.attempts.stable_attempts)):
        status = _ramp(o, status, rollout, o.metrics)
    if climbed and _passed(rollout, o.metrics):
        seen = rollout.evidence.errors
        rate = float(exposure.upper_rate(seen.stableFailures, seen.stableAttempts, o.spec.rollout.alpha))
        return transitions.promote(status, messages.passed(o, rollout), round(rate, 6), now)
    return status


def _promoting(o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
    """The routers have followed when stable gets nothing but what it rescues."""
    waits = seconds_since(rollout.since, now)
    if waits < _FOLLOWED_WITHIN:
        if not isinstance(o.metrics, Fresh) or waits < transitions.DRAIN_SECONDS / 2:
            return status
        if o.metrics.attempts.stable_attempts > o.metrics.attempts.candidate_failures:
            return status
    return transitions.soak(status, o.spec.rollout.soak, now)


def _soaking(o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
    if isinstance(o.metrics, Blind) or seconds_since(rollout.since, now) < seconds(o.spec.rollout.soak):
        return status
    return transitions.settle(status, now)


_Step = Callable[[Observation, Status, Rollout, float], Status]
_STEPS: dict[str, _Step] = {
    "Pending": _pending,
    "Shadow": _shadow,
    "Canary": _canary,
    "Promoting": _promoting,
    "Soaking": _soaking,
}


def _passed(rollout: Rollout, metrics: Fresh) -> bool:
    seen = rollout.evidence
    compared = [seen.errors.logSafe]
    if seen.latency:
        compared.append(seen.latency.logSafe)
    if seen.predictions.outputs:
        compared.append(seen.predictions.logSafe)
    elif metrics.predictions_expected:
        return False
    return bool(judge.passed(compared))


def _first_weight(o: Observation, metrics: Fresh) -> float:
    policy = o.spec.rollout
    if policy.steps:
        return policy.steps[0].weight
    past = metrics.before
    requests = past.attempts / past.seconds * _look(metrics) if past.seconds else 0.0
    return float(exposure.first_weight(requests, policy.riskBudget, policy.maxWeight))


def _look(metrics: Fresh) -> float:
    """Seconds until one knows what a weight did."""
    return max(metrics.interval, _LOOK_AGAIN["Canary"])


def _ramp(o: Observation, status: Status, rollout: Rollout, metrics: Fresh) -> Status:
    """The weight that the risk budget allows, at the traffic that there has been since the canary opened.

    Of a single block the traffic can't be told: its end is where the slowest target was scraped. What waits to be
    compared doesn't move the weight: see `evidence.waiting`.
    """
    budget = rollout.budget
    if budget is None or rollout.countedFrom is None or metrics.cursor <= rollout.countedFrom:
        return status
    seen = rollout.evidence.errors
    rate = (seen.candidateAttempts + seen.stableAttempts) / (metrics.cursor - rollout.countedFrom)
    policy, known = o.spec.rollout, errors.settled(seen)
    upper = exposure.upper_rate(known.candidateFailures, known.candidateAttempts, policy.alpha)
    left = budget.total - errors.cost(known)
    current = status.traffic[-1].weight
    requests = rate * _look(metrics)
    allowed = exposure.next_weight(current, upper, errors.stable_rate(known), left, requests, policy.maxWeight)
    return transitions.set_weight(status, float(allowed))


def _climb(o: Observation, status: Status, rollout: Rollout, now: float) -> tuple[Status, bool]:
    """One step up the explicit ladder when its time has come; and whether the last step has been held."""
    steps = o.spec.rollout.steps
    step = min(rollout.step, len(steps) - 1)
    if rollout.stepSince and seconds_since(rollout.stepSince, now) < seconds(steps[step].hold):
        return status, False
    if step + 1 == len(steps):
        return status, True
    moved = rollout.model_copy(update={"step": step + 1, "stepSince": stamp(now)})
    return transitions.set_weight(status.model_copy(update={"rollout": moved}), steps[step + 1].weight), False
