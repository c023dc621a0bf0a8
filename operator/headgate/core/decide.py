"""decide(observation, now) -> plan: every decision of Headgate, in one place and without side effects.

Called by `reconcile` for every look at a ModelDeployment. The order is the order of importance:

1. fold new metrics into the evidence;
2. roll back if the evidence says so: nothing may delay it;
3. follow the spec: a new revision starts a rollout, going back to stable ends one;
4. advance: what the rollout's phase waits for;
5. tidy: pods that no router needs any more.

`report` then turns the outcome into conditions and events, and `samples` completes the traffic.
"""

from headgate.api.status import RevisionRef, Status
from headgate.core import phases, report, revisions, samples, transitions
from headgate.core.model import Observation, Plan


def decide(o: Observation, now: float) -> Plan:
    """What to do about `o` at `now` (seconds since the epoch)."""
    desired = revisions.revision_name(o.name, o.spec)
    status = phases.with_new_evidence(o, o.status)
    if reason := phases.reason_to_roll_back(o, status):
        status = transitions.roll_back(status, *reason, now)
    else:
        status = phases.advance(o, _follow_spec(o, status, desired, now), now)
    status = transitions.drained(status, o.released, now)
    status = report.with_observations(o, status, now)
    records = revisions.after(o, status, desired)
    status = samples.with_samples(status, records, o.spec.monitoring.sample)
    replicas = None if o.spec.runtime.autoscaling else o.spec.runtime.replicas
    keep = phases.needed(status)
    return Plan(
        status=status,
        revisions=records,
        replicas=dict.fromkeys(sorted(keep), replicas),
        forget=revisions.forgettable(o, keep | {desired}),
        events=report.events(o.status, status),
        look_again_after=phases.look_again_after(status),
    )


def _follow_spec(o: Observation, status: Status, desired: str, now: float) -> Status:
    """Start, supersede or keep the rollout, as the spec asks.

    Asking for the old version while it is still warm takes a promotion back, as fast as a rollback.
    """
    rollout = status.rollout
    if rollout and rollout.revision == desired:
        return status
    warm = status.stable is not None and status.stable.revision == desired
    outcome = phases.phase_of(rollout).outcome if rollout else "none"
    if outcome == "promoted" and not warm:
        status = transitions.settle(status, now)
    elif outcome in ("promoted", "undecided"):
        status = transitions.supersede(status, o.spec.model.version, now)
    elif rollout and rollout.phase == "RollingBack":
        return status
    if warm:
        return transitions.back_to_stable(status)
    candidate = RevisionRef(
        revision=desired, version=o.spec.model.version, uri=o.spec.model.uri, digest=o.spec.model.digest
    )
    return transitions.start(status, candidate, float(o.spec.rollout.riskBudget), now)
