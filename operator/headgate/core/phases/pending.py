"""Pending: the candidate's pods start. Leads to Preflight, or, where there is none, to where that leads."""

from typing import ClassVar

from headgate.api.spec import Spec
from headgate.api.status import Rollout, Status
from headgate.core import messages, preflight
from headgate.core.model import ConditionState, Observation, Reading, Workload
from headgate.core.phases import transitions
from headgate.core.phases.phase import DEADLINE, Phase, is_past_deadline
from headgate.core.phases.preflight import late_routers, let_in


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
        if preflight.is_wanted(o.spec) and rollout.preflight is None:
            return transitions.look_first(status, now)
        return let_in(o, status, rollout, now)

    def reason_to_give_up(self, o: Observation, rollout: Rollout, now: float) -> tuple[str, str] | None:
        workload = o.workloads.get(rollout.revision, Workload())
        if workload.rolled_out or not is_past_deadline(o, rollout, now):
            return None
        return "NeverReady", messages.never_ready(o, rollout, workload)

    def late(self, o: Observation, status: Status, rollout: Rollout, now: float) -> ConditionState | None:
        if waits := late_routers(rollout, now):
            return waits
        if is_past_deadline(o, rollout, now):
            return "True", DEADLINE, messages.still_pending(o, status, rollout)
        return None
