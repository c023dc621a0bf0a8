"""Which revision a spec asks for, and what is recorded about revisions. Called by `decide` and `commands.serve`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from headgate.api.revision import (
    Baseline,
    DecisionRecord,
    FrozenRuntime,
    RevisionSpec,
    RevisionState,
    RevisionStatus,
)
from headgate.api.spec import Spec
from headgate.api.status import Evidence, Rollout, Status
from headgate.core import phases
from headgate.core.engines import engine_of
from headgate.core.model import Observation, RevisionView

HISTORY_LIMIT = 10
"""ModelRevisions that are kept besides those in use."""

DECISIONS_KEPT = 20
"""Of a ModelRevision, with their evidence; more than the history of the ModelDeployment has."""

_NOT_A_REVISION = {"replicas", "autoscaling"}


def revision_name(deployment: str, spec: Spec) -> str:
    """Name of the revision: the content of model and runtime, whatever the number of pods.

    Defaults are left out, so that a field that a later Headgate adds doesn't make every model look new.
    """
    content = {
        "model": spec.model.model_dump(mode="json", exclude_defaults=True),
        "runtime": spec.runtime.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_A_REVISION),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{deployment}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def _revision_spec(o: Observation) -> RevisionSpec:
    """The frozen spec of the revision that `o.spec` asks for."""
    runtime = o.spec.runtime
    return RevisionSpec(
        deployment=o.name,
        model=o.spec.model,
        runtime=FrozenRuntime(
            engine=runtime.engine,
            image=runtime.image or o.defaults.serving_image,
            command=runtime.command,
            args=runtime.args,
            tools="" if engine_of(runtime.engine).counts_itself else o.defaults.serving_image,
            resources=runtime.resources,
            podTemplate=runtime.podTemplate,
            tls=runtime.tls,
            diskLimits=True,
        ),
        governance=o.spec.governance,
        parent=o.status.stable.revision if o.status.stable else None,
    )


def state_of(name: str, status: Status, decisions: Sequence[DecisionRecord]) -> RevisionState:
    """Where a revision stands, given the deployment's status and the revision's own record."""
    if status.stable and status.stable.revision == name:
        return "Stable"
    rollout = status.rollout
    if rollout and rollout.revision == name:
        outcome = phases.phase_of(rollout).outcome
        if outcome == "failed":
            return "RolledBack"
        if outcome != "none":
            return "Candidate"
    return "RolledBack" if decisions and decisions[-1].decision == "RolledBack" else "Retired"


def after(o: Observation, status: Status, desired: str) -> dict[str, RevisionView]:
    """All ModelRevisions as they should be, given the deployment's next status.

    The history in the deployment's status is written together with the traffic; the records here follow it, so a
    decision is recorded even if the operator died in between.
    """
    views = dict(o.revisions)
    if desired not in views and desired in {r.revision for r in (status.stable, status.candidate) if r}:
        views[desired] = RevisionView(desired, _revision_spec(o), RevisionStatus())
    return {name: replace(view, status=_status_after(o, status, view)) for name, view in views.items()}


def _status_after(o: Observation, status: Status, view: RevisionView) -> RevisionStatus:
    after = _record_decisions(view, o, status)
    workload = o.workloads.get(view.name)
    after = replace(
        after,
        state=state_of(view.name, status, after.decisions),
        digest=(workload.digest if workload else None) or view.status.digest,
    )
    rollout = status.rollout
    if rollout and rollout.revision == view.name and rollout.preflight:
        after = replace(after, preflight=rollout.preflight)
    if rollout and rollout.revision == view.name and phases.phase_of(rollout).starts_pods and status.stable:
        stable = status.stable
        baseline = Baseline(revision=stable.revision, uri=stable.uri, digest=stable.digest)
        return replace(after, baseline=baseline)
    return after


def _was_judged(rollout: Rollout) -> bool:
    """Whether there is evidence, from requests or copies of them."""
    return bool(rollout.exposedAt or rollout.evidence.signals)


def _for_people(evidence: Evidence) -> Evidence:
    """Without what only the operator needs to go on."""
    return replace(evidence, signals=[replace(entry, state="") for entry in evidence.signals])


def _record_decisions(view: RevisionView, o: Observation, status: Status) -> RevisionStatus:
    recorded = {(d.time, d.decision) for d in view.status.decisions}
    rollouts = (r for r in (status.rollout, o.status.rollout) if r and r.revision == view.name and _was_judged(r))
    evidence = next((_for_people(r.evidence) for r in rollouts), None)
    new = [
        DecisionRecord(
            time=entry.time,
            decision=entry.decision,
            reason=entry.reason,
            message=entry.message,
            candidateRequests=entry.candidateRequests,
            seconds=entry.seconds,
            generation=o.generation,
            evidence=evidence,
        )
        for entry in reversed(status.history)
        if entry.revision == view.name and (entry.time, entry.decision) not in recorded
    ]
    if not new:
        return view.status
    decisions = [*view.status.decisions, *new]
    earlier = max(0, len(decisions) - DECISIONS_KEPT)
    return replace(view.status, decisions=decisions[earlier:], earlierDecisions=view.status.earlierDecisions + earlier)


def forgettable(o: Observation, keep: frozenset[str]) -> tuple[str, ...]:
    """The oldest unused ModelRevisions beyond the limit."""
    unused = sorted((v.created, name) for name, v in o.revisions.items() if name not in keep)
    return tuple(name for _, name in unused[: max(0, len(unused) - HISTORY_LIMIT)])
