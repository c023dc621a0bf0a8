"""Preflight: the version is looked at, and nobody sends it requests. Leads to Shadow or Canary, or takes it back.

The first version of a model becomes Stable; one that fails stays in this phase until the spec asks for another one, or
asks for less.
"""

from dataclasses import replace
from typing import ClassVar

from headgate.api.preflight import Check, Report
from headgate.api.spec import Spec
from headgate.api.status import Rollout, Status
from headgate.core import messages, preflight
from headgate.core.model import BaselineRate, ConditionState, NewSamples, Observation, Problem, Reading
from headgate.core.phases import transitions
from headgate.core.phases.canary import open_canary
from headgate.core.phases.phase import DEADLINE, Phase, is_past_deadline
from headgate.core.signals.errors import ERRORS
from headgate.core.signals.evidence import opened
from headgate.core.signals.shadow import copied
from headgate.core.times import seconds_since

FAILED = "PreflightFailed"
_LONG = 60.0
"""Seconds after which it is said that there is no report yet, and why."""


class Preflight(Phase):
    name: ClassVar = "Preflight"
    requeue_after: ClassVar = 2.0
    outcome: ClassVar = "undecided"
    judged: ClassVar = True
    looks: ClassVar = True
    event: ClassVar = "PreflightStarted"

    def reading(self, spec: Spec, status: Status, rollout: Rollout, rolled_out: bool) -> Reading:
        return Reading.OPENING if rolled_out and status.stable else Reading.NOTHING

    def waits_for_metrics(self, status: Status) -> bool:
        return status.stable is not None

    def advance(self, o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
        report = rollout.preflight or (o.preflight if isinstance(o.preflight, Report) else None)
        if not preflight.is_wanted(o.spec):
            return let_in(o, status, rollout, now)
        if report is None:
            return status
        status = transitions.looked_at(status, report)
        failed = preflight.failed(o.spec, report)
        if not failed:
            return let_in(o, status, replace(rollout, preflight=report), now)
        if status.stable:
            return transitions.roll_back(status, FAILED, _told(rollout, failed), now)
        if rollout.reason == FAILED:
            return status
        return transitions.enter(status, "Preflight", FAILED, f"{_told(rollout, failed)} It gets no traffic.", now)

    def reason_to_give_up(self, o: Observation, rollout: Rollout, now: float) -> tuple[str, str] | None:
        if rollout.preflight or not is_past_deadline(o, rollout, now):
            return None
        return "PreflightUnknown", messages.preflight_late(o, rollout)

    def late(self, o: Observation, status: Status, rollout: Rollout, now: float) -> ConditionState | None:
        if rollout.preflight and (failed := preflight.failed(o.spec, rollout.preflight)):
            return "True", FAILED, f"{_told(rollout, failed)} It gets no traffic."
        if waits := late_routers(rollout, now):
            return waits
        if rollout.preflight and is_past_deadline(o, rollout, now):
            return "True", DEADLINE, messages.still_pending(o, status, rollout)
        if rollout.preflight is None and seconds_since(rollout.since, now) > _LONG:
            reason = o.preflight.reason if isinstance(o.preflight, Problem) else "PreflightUnknown"
            return "True", reason, messages.preflight_late(o, rollout)
        return None


def let_in(o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
    """The first traffic for a version that may have it: copies of requests, or a part of them; all, if it is the first
    version. None before every router can ask its pods."""
    lacking = _secret_that_routers_lack(o, rollout)
    if status.stable is None:
        # Routers get ready by the first version that they route to.
        if not (status.traffic and o.router.available):
            return transitions.route_first(status, now)
        return _wait_for_routers(status, rollout, lacking, now) if lacking else transitions.go_live(status, now)
    if lacking:
        return _wait_for_routers(status, rollout, lacking, now)
    if not isinstance(o.metrics, NewSamples) or o.metrics.reading is not Reading.OPENING:
        return status
    policy = o.spec.rollout.shadow
    before = o.metrics.baselines.get(ERRORS.name, BaselineRate())
    # Where there are no requests to copy nothing would come of it. One that is asked for waits for them.
    if not (policy.enabled and o.capabilities.shadow) or not (before.attempts or policy.minAgreement):
        without = replace(o, capabilities=replace(o.capabilities, shadow=False))
        return open_canary(without, status, rollout, now)
    evidence = opened(o.spec, Reading.PAIRS, o.metrics, rollout.evidence, o.capabilities)
    percent = copied(policy, before.attempts / before.seconds if before.seconds else 0.0)
    return transitions.open_shadow(status, percent, evidence, o.metrics.cursor, now)


def _secret_that_routers_lack(o: Observation, rollout: Rollout) -> str:
    """The Secret to ask the version's pods with, while there is a router that has not mounted it; else empty."""
    view = o.revisions.get(rollout.revision)
    tls = view.spec.runtime.tls if view else o.spec.runtime.tls
    routers = o.router
    if tls is None or (tls.routerSecret in routers.pod_secrets and routers.rolled_out and not routers.outdated):
        return ""
    return tls.routerSecret


def _wait_for_routers(status: Status, rollout: Rollout, secret: str, now: float) -> Status:
    if rollout.reason == messages.ROUTERS_LACK_SECRET:
        return status
    message = messages.routers_lack(rollout, secret)
    return transitions.enter(status, rollout.phase, messages.ROUTERS_LACK_SECRET, message, now)


def late_routers(rollout: Rollout, now: float) -> ConditionState | None:
    """What the condition Stalled says while routers can't ask the pods of a version that could begin."""
    if rollout.reason == messages.ROUTERS_LACK_SECRET and seconds_since(rollout.since, now) > _LONG:
        return "True", messages.ROUTERS_LACK_SECRET, rollout.message
    return None


def _told(rollout: Rollout, failed: list[Check]) -> str:
    return f"{rollout.version} failed its preflight: {preflight.told(failed)}."
