"""What a phase of a rollout is: what it needs to see, whether the candidate is exposed or judged, where it leads."""

from abc import ABC
from typing import ClassVar, Literal

from headgate.api.quantities import seconds
from headgate.api.spec import Spec
from headgate.api.status import Phase as PhaseName
from headgate.api.status import Rollout, Status
from headgate.core import messages
from headgate.core.model import ConditionState, Observation, Reading
from headgate.core.signals import rate
from headgate.core.signals.errors import ERRORS
from headgate.core.signals.evidence import unread
from headgate.core.times import seconds_since

DEADLINE = "DeadlineExceeded"
"""Reason of what is said or done when a rollout takes longer than the spec allows."""

IDLE_SECONDS = 30.0
"""Until the next reconciliation when nothing is going on."""


class Phase(ABC):
    """One phase. All that differs between phases is here; the functions of `core.phases` loop over them."""

    name: ClassVar[PhaseName]
    requeue_after: ClassVar[float] = IDLE_SECONDS
    """Seconds until the next reconciliation, if no event comes before."""
    outcome: ClassVar[Literal["undecided", "promoted", "failed", "none"]] = "none"
    """Undecided: a new spec supersedes the rollout. Promoted: the candidate has all the traffic. Failed: it was rolled
    back. None: there is no rollout any more."""
    running: ClassVar[bool] = True
    """Whether something is still going to happen by itself."""
    judged: ClassVar[bool] = False
    """Whether evidence and crashes roll back."""
    stable_serves: ClassVar[bool] = True
    """Whether stable gets requests too. Where it doesn't, the candidate is judged against what stable was."""
    budgeted: ClassVar[bool] = False
    """Whether the risk budget rolls back."""
    compares: ClassVar[bool] = False
    """Whether it goes on with the metrics only."""
    reads: ClassVar[Reading] = Reading.NOTHING
    """What it needs to see of the metrics, where that is always the same."""
    needs_signals: ClassVar[bool] = False
    """Whether it waits while a user's signal can't be read."""
    starts_pods: ClassVar[bool] = False
    """Whether the candidate's pods begin in it: what they start with may still change."""
    looks: ClassVar[bool] = False
    """Whether it waits for the report of a preflight."""
    event: ClassVar[str] = ""
    """Reason of the event when a rollout enters it; empty where the decision has an event of its own."""

    def reading(self, spec: Spec, status: Status, rollout: Rollout, rolled_out: bool) -> Reading:
        """What to read. `rolled_out`: whether the candidate's pods are ready."""
        return self.reads

    def waits_for_metrics(self, status: Status) -> bool:
        """Whether it can't go on without them."""
        return self.compares

    def waits_for_signals(self, spec: Spec, rollout: Rollout) -> list[str]:
        """Why it can't go on without them, in words."""
        errors = ERRORS.state_in(rollout.evidence)
        alone = not self.stable_serves or (errors is not None and rate.answers_nothing(errors))
        return unread(spec, rollout.evidence, alone) if self.needs_signals else []

    def advance(self, o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
        """One step further, if what the phase waits for is there."""
        return status

    def reason_to_give_up(self, o: Observation, rollout: Rollout, now: float) -> tuple[str, str] | None:
        """Reason and message, if the candidate is rolled back because it has not got further in time."""
        return None

    def has_no_verdict_in_time(self, o: Observation, rollout: Rollout, now: float) -> tuple[str, str] | None:
        """A reason to give up for phases in which the candidate is judged."""
        if o.spec.rollout.onDeadline != "RollBack" or not is_past_deadline(o, rollout, now):
            return None
        return DEADLINE, messages.no_verdict_in_time(o, rollout)

    def late(self, o: Observation, status: Status, rollout: Rollout, now: float) -> ConditionState | None:
        """What the condition Stalled says of a phase that lasts longer than it should."""
        return None


def is_past_deadline(o: Observation, rollout: Rollout, now: float) -> bool:
    """Whether the rollout runs for longer than the spec allows for its beginning."""
    return seconds_since(rollout.startedAt, now) > seconds(o.spec.rollout.deadline)
