"""Holding: the candidate is left alone for a few seconds before its first traffic. Leads to Canary."""

from typing import ClassVar

from headgate.api.spec import Spec
from headgate.api.status import Rollout, Status
from headgate.core.model import Observation, Reading
from headgate.core.phases.canary import open_canary
from headgate.core.phases.phase import Phase
from headgate.core.times import seconds_since


class Holding(Phase):
    name: ClassVar = "Holding"
    requeue_after: ClassVar = 1.0
    outcome: ClassVar = "undecided"
    compares: ClassVar = True
    event: ClassVar = "HoldingStarted"

    def reading(self, spec: Spec, status: Status, rollout: Rollout, rolled_out: bool) -> Reading:
        return Reading.OPENING

    def advance(self, o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
        return open_canary(o, status, rollout, now) if seconds_since(rollout.since, now) >= 5 else status
