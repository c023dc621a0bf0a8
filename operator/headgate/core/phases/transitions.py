"""The steps that a rollout can take, each a function from status to status. No step depends on anything but the status.

`decide` and `phases` choose the step; a step sets phase, traffic, history and who is kept warm, always together.
"""

import math
from collections.abc import Collection
from dataclasses import replace

from headgate.api.preflight import Report
from headgate.api.status import (
    Budget,
    DecisionKind,
    Evidence,
    HistoryEntry,
    Phase,
    Retiring,
    RevisionRef,
    Rollout,
    Status,
    TrafficTarget,
)
from headgate.core.messages import shortened
from headgate.core.times import no_later, seconds_since, stamp

SHADOW_OVER = "ShadowOver"
"""Reason of a rollout whose shadow has lasted as long as it may."""

HISTORY_LENGTH = 10
MOST_RETIRING = 10
"""Revisions whose pods may stay because a router has not said that it has left them. Of more than that the oldest go
that never had all the traffic. One that had it stays: a router that has heard of nothing since sends it everything."""
DRAIN_SECONDS = 8.0
"""How long pods outlive their last route at least, if all routers say that they have followed."""


def start(status: Status, candidate: RevisionRef, risk_budget: float, now: float) -> Status:
    """A new revision is to be rolled out. Traffic stays as it is."""
    rollout = Rollout(
        revision=candidate.revision,
        version=candidate.version,
        phase="Pending",
        startedAt=stamp(now),
        since=stamp(now),
        reason="RolloutStarted",
        message=f"Waiting for the pods of {candidate.version}.",
        evidence=Evidence(),
        budget=Budget(total=risk_budget),
    )
    retiring = [r for r in status.retiring if r.revision != candidate.revision]
    return replace(status, rollout=rollout, candidate=candidate, retiring=retiring)


def look_first(status: Status, now: float) -> Status:
    """The pods are ready: the version is looked at before anybody sends it requests."""
    rollout, _ = _both(status)
    message = f"{rollout.version} is ready, and is looked at before it gets any traffic."
    return enter(status, "Preflight", "Preflight", message, now)


def looked_at(status: Status, report: Report) -> Status:
    """The preflight is over."""
    rollout, _ = _both(status)
    return replace(status, rollout=replace(rollout, preflight=report))


def route_first(status: Status, now: float) -> Status:
    """The first version is ready: the routers may follow. It is not live before one of them does."""
    rollout, _ = _both(status)
    if status.traffic:
        return status
    message = f"{rollout.version} is ready; waiting for a router that sends it requests."
    return replace(enter(status, rollout.phase, "RoutersFollow", message, now), traffic=[_all_to(rollout.revision)])


def go_live(status: Status, now: float) -> Status:
    """The first version has nothing to be compared with: it gets all the traffic when it is ready."""
    rollout, candidate = _both(status)
    message = f"{rollout.version} is the first version; it is ready and gets all the traffic."
    status = _decided(status, "Live", "FirstVersion", message, now)
    status = enter(status, "Stable", "FirstVersion", message, now)
    return replace(status, stable=candidate, candidate=None, traffic=[_all_to(rollout.revision)])


def open_shadow(status: Status, percent: float, evidence: Evidence, cursor: float, now: float) -> Status:
    """The candidate gets copies of `percent` of the requests; nobody gets its answers. What is to come counts."""
    message = f"The candidate gets copies of {percent:g}% of the requests; nobody gets its answers."
    status = enter(status, "Shadow", "Shadowing", message, now)
    rollout, _ = _both(status)
    rollout = replace(rollout, evidence=evidence, cursor=cursor)
    return set_shadow(replace(status, rollout=rollout), percent)


def set_shadow(status: Status, percent: float) -> Status:
    """The part of the requests that the candidate gets copies of."""
    rollout, _ = _both(status)
    if status.stable is None:
        raise ValueError("a shadow needs a stable revision that answers")
    copies = TrafficTarget(revision=rollout.revision, role="candidate", weight=0.0, shadow=percent)
    return replace(status, traffic=[_all_to(status.stable.revision), copies])


def end_shadow(status: Status, message: str, now: float) -> Status:
    """There is too little traffic for a verdict by copies: the canary may begin."""
    return enter(status, "Shadow", SHADOW_OVER, message, now)


def open_canary(
    status: Status, weight: float, evidence: Evidence, cursor: float, now: float, step: float = 0.1
) -> Status:
    """The candidate gets its first traffic. Everything up to `cursor` was before it, and is in `evidence`."""
    status = enter(status, "Canary", "Exposed", "The candidate gets traffic as the evidence allows.", now)
    rollout, _ = _both(status)
    rollout = replace(
        rollout, evidence=evidence, cursor=cursor, countedFrom=cursor, exposedAt=stamp(now), stepSince=stamp(now)
    )
    return set_weight(replace(status, rollout=rollout), weight, step)


def say(status: Status, message: str) -> Status:
    """What the rollout waits for, in words, while it stays in its phase."""
    rollout, _ = _both(status)
    return replace(status, rollout=replace(rollout, message=shortened(message)))


def set_weight(status: Status, weight: float, step: float = 0.1) -> Status:
    """The candidate's share of the traffic, in percent, in whole steps and at least one; the rest goes to stable."""
    rollout, _ = _both(status)
    if status.stable is None:
        raise ValueError("a weight needs a stable revision that gets the rest")
    share = min(100.0, max(step, round(math.floor(weight / step + 1e-6) * step, 1)))
    traffic = [
        TrafficTarget(revision=status.stable.revision, role="stable", weight=round(100 - share, 1)),
        TrafficTarget(revision=rollout.revision, role="candidate", weight=share),
    ]
    return replace(status, traffic=traffic)


def promote(status: Status, reason: str, message: str, stable_rate: float, now: float) -> Status:
    """All traffic to the candidate; stable's pods stay warm."""
    status = _decided(status, "Promoted", reason, message, now)
    status = enter(status, "Promoting", reason, message, now)
    rollout, _ = _both(status)
    return set_weight(replace(status, rollout=replace(rollout, stableRate=stable_rate)), 100.0)


def soak(status: Status, duration: str, now: float) -> Status:
    """The routers have followed; the old version stays warm for `duration`."""
    return enter(status, "Soaking", "Soaking", f"The old version stays warm for {duration}.", now)


def settle(status: Status, now: float) -> Status:
    """The candidate becomes stable, and the old version's pods retire. Nothing is restarted."""
    rollout, candidate = _both(status)
    retiring = list(status.retiring)
    if status.stable:
        retiring.append(Retiring(revision=status.stable.revision, since=stamp(now)))
    message = f"{rollout.version} is stable."
    status = enter(status, "Stable", "Promoted", message, now)
    return replace(status, stable=candidate, candidate=None, traffic=[_all_to(rollout.revision)], retiring=retiring)


def roll_back(status: Status, reason: str, message: str, now: float) -> Status:
    """All traffic back to stable, at once; the candidate's pods retire after they have finished what they have."""
    status = _decided(status, "RolledBack", reason, message, now)
    status = enter(status, "RollingBack", reason, message, now)
    return _without_candidate(status, now)


def supersede(status: Status, by: str, now: float) -> Status:
    """The user asked for something else (`by`) before the rollout was decided."""
    status = _decided(status, "Superseded", "SpecChanged", f"The spec now asks for {by}.", now)
    return replace(_without_candidate(status, now), candidate=None, rollout=None)


def back_to_stable(status: Status) -> Status:
    """The spec asks for what is stable already: nothing is being rolled out."""
    return replace(status, rollout=None, candidate=None)


def none_later(status: Status, now: float) -> Status:
    """The status where no wait begins later than now, if the clock was set back or another node's is behind."""
    rollout = status.rollout
    if rollout:
        step = no_later(rollout.stepSince, now) if rollout.stepSince else None
        rollout = replace(rollout, since=no_later(rollout.since, now), stepSince=step)
    retiring = [replace(each, since=no_later(each.since, now)) for each in status.retiring]
    return replace(status, rollout=rollout, retiring=retiring)


def drained(status: Status, released: Collection[str], now: float) -> Status:
    """Forget the pods that no router needs, and close a rollback when its pods have had time to finish.

    The rollback waits for no report, for the user may want to go on: only the pods stay.
    """
    drains = {r.revision for r in status.retiring if seconds_since(r.since, now) < DRAIN_SECONDS}
    still = [r for r in status.retiring if r.revision in drains or r.revision not in released]
    may_go = [r.revision for r in still if r.onlyTried and r.revision not in drains]
    too_many = may_go[: max(0, len(still) - MOST_RETIRING)]
    still = [r for r in still if r.revision not in too_many]
    rollout = status.rollout
    if rollout and rollout.phase == "RollingBack" and rollout.revision not in drains:
        status = enter(status, "RolledBack", rollout.reason, rollout.message, now)
        status = replace(status, candidate=None)
    return status if len(still) == len(status.retiring) else replace(status, retiring=still)


def _without_candidate(status: Status, now: float) -> Status:
    rollout, _ = _both(status)
    traffic = [_all_to(status.stable.revision)] if status.stable else []
    others = [r for r in status.retiring if r.revision != rollout.revision]
    tried = not _had_all_traffic(status, rollout.revision)
    retiring = [*others, Retiring(revision=rollout.revision, since=stamp(now), onlyTried=tried)]
    return replace(status, traffic=traffic, retiring=retiring)


def _had_all_traffic(status: Status, revision: str) -> bool:
    """Now, or earlier: a version that was stable may have been asked for again."""
    return any(t.revision == revision and t.weight >= 100 for t in status.traffic) or any(
        h.revision == revision and h.decision in ("Live", "Promoted") for h in status.history
    )


def _all_to(revision: str) -> TrafficTarget:
    return TrafficTarget(revision=revision, role="stable", weight=100.0)


def _both(status: Status) -> tuple[Rollout, RevisionRef]:
    if status.rollout is None or status.candidate is None:
        raise ValueError("this step needs a running rollout")
    return status.rollout, status.candidate


def enter(status: Status, phase: Phase, reason: str, message: str, now: float) -> Status:
    """The rollout is in another phase from now on."""
    rollout, _ = _both(status)
    changed = replace(rollout, phase=phase, since=stamp(now), reason=reason, message=shortened(message))
    return replace(status, rollout=changed)


def _decided(status: Status, decision: DecisionKind, reason: str, message: str, now: float) -> Status:
    rollout, _ = _both(status)
    entry = HistoryEntry(
        time=stamp(now),
        version=rollout.version,
        revision=rollout.revision,
        decision=decision,
        reason=reason,
        message=shortened(message),
        candidateRequests=rollout.candidateRequests,
        seconds=seconds_since(rollout.exposedAt, now) if rollout.exposedAt else 0.0,
    )
    return replace(status, history=[entry, *status.history][:HISTORY_LENGTH])
