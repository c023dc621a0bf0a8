"""Soaking: the candidate has all the traffic, and the old version's pods stay warm. Leads to Stable with time."""

from typing import ClassVar

from headgate.api.quantities import seconds
from headgate.api.status import Rollout, Status
from headgate.core import messages
from headgate.core.model import ConditionState, MetricsUnavailable, Observation, Reading
from headgate.core.phases import transitions
from headgate.core.phases.phase import DEADLINE, Phase
from headgate.core.times import seconds_since


class Soaking(Phase):
    name: ClassVar = "Soaking"
    requeue_after: ClassVar = 2.0
    outcome: ClassVar = "promoted"
    judged: ClassVar = True
    stable_serves: ClassVar = False
    compares: ClassVar = True
    reads: ClassVar = Reading.COMPARISON
    needs_signals: ClassVar = True
    event: ClassVar = "Soaking"

    def advance(self, o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
        soaked = seconds_since(rollout.since, now) >= seconds(o.spec.rollout.soak)
        unseen = isinstance(o.metrics, MetricsUnavailable) or self.waits_for_signals(o.spec, rollout)
        if unseen or not soaked:
            return status
        return transitions.settle(status, now)

    def late(self, o: Observation, status: Status, rollout: Rollout, now: float) -> ConditionState | None:
        longest = seconds(o.spec.rollout.soak) + seconds(o.spec.rollout.deadline)
        if seconds_since(rollout.since, now) > longest:
            why = self.waits_for_signals(o.spec, rollout)
            return "True", DEADLINE, messages.unread(why) if why else messages.still_soaking(o, rollout)
        return None
