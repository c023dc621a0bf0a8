"""Shadow: the candidate gets copies of requests, whose answers nobody gets. Leads to Canary when enough agree."""

from typing import ClassVar

from headgate.api.quantities import routed_percent, seconds
from headgate.api.spec import Spec
from headgate.api.status import Rollout, Status
from headgate.core import messages
from headgate.core.model import ConditionState, MetricsUnavailable, Observation, Reading
from headgate.core.phases import transitions
from headgate.core.phases.canary import open_canary
from headgate.core.phases.phase import DEADLINE, Phase, is_past_deadline
from headgate.core.signals.shadow import SHADOW
from headgate.core.times import seconds_since


class Shadow(Phase):
    name: ClassVar = "Shadow"
    requeue_after: ClassVar = 1.0
    outcome: ClassVar = "undecided"
    judged: ClassVar = True
    compares: ClassVar = True
    reads: ClassVar = Reading.PAIRS
    event: ClassVar = "ShadowStarted"

    def reading(self, spec: Spec, status: Status, rollout: Rollout, rolled_out: bool) -> Reading:
        return Reading.OPENING if _is_over(spec, rollout) else self.reads

    def advance(self, o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
        policy = o.spec.rollout.shadow
        if _is_over(o.spec, rollout):
            return open_canary(o, status, rollout, now)
        if isinstance(o.metrics, MetricsUnavailable):
            return status
        if not policy.minAgreement and seconds_since(rollout.since, now) > seconds(policy.maxDuration):
            return transitions.end_shadow(status, messages.shadow_over(o, rollout), now)
        if policy.fraction is None:
            return status
        return transitions.set_shadow(status, routed_percent(policy.fraction))

    def reason_to_give_up(self, o: Observation, rollout: Rollout, now: float) -> tuple[str, str] | None:
        return self.has_no_verdict_in_time(o, rollout, now)

    def late(self, o: Observation, status: Status, rollout: Rollout, now: float) -> ConditionState | None:
        if is_past_deadline(o, rollout, now):
            return "True", DEADLINE, messages.shadow_undecided(o)
        return None


def _is_over(spec: Spec, rollout: Rollout) -> bool:
    """Whether the candidate has passed, its time is over, or nobody asks for its shadow any more."""
    state = SHADOW.state_in(rollout.evidence)
    over = not spec.rollout.shadow.enabled or rollout.reason == transitions.SHADOW_OVER
    return over or (state is not None and SHADOW.is_enough(state, spec))
