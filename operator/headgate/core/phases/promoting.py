"""Promoting: the candidate gets all the traffic. Leads to Soaking when the routers have followed."""

from typing import ClassVar

from headgate.api.status import Rollout, Status
from headgate.core import messages
from headgate.core.model import ConditionState, MetricsUnavailable, NewSamples, Observation, Reading
from headgate.core.phases import transitions
from headgate.core.phases.phase import Phase
from headgate.core.signals.errors import ERRORS
from headgate.core.statistics.rates import AttemptBlock
from headgate.core.times import seconds_since

FOLLOWED_WITHIN = 300.0
"""Seconds to wait for all routers. Stable's pods stay afterwards too, until each router has left them."""
_LONG = 60.0
"""Seconds after which it is said which routers still send requests to the old version."""


class Promoting(Phase):
    name: ClassVar = "Promoting"
    requeue_after: ClassVar = 1.0
    outcome: ClassVar = "promoted"
    judged: ClassVar = True
    stable_serves: ClassVar = False
    compares: ClassVar = True
    reads: ClassVar = Reading.COMPARISON

    def advance(self, o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
        """The routers have followed when stable gets nothing but what it rescues."""
        waited = seconds_since(rollout.since, now)
        if waited < FOLLOWED_WITHIN:
            if not isinstance(o.metrics, NewSamples) or waited < transitions.DRAIN_SECONDS / 2:
                return status
            attempts = ERRORS.block_in(o.metrics) or AttemptBlock()
            if attempts.stable_attempts > attempts.candidate_failures:
                return status
        return transitions.soak(status, o.spec.rollout.soak, now)

    def late(self, o: Observation, status: Status, rollout: Rollout, now: float) -> ConditionState | None:
        if seconds_since(rollout.since, now) <= _LONG:
            return None
        return "True", "RoutersBehind", _routers_behind(o, status)


def _routers_behind(o: Observation, status: Status) -> str:
    """With names where they are known now; without new metrics the message stays what it was."""
    if isinstance(o.metrics, NewSamples):
        return messages.routers_behind(status, o.metrics.behind)
    if isinstance(o.metrics, MetricsUnavailable):
        return messages.routers_unknown(status)
    before = next((c for c in o.status.conditions if (c.type, c.reason) == ("Stalled", "RoutersBehind")), None)
    return before.message if before else messages.routers_behind(status, ())
