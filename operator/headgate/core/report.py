"""What people and tools see: conditions, counts and events, from the decided status and the observation.

Called by `decide` last. Messages hold nothing that changes while nothing happens: an idle object stays untouched.
"""

from headgate.api import MODEL_LABEL, REVISION_LABEL
from headgate.api.quantities import seconds
from headgate.api.status import Condition, RevisionRef, Rollout, Status
from headgate.core import messages
from headgate.core.children import is_own_fault
from headgate.core.model import Blind, Event, Fresh, Observation, Workload
from headgate.core.times import seconds_since, stamp

_ROLLING = frozenset({"Pending", "Shadow", "Canary", "Promoting", "Soaking", "RollingBack"})
_UNDECIDED = frozenset({"Shadow", "Canary"})
_TAKEN_OVER = frozenset({"Promoting", "Soaking"})
"""The candidate has all the traffic."""
_FAILED = frozenset({"RollingBack", "RolledBack"})
_LONG_RETIRING = 90.0
"""Seconds after which it is said that pods stay which nobody needs."""
_LONG_PROMOTING = 60.0
"""Seconds after which it is said which routers still send requests to the old version."""
_COMPARED = frozenset({"Shadow", "Canary", "Promoting", "Soaking"})

_WARNS = {"Stalled": "True", "DriftDetected": "True", "PodsReleased": "False"}
"""Conditions whose change to this status is a warning."""
_PASSES_WITHIN = 60.0
"""Seconds of a phase in which a problem that may pass, such as a node that is on its way, is none to give up for."""
_NOT_YET = "The first version is not ready yet."

Told = tuple[str, str, str]
"""Status, reason and message of a condition."""


def with_observations(o: Observation, status: Status, now: float) -> Status:
    """The status with everything that follows from decision and observation."""
    stable = _counted(o, status.stable)
    rollout = status.rollout
    weight = next((t.weight for t in status.traffic if t.role == "candidate"), None)
    status = status.model_copy(
        update={
            "observedGeneration": o.generation,
            "phase": rollout.phase if rollout else ("Stable" if stable else "Pending"),
            "stable": stable,
            "candidate": _counted(o, status.candidate),
            "replicas": stable.replicas if stable else 0,
            "selector": f"{MODEL_LABEL}={o.name},{REVISION_LABEL}={stable.revision}" if stable else "",
            "candidateWeight": weight,
        }
    )
    stalled = _stalled(o, status, now)
    told = {
        "Ready": _ready(o, status),
        "Reconciling": _reconciling(o, status, stalled),
        "Stalled": stalled,
        "PodsReleased": _pods_released(status, now),
        "RolloutHealthy": _rollout_healthy(o, status),
        "DriftDetected": _drift(o, status),
    }
    conditions = [_condition(o, type_, *what, now) for type_, what in told.items()]
    return status.model_copy(update={"conditions": conditions})


def events(before: Status, after: Status) -> tuple[Event, ...]:
    """Kubernetes events for what changed between two statuses."""
    found = [e for e in (_rollout_event(before.rollout, after.rollout),) if e]
    known = {(h.time, h.decision, h.revision) for h in before.history}
    for entry in reversed(after.history):
        if (entry.time, entry.decision, entry.revision) not in known:
            bad = entry.decision == "RolledBack"
            text = f"{entry.version}: {entry.message}"
            found.append(Event("Warning" if bad else "Normal", entry.decision, text))
    was = {c.type: c for c in before.conditions}
    for c in after.conditions:
        earlier = was.get(c.type)
        if earlier and (earlier.status, earlier.reason) == (c.status, c.reason):
            continue
        told_before = c.type == "Stalled" and after.phase == "RolledBack"  # by the decision's own event
        if (_WARNS.get(c.type) == c.status and not told_before) or (
            c.type == "RolloutHealthy" and c.status == "Unknown" and c.reason == "MetricsUnavailable"
        ):
            found.append(Event("Warning", c.reason, c.message))
        elif (
            c.type == "RolloutHealthy" and c.reason in _COMPARED and earlier and earlier.reason == "MetricsUnavailable"
        ):
            found.append(Event("Normal", "MetricsAvailable", "The metrics are back; the rollout goes on."))
    return tuple(found)


def _rollout_event(before: Rollout | None, after: Rollout | None) -> Event | None:
    if after is None or (before and (before.phase, before.revision) == (after.phase, after.revision)):
        return None
    reasons = {"Pending": "RolloutStarted", "Shadow": "ShadowStarted", "Canary": "CanaryStarted", "Soaking": "Soaking"}
    if after.phase not in reasons:
        return None
    return Event("Normal", reasons[after.phase], f"{after.version}: {after.message}")


def _counted(o: Observation, ref: RevisionRef | None) -> RevisionRef | None:
    if ref is None:
        return None
    workload = o.workloads.get(ref.revision, Workload())
    digest = workload.digest or ref.digest
    return ref.model_copy(update={"replicas": workload.replicas, "ready": workload.ready, "digest": digest})


def _ready(o: Observation, status: Status) -> Told:
    rollout = status.rollout
    if status.stable is None:
        problem = o.workloads.get(rollout.revision, Workload()).problem if rollout else None
        if problem:
            return "False", problem.reason, problem.message
        return "False", "Pending", rollout.message if rollout and status.traffic else _NOT_YET
    taken_over = rollout and rollout.phase in _TAKEN_OVER
    serving = status.candidate if taken_over and status.candidate else status.stable
    if serving.ready == 0 or o.router.ready == 0:
        what = "router" if o.router.ready == 0 else f"version {serving.version}, which has the traffic,"
        return "False", "NoReadyPods", f"No pod of the {what} is ready."
    if rollout and rollout.phase in _FAILED:
        return "False", "RolledBack", f"{rollout.version} was rolled back: {rollout.message}"
    return "True", "Serving", f"{serving.version} is serving."


def _reconciling(o: Observation, status: Status, stalled: Told) -> Told:
    """Never true while Stalled is: kstatus takes the first of both for the state."""
    rollout = status.rollout
    if stalled[0] == "True":
        return "False", "Stalled", "See the condition Stalled."
    if rollout and rollout.phase in _ROLLING:
        problem = o.workloads.get(rollout.revision, Workload()).problem
        told = problem.message if problem else rollout.message
        what = "taken back" if rollout.phase == "RollingBack" else "rolled out"
        return "True", rollout.phase, f"{rollout.version} is being {what}: {told}"
    return "False", "Done", "Nothing is being rolled out."


def _stalled(o: Observation, status: Status, now: float) -> Told:
    """What keeps the rollout from going on, the gravest first. After a rollback: why it was."""
    rollout = status.rollout
    if rollout and rollout.phase == "RolledBack":
        return "True", rollout.reason, f"{rollout.version} was rolled back: {rollout.message}"
    if o.refused:
        return "True", o.refused.reason, o.refused.message
    if o.router.ready == 0 and o.router.problem:
        return "True", o.router.problem.reason, f"The router: {o.router.problem.message}"
    if rollout and rollout.phase in _ROLLING:
        problem = o.workloads.get(rollout.revision, Workload()).problem
        if problem and (is_own_fault(problem) or seconds_since(rollout.since, now) > _PASSES_WITHIN):
            return "True", problem.reason, f"{rollout.version}: {problem.message}"
        if late := _late(o, status, rollout, now):
            return late
    return "False", "NotStalled", ""


def _late(o: Observation, status: Status, rollout: Rollout, now: float) -> Told | None:
    """A phase that lasts longer than it should, and whom it waits for."""
    deadline = seconds(o.spec.rollout.deadline)
    if rollout.phase in _UNDECIDED and seconds_since(rollout.startedAt, now) > deadline:
        return "True", "DeadlineExceeded", messages.deadline_exceeded(o, rollout)
    if rollout.phase == "Pending" and seconds_since(rollout.startedAt, now) > deadline:
        return "True", "DeadlineExceeded", messages.still_pending(o, status, rollout)
    if rollout.phase == "Promoting" and seconds_since(rollout.since, now) > _LONG_PROMOTING:
        return "True", "RoutersBehind", _routers_behind(o, status)
    if rollout.phase == "Soaking" and seconds_since(rollout.since, now) > seconds(o.spec.rollout.soak) + deadline:
        return "True", "DeadlineExceeded", messages.still_soaking(o, rollout)
    return None


def _routers_behind(o: Observation, status: Status) -> str:
    """With names where they are known at this look; without new metrics the message stays what it was."""
    before = next((c for c in o.status.conditions if (c.type, c.reason) == ("Stalled", "RoutersBehind")), None)
    if isinstance(o.metrics, Fresh):
        return messages.routers_behind(status, o.metrics.behind)
    if isinstance(o.metrics, Blind):
        return messages.routers_unknown(status)
    return before.message if before else messages.routers_behind(status, ())


def _pods_released(status: Status, now: float) -> Told:
    """Whether pods stay that nobody needs: it costs their resources, and nothing else."""
    if late := [r.revision for r in status.retiring if seconds_since(r.since, now) > _LONG_RETIRING]:
        return "False", "WaitingForRouters", messages.waiting_for_routers(late)
    return "True", "Released", "No pods stay for longer than routers need them."


def _rollout_healthy(o: Observation, status: Status) -> Told:
    rollout = status.rollout
    if rollout is None:
        return "True", "NoRollout", "Nothing is being rolled out."
    if rollout.phase in _FAILED:
        return "False", rollout.reason, rollout.message
    waits_for_metrics = rollout.phase in _COMPARED or (rollout.phase == "Pending" and status.stable is not None)
    if waits_for_metrics and isinstance(o.metrics, Blind):
        return (
            "Unknown",
            "MetricsUnavailable",
            f"{o.metrics.message} The weights hold until the metrics are back; no data is not bad data.",
        )
    notes = {"Canary": messages.latency_note, "Shadow": messages.shadow_note}
    note = notes[rollout.phase](o, rollout) if rollout.phase in notes else ""
    return "True", rollout.phase, f"{rollout.version}: {rollout.message}{note}"


def _drift(o: Observation, status: Status) -> Told:
    if o.drift is None:
        before = next((c for c in status.conditions if c.type == "DriftDetected"), None)
        return (before.status, before.reason, before.message) if before else ("Unknown", "NotLooked", "")
    if not o.drift.features:
        return (
            "Unknown",
            "NoProfile",
            "Stable counts no inputs: its artifact has no profile.json, or it is not scraped.",
        )
    drifted = sorted(f.feature for f in o.drift.features if f.drifted)
    if drifted:
        return (
            "True",
            "InputsDrifted",
            f"Live inputs have moved away from the reference profile by more than "
            f"{o.spec.monitoring.drift.tolerance:g}: {', '.join(drifted)}. This is no reason to roll back; look at the "
            "data, and consider training with newer rows.",
        )
    return (
        "False",
        "NoDrift",
        f"All features stay within {o.spec.monitoring.drift.tolerance:g} of the profile.",
    )


def _condition(o: Observation, type_: str, value: str, reason: str, message: str, now: float) -> Condition:
    before = next((c for c in o.status.conditions if c.type == type_), None)
    since = before.lastTransitionTime if before and before.status == value else stamp(now)
    return Condition.model_validate(
        {
            "type": type_,
            "status": value,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
            "observedGeneration": o.generation,
        }
    )
