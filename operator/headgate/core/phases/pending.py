"""Pending: the candidate's pods start. Leads to Shadow or Canary; the first version of a model becomes Stable."""

from typing import ClassVar

from headgate.api.quantities import routed_percent
from headgate.api.spec import Spec
from headgate.api.status import Rollout, Status
from headgate.core import messages
from headgate.core.model import ConditionState, NewSamples, Observation, Reading, Workload
from headgate.core.phases import transitions
from headgate.core.phases.canary import open_canary
from headgate.core.phases.phase import Phase, is_past_deadline
from headgate.core.signals.evidence import opened


class Pending(Phase):
    name: ClassVar = "Pending"
    requeue_after: ClassVar = 5.0
    outcome: ClassVar = "undecided"
    starts_pods: ClassVar = True
    event: ClassVar = "RolloutStarted"

    def reading(self, spec: Spec, status: Status, rollout: Rollout, rolled_out: bool) -> Reading:
        return Reading.OPENING if rolled_out and status.stable else Reading.NOTHING

    def waits_for_metrics(self, status: Status) -> bool:
        return status.stable is not None

    def advance(self, o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
        workload = o.workloads.get(rollout.revision, Workload())
        if not workload.rolled_out:
            return status
        if status.stable is None:
            # Routers get ready by the first version that they route to.
            followed = status.traffic and o.router.available
            return transitions.go_live(status, now) if followed else transitions.route_first(status, now)
        policy = o.spec.rollout.shadow if o.capabilities.shadow else None
        if not isinstance(o.metrics, NewSamples) or o.metrics.reading is not Reading.OPENING:
            return status
        if policy:
            evidence = opened(o.spec, Reading.PAIRS, o.metrics, rollout.evidence, o.capabilities)
            return transitions.open_shadow(status, routed_percent(policy.fraction), evidence, o.metrics.cursor, now)
        return open_canary(o, status, rollout, now)

    def reason_to_give_up(self, o: Observation, rollout: Rollout, now: float) -> tuple[str, str] | None:
        workload = o.workloads.get(rollout.revision, Workload())
        if workload.rolled_out or not is_past_deadline(o, rollout, now):
            return None
        return "NeverReady", messages.never_ready(o, rollout, workload)

    def late(self, o: Observation, status: Status, rollout: Rollout, now: float) -> ConditionState | None:
        if is_past_deadline(o, rollout, now):
            return "True", "DeadlineExceeded", messages.still_pending(o, status, rollout)
        return None
