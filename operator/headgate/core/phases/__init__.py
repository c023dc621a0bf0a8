"""The phases of a rollout, and what is asked of all of them. Called by `decide`, `observe` and `report`.

    Pending --ready--> Preflight --> Canary --evidence passed--> Promoting --routers followed--> Soaking --> Stable
       |                   |           |                             |                              |
       +--deadline---------+-----------+------evidence failed--------+------------------------------+--> RollingBack
                                                                                                    --> RolledBack

Where the spec asks for it, Shadow comes between Preflight and Canary: copies of requests, whose answers nobody gets. It
ends when enough pairs agree, or as a canary does. The first version of a model goes from Preflight to Stable,
when a router sends it requests.

To add a phase: a module here, a line in `PHASES`, its name in `api.status.Phase`, and the step that leads into it.
"""

from collections.abc import Callable
from dataclasses import replace

from headgate.api.spec import Spec
from headgate.api.status import Budget, Rollout, Status
from headgate.api.status import Phase as PhaseName
from headgate.core import judge, messages
from headgate.core.children import is_own_fault
from headgate.core.model import NewSamples, Observation, Reading, Workload
from headgate.core.phases import transitions
from headgate.core.phases.canary import Canary
from headgate.core.phases.ended import RolledBack, RollingBack, Stable
from headgate.core.phases.pending import Pending
from headgate.core.phases.phase import IDLE_SECONDS, Phase
from headgate.core.phases.preflight import Preflight
from headgate.core.phases.promoting import Promoting
from headgate.core.phases.shadow import Shadow
from headgate.core.phases.soaking import Soaking
from headgate.core.signals import rate
from headgate.core.signals.errors import ERRORS
from headgate.core.signals.evidence import carrier, compared, opened, updated
from headgate.core.signals.rate import RateState
from headgate.core.times import stamp

READ_ON_SECONDS = 0.1
"""Seconds to the next reconciliation where there is more to read: what the rest says may have to end the rollout."""

PHASES: dict[str, Phase] = {
    phase.name: phase
    for phase in (
        Pending(),
        Preflight(),
        Shadow(),
        Canary(),
        Promoting(),
        Soaking(),
        Stable(),
        RollingBack(),
        RolledBack(),
    )
}


def phase_of(rollout: Rollout) -> Phase:
    """The phase of a rollout."""
    return PHASES[rollout.phase]


def phase_name(status: Status) -> PhaseName:
    """The phase of the newest rollout; without one, whether there is a stable version yet."""
    if status.rollout:
        return status.rollout.phase
    return Stable.name if status.stable else Pending.name


def needed_reading(spec: Spec, status: Status, workload: Workload) -> Reading:
    """What has to be read from the metrics; `workload` is the candidate's."""
    rollout = status.rollout
    if rollout is None or status.stable is None:
        return Reading.NOTHING
    return phase_of(rollout).reading(spec, status, rollout, workload.rolled_out)


def is_looked_at(status: Status) -> bool:
    """Whether the version that is rolled out is being looked at."""
    return status.rollout is not None and phase_of(status.rollout).looks


def with_new_evidence(o: Observation, status: Status) -> Status:
    """The status with the blocks of `o.metrics` folded into the evidence, and the cursor moved past them."""
    rollout, samples = status.rollout, o.metrics
    if rollout is None or not isinstance(samples, NewSamples):
        return status
    phase = phase_of(rollout)
    if samples.reading not in (Reading.COMPARISON, Reading.PAIRS) or not phase.judged:
        return status
    before = rollout.evidence
    if not any(entry.state for entry in before.signals):  # of another version of Headgate: it begins here
        before = opened(o.spec, samples.reading, samples, before, o.capabilities)
    took = max(0.0, samples.cursor - (samples.cursor if rollout.cursor is None else rollout.cursor))
    evidence = updated(o.spec, before, samples, took, None if phase.stable_serves else rollout.stableRate or 0.0)
    rollout = replace(rollout, evidence=evidence, cursor=samples.cursor)
    if errors := ERRORS.state_in(evidence):
        requests = max(rollout.candidateRequests, errors.candidateAttempts)
        rollout = replace(rollout, candidateRequests=requests, budget=_spent(rollout.budget, errors))
    return replace(status, rollout=rollout)


def _spent(budget: Budget | None, errors: RateState) -> Budget | None:
    """What the rollout has cost. Evidence that began anew knows less than that."""
    if budget is None:
        return None
    fresh = errors.candidateAttempts == 0
    return budget if fresh else replace(budget, spent=rate.cost(errors))


def roll_back_for_harm(o: Observation, status: Status, now: float) -> Status | None:
    """Rolled back, if the candidate that answers requests, or copies of them, has to go now.

    Depends on nothing that could delay it.
    """
    rollout = status.rollout
    if rollout is None or status.stable is None or not phase_of(rollout).judged:
        return None
    for harm in HARMS:
        if reason := harm(o, status, rollout):
            return transitions.roll_back(status, *reason, now)
    return None


def _harmful(o: Observation, status: Status, rollout: Rollout) -> tuple[str, str] | None:
    evidence = rollout.evidence
    if not evidence.signals or not judge.harmful(evidence.logHarm, o.spec.rollout.alpha):
        return None
    signal = carrier(o.spec, evidence)
    state = signal.state_in(evidence)
    return signal.harm(state, o.spec, messages.name_of_stable(status), messages.strength(evidence, o.spec))


def _beyond_bounds(o: Observation, status: Status, rollout: Rollout) -> tuple[str, str] | None:
    for signal, _, state in compared(o.spec, rollout.evidence):
        if signal.is_harm(state):
            return signal.harm(state, o.spec, messages.name_of_stable(status), "")
    return None


def _over_budget(o: Observation, status: Status, rollout: Rollout) -> tuple[str, str] | None:
    budget, errors = rollout.budget, ERRORS.state_in(rollout.evidence)
    if not phase_of(rollout).budgeted or budget is None or errors is None:
        return None
    fine = judge.passed([errors.logSafe])
    if judge.budget_spent(budget.spent, budget.total, errors.logWorse, fine, o.spec.rollout.alpha):
        return "RiskBudgetSpent", messages.budget_spent(status, budget)
    return None


def _crashing(o: Observation, status: Status, rollout: Rollout) -> tuple[str, str] | None:
    workload = o.workloads.get(rollout.revision)
    if workload and workload.ready == 0 and workload.problem and is_own_fault(workload.problem):
        return "CandidateCrashing", f"No pod of {rollout.version} is left: {workload.problem.message}"
    return None


HARMS: tuple[Callable[[Observation, Status, Rollout], tuple[str, str] | None], ...] = (
    _harmful,
    _beyond_bounds,
    _over_budget,
    _crashing,
)
"""Why a candidate has to go: each gives reason and message, or None."""


def give_up(o: Observation, status: Status, now: float) -> Status | None:
    """Rolled back, if the phase has waited too long for the candidate."""
    rollout = status.rollout
    if rollout is None or status.stable is None:
        return None
    reason = phase_of(rollout).reason_to_give_up(o, rollout, now)
    return transitions.roll_back(status, *reason, now) if reason else None


def advance(o: Observation, status: Status, now: float) -> Status:
    """One step further, if what the phase waits for is there, and by all that there is to know."""
    rollout = status.rollout
    if rollout is None:
        return status
    if isinstance(o.metrics, NewSamples) and not o.metrics.caught_up:
        return _not_yet(status, rollout, o.metrics, now)
    return phase_of(rollout).advance(o, status, rollout, now)


def _not_yet(status: Status, rollout: Rollout, samples: NewSamples, now: float) -> Status:
    """What was passed over is no time in which a promoted version has shown anything: that begins anew."""
    if samples.uncounted_since is None or phase_of(rollout).outcome != "promoted":
        return status
    return replace(status, rollout=replace(rollout, since=stamp(now)))


def requeue_after(o: Observation, status: Status) -> float:
    """Seconds until the next reconciliation, if no event comes before."""
    if isinstance(o.metrics, NewSamples) and not o.metrics.caught_up:
        return READ_ON_SECONDS
    soonest = 2.0 if status.retiring else IDLE_SECONDS
    return min(soonest, PHASES[status.phase].requeue_after)
