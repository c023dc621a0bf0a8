"""What people and tools see: conditions, counts and events, from the decided status and the observation.

Called by `decide` last. Messages hold nothing that changes while nothing happens: an idle object stays untouched.
"""

from dataclasses import replace

from headgate.api import MODEL_LABEL, REVISION_LABEL
from headgate.api.status import Condition, RevisionRef, Rollout, Status
from headgate.core import messages
from headgate.core.children import is_own_fault
from headgate.core.model import ConditionState, Event, MetricsUnavailable, NewSamples, Observation, Workload
from headgate.core.phases import PHASES, phase_name, phase_of
from headgate.core.preflight import told
from headgate.core.signals.evidence import compared
from headgate.core.times import seconds_since, stamp

_LONG_RETIRING = 90.0
"""Seconds after which it is said that pods stay which nobody needs."""
_WARNS = {"Stalled": "True", "DriftDetected": "True", "PodsReleased": "False", "ForeignMetrics": "True"}
"""Conditions whose change to this status is a warning."""
_PASSES_WITHIN = 60.0
"""Seconds of a phase in which a problem that may pass, such as a node that is on its way, is none to give up for."""
_NOT_YET = "The first version is not ready yet."


def with_observations(o: Observation, status: Status, now: float) -> Status:
    """The status with everything that follows from decision and observation."""
    stable = _counted(o, status.stable)
    weight = next((t.weight for t in status.traffic if t.role == "candidate"), None)
    status = replace(
        status,
        observedGeneration=o.generation,
        phase=phase_name(status),
        stable=stable,
        candidate=_counted(o, status.candidate),
        replicas=stable.replicas if stable else 0,
        selector=f"{MODEL_LABEL}={o.name},{REVISION_LABEL}={stable.revision}" if stable else "",
        candidateWeight=weight,
    )
    stalled = _stalled(o, status, now)
    states = {
        "Ready": _ready(o, status),
        "Reconciling": _reconciling(o, status, stalled),
        "Stalled": stalled,
        "PodsReleased": _pods_released(status, now),
        "RolloutHealthy": _rollout_healthy(o, status),
        "DriftDetected": _drift(o, status),
        "ForeignMetrics": _foreign(o, status),
    }
    conditions = [_condition(o, type_, *state, now) for type_, state in states.items()]
    return replace(status, conditions=conditions)


def events(before: Status, after: Status) -> tuple[Event, ...]:
    """Kubernetes events for what changed between two statuses."""
    of_rollout = (_rollout_event(before.rollout, after.rollout), _preflight_event(before.rollout, after.rollout))
    posted = [e for e in of_rollout if e]
    recorded = {(h.time, h.decision, h.revision) for h in before.history}
    for entry in reversed(after.history):
        if (entry.time, entry.decision, entry.revision) not in recorded:
            bad = entry.decision == "RolledBack"
            text = f"{entry.version}: {entry.message}"
            posted.append(Event("Warning" if bad else "Normal", entry.decision, text))
    was = {c.type: c for c in before.conditions}
    for c in after.conditions:
        earlier = was.get(c.type)
        if earlier and (earlier.status, earlier.reason) == (c.status, c.reason):
            continue
        told_before = c.type == "Stalled" and _was_rolled_back(after.rollout)  # by the decision's own event
        if (_WARNS.get(c.type) == c.status and not told_before) or (
            c.type == "RolloutHealthy" and c.status == "Unknown" and c.reason == "MetricsUnavailable"
        ):
            posted.append(Event("Warning", c.reason, c.message))
        elif c.type == "RolloutHealthy" and _compares(c.reason) and earlier and earlier.reason == "MetricsUnavailable":
            posted.append(Event("Normal", "MetricsAvailable", "The metrics are back; the rollout goes on."))
    return tuple(posted)


def gaps(o: Observation) -> tuple[Event, ...]:
    """An event for a time of which nothing was counted."""
    if not isinstance(o.metrics, NewSamples) or o.metrics.uncounted_since is None:
        return ()
    message = messages.went_on_without_counting(stamp(o.metrics.uncounted_since), stamp(o.metrics.cursor))
    return (Event("Warning", "WentOnWithoutCounting", message),)


def _rollout_event(before: Rollout | None, after: Rollout | None) -> Event | None:
    if after is None or (before and (before.phase, before.revision) == (after.phase, after.revision)):
        return None
    reason = phase_of(after).event
    return Event("Normal", reason, f"{after.version}: {after.message}") if reason else None


def _preflight_event(before: Rollout | None, after: Rollout | None) -> Event | None:
    """What a preflight found that lets the version go on; one that doesn't has the rollback's own event."""
    if after is None or after.preflight is None or (before and before.preflight == after.preflight):
        return None
    failed = [check for check in after.preflight.checks if check.outcome == "Failed"]
    if failed:
        return Event("Warning", "PreflightFound", f"{after.version}: {told(failed)}")
    return Event("Normal", "PreflightPassed", f"{after.version}: {told(after.preflight.checks)}")


def _counted(o: Observation, ref: RevisionRef | None) -> RevisionRef | None:
    if ref is None:
        return None
    workload = o.workloads.get(ref.revision, Workload())
    digest = workload.digest or ref.digest
    return replace(ref, replicas=workload.replicas, ready=workload.ready, digest=digest)


def _ready(o: Observation, status: Status) -> ConditionState:
    rollout = status.rollout
    if status.stable is None:
        problem = o.workloads.get(rollout.revision, Workload()).problem if rollout else None
        if problem:
            return "False", problem.reason, problem.message
        return "False", status.phase, rollout.message if rollout and (status.traffic or rollout.preflight) else _NOT_YET
    taken_over = rollout and phase_of(rollout).outcome == "promoted"
    serving = status.candidate if taken_over and status.candidate else status.stable
    if serving.ready == 0 or o.router.ready == 0:
        subject = "router" if o.router.ready == 0 else f"version {serving.version}, which has the traffic,"
        return "False", "NoReadyPods", f"No pod of the {subject} is ready."
    if rollout and phase_of(rollout).outcome == "failed":
        return "False", "RolledBack", f"{rollout.version} was rolled back: {rollout.message}"
    return "True", "Serving", f"{serving.version} is serving."


def _reconciling(o: Observation, status: Status, stalled: ConditionState) -> ConditionState:
    """Never true while Stalled is: kstatus takes the first of both for the state."""
    rollout = status.rollout
    if stalled[0] == "True":
        return "False", "Stalled", "See the condition Stalled."
    if rollout and phase_of(rollout).running:
        problem = o.workloads.get(rollout.revision, Workload()).problem
        text = problem.message if problem else rollout.message
        direction = "taken back" if phase_of(rollout).outcome == "failed" else "rolled out"
        return "True", rollout.phase, f"{rollout.version} is being {direction}: {text}"
    return "False", "Done", "Nothing is being rolled out."


def _stalled(o: Observation, status: Status, now: float) -> ConditionState:
    """What keeps the rollout from going on, the gravest first. After a rollback: why it was."""
    rollout = status.rollout
    if rollout and _was_rolled_back(rollout):
        return "True", rollout.reason, f"{rollout.version} was rolled back: {rollout.message}"
    if o.refused:
        return "True", o.refused.reason, o.refused.message
    if o.router.ready == 0 and o.router.problem:
        return "True", o.router.problem.reason, f"The router: {o.router.problem.message}"
    if rollout and phase_of(rollout).running:
        problem = o.workloads.get(rollout.revision, Workload()).problem
        if problem and (is_own_fault(problem) or seconds_since(rollout.since, now) > _PASSES_WITHIN):
            return "True", problem.reason, f"{rollout.version}: {problem.message}"
        if late := phase_of(rollout).late(o, status, rollout, now):
            return late
    return "False", "NotStalled", ""


def _was_rolled_back(rollout: Rollout | None) -> bool:
    """Whether a rollback is over."""
    return rollout is not None and phase_of(rollout).outcome == "failed" and not phase_of(rollout).running


def _pods_released(status: Status, now: float) -> ConditionState:
    """Whether pods stay that nobody needs: it costs their resources, and nothing else."""
    if late := [r.revision for r in status.retiring if seconds_since(r.since, now) > _LONG_RETIRING]:
        return "False", "WaitingForRouters", messages.waiting_for_routers(late)
    return "True", "Released", "No pods stay for longer than routers need them."


def _rollout_healthy(o: Observation, status: Status) -> ConditionState:
    rollout = status.rollout
    if rollout is None:
        return "True", "NoRollout", "Nothing is being rolled out."
    phase = phase_of(rollout)
    if phase.outcome == "failed":
        return "False", rollout.reason, rollout.message
    if phase.waits_for_metrics(status) and isinstance(o.metrics, MetricsUnavailable):
        return (
            "Unknown",
            "MetricsUnavailable",
            f"{o.metrics.message} The weights hold until the metrics are back; no data is not bad data.",
        )
    if why := phase.waits_for_signals(o.spec, rollout):
        return "Unknown", "SignalUnavailable", f"{rollout.version}: {messages.unread(why)}"
    notes = (
        signal.note(state, o.spec)
        for signal, _, state in compared(o.spec, rollout.evidence)
        if signal.reading is phase.reads and phase.stable_serves
    )
    return "True", rollout.phase, f"{rollout.version}: {rollout.message}{''.join(notes)}"


def _compares(phase: str) -> bool:
    return phase in PHASES and PHASES[phase].compares


def _drift(o: Observation, status: Status) -> ConditionState:
    if o.drift is None:
        return _as_before(status, "DriftDetected")
    if not o.drift.features:
        return (
            "Unknown",
            "NoProfile",
            "Stable counts no inputs: its artifact has no profile.json, or it is not scraped.",
        )
    left_out = messages.features_left_out(o.drift.left_out) if o.drift.left_out else ""
    drifted = sorted(f.feature for f in o.drift.features if f.drifted)
    if drifted:
        return (
            "True",
            "InputsDrifted",
            f"Live inputs have moved away from the reference profile by more than "
            f"{o.spec.monitoring.drift.tolerance:g}: {messages.some_of(drifted)}. This is no reason to roll back; look "
            f"at the data, and consider training with newer rows.{left_out}",
        )
    return (
        "False",
        "NoDrift",
        f"All features stay within {o.spec.monitoring.drift.tolerance:g} of the profile.{left_out}",
    )


def _foreign(o: Observation, status: Status) -> ConditionState:
    """Whether others say that they are this model's routers or pods. It lasts while the metrics are read."""
    running = status.rollout is not None and phase_of(status.rollout).running
    if o.foreign is None:
        return _as_before(status, "ForeignMetrics") if running else ("Unknown", "NotLooked", "")
    if o.foreign.pods:
        return "True", "ForeignPods", messages.foreign_pods(o.foreign)
    return "False", "NoneFound", "All series of the model are from its own pods."


def _as_before(status: Status, type_: str) -> ConditionState:
    before = next((c for c in status.conditions if c.type == type_), None)
    return (before.status, before.reason, before.message) if before else ("Unknown", "NotLooked", "")


def _condition(o: Observation, type_: str, value: str, reason: str, message: str, now: float) -> Condition:
    before = next((c for c in o.status.conditions if c.type == type_), None)
    since = before.lastTransitionTime if before and before.status == value else stamp(now)
    return Condition.read(
        {
            "type": type_,
            "status": value,
            "reason": reason,
            "message": messages.shortened(message),
            "lastTransitionTime": since,
            "observedGeneration": o.generation,
        }
    )
