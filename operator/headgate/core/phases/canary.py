"""Canary: the candidate gets as much traffic as the risk budget allows. Leads to Promoting when every signal passes."""

from dataclasses import replace
from typing import ClassVar

from headgate.api.quantities import seconds
from headgate.api.spec import Spec
from headgate.api.status import Rollout, Status
from headgate.core import exposure, judge, messages
from headgate.core.model import ConditionState, NewSamples, Observation, Reading, Workload
from headgate.core.phases import transitions
from headgate.core.phases.phase import DEADLINE, Phase, is_past_deadline
from headgate.core.signals import rate
from headgate.core.signals.errors import ERRORS
from headgate.core.signals.evidence import compared, opened
from headgate.core.signals.rate import RateState
from headgate.core.statistics.rates import AttemptBlock
from headgate.core.times import seconds_since, stamp


class Canary(Phase):
    name: ClassVar = "Canary"
    requeue_after: ClassVar = 1.0
    outcome: ClassVar = "undecided"
    judged: ClassVar = True
    budgeted: ClassVar = True
    compares: ClassVar = True
    reads: ClassVar = Reading.COMPARISON
    needs_signals: ClassVar = True
    event: ClassVar = "CanaryStarted"

    def advance(self, o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
        workload = o.workloads.get(rollout.revision, Workload())
        if not isinstance(o.metrics, NewSamples) or not workload.ready:
            return status
        held = bool(self.waits_for_signals(o.spec, rollout))
        climbed = not o.spec.rollout.steps
        attempts = ERRORS.block_in(o.metrics) or AttemptBlock()
        if climbed and attempts.candidate_attempts + attempts.stable_attempts:
            status = _ramp(o, status, rollout, o.metrics, may_grow=not held)
        elif not climbed and not held:
            status, climbed = _climb(o, status, rollout, now)
        reason = "" if held else _reason_to_promote(o, rollout, climbed, now)
        if not reason:
            return status
        if not (workload.rolled_out or o.spec.runtime.autoscaling):
            return transitions.say(status, messages.good_but_not_ready(workload))
        errors = _errors(rollout)
        upper = exposure.upper_rate(errors.stableFailures, errors.stableAttempts, o.spec.rollout.alpha)
        message = messages.promoted(o, status, rollout, reason == DEADLINE, rate.answers_nothing(errors))
        return transitions.promote(status, reason, message, round(float(upper), 6), now)

    def reason_to_give_up(self, o: Observation, rollout: Rollout, now: float) -> tuple[str, str] | None:
        return self.has_no_verdict_in_time(o, rollout, now)

    def late(self, o: Observation, status: Status, rollout: Rollout, now: float) -> ConditionState | None:
        if is_past_deadline(o, rollout, now):
            if why := self.waits_for_signals(o.spec, rollout):
                return "True", DEADLINE, messages.unread(why)
            return "True", DEADLINE, messages.canary_undecided(o, _leaning(o.spec, rollout))
        return None


def open_canary(o: Observation, status: Status, rollout: Rollout, now: float) -> Status:
    """The first traffic for a candidate that is ready, as soon as the metrics are there."""
    if not isinstance(o.metrics, NewSamples) or o.metrics.reading is not Reading.OPENING:
        return status
    if not o.workloads.get(rollout.revision, Workload()).ready:
        return status
    evidence = opened(o.spec, Reading.COMPARISON, o.metrics, rollout.evidence, o.capabilities)
    weight, step = _first_weight(o.spec, o.metrics), o.capabilities.weight_step
    return transitions.open_canary(status, weight, evidence, o.metrics.cursor, now, step)


def _errors(rollout: Rollout) -> RateState:
    return ERRORS.state_in(rollout.evidence) or RateState()


def _passed(spec: Spec, rollout: Rollout) -> bool:
    """Whether every signal that is compared has shown that the candidate is not worse by its margin.

    Where stable answers nothing only the failures can be compared, and users wait for a version that does.
    """
    broken = rate.answers_nothing(_errors(rollout))
    due = [
        entry.logSafe
        for signal, entry, state in compared(spec, rollout.evidence)
        if signal.reading is Reading.COMPARISON
        and signal.is_due(state, spec)
        and (signal is ERRORS or not (broken and signal.about_stable))
    ]
    return bool(due) and bool(judge.passed(due))


def _reason_to_promote(o: Observation, rollout: Rollout, climbed: bool, now: float) -> str:
    """Empty while there is none."""
    if climbed and _passed(o.spec, rollout):
        return "EvidencePassed"
    by_time = o.spec.rollout.onDeadline == "Promote" and is_past_deadline(o, rollout, now)
    return DEADLINE if by_time and _errors(rollout).candidateAttempts and not _leaning(o.spec, rollout) else ""


def _leaning(spec: Spec, rollout: Rollout) -> list[str]:
    """Signals whose evidence speaks more for harm than against it."""
    judged = (each for each in compared(spec, rollout.evidence) if each[0].reading is Reading.COMPARISON)
    return [signal.name for signal, entry, _ in judged if entry.logHarm > 0 and not signal.advisory]


def _first_weight(spec: Spec, samples: NewSamples) -> float:
    policy = spec.rollout
    if policy.steps:
        return policy.steps[0].weight
    baseline = samples.baselines.get(ERRORS.name)
    requests = baseline.attempts / baseline.seconds * _interval(samples) if baseline and baseline.seconds else 0.0
    return float(exposure.first_weight(requests, policy.riskBudget, policy.maxWeight))


def _interval(samples: NewSamples) -> float:
    """Seconds until one knows what a weight did."""
    return max(samples.interval, Canary.requeue_after)


def _ramp(o: Observation, status: Status, rollout: Rollout, samples: NewSamples, may_grow: bool) -> Status:
    """The weight that the risk budget allows, at the traffic that there has been since the canary opened.

    A single block does not show the traffic: its end is where the slowest target was scraped. What waits to be
    compared doesn't move the weight: see `statistics.waiting`.
    """
    budget = rollout.budget
    if budget is None or rollout.countedFrom is None or samples.cursor <= rollout.countedFrom:
        return status
    errors = _errors(rollout)
    requests_per_second = (errors.candidateAttempts + errors.stableAttempts) / (samples.cursor - rollout.countedFrom)
    policy, settled = o.spec.rollout, rate.settled(errors)
    upper = exposure.upper_rate(settled.candidateFailures, settled.candidateAttempts, policy.alpha)
    left = budget.total - rate.cost(settled)
    requests = requests_per_second * _interval(samples)
    current = status.traffic[-1].weight
    allowed = exposure.next_weight(current, upper, rate.stable_rate(settled), left, requests, policy.maxWeight)
    weight = float(allowed) if may_grow else min(float(allowed), current)
    return transitions.set_weight(status, weight, o.capabilities.weight_step)


def _climb(o: Observation, status: Status, rollout: Rollout, now: float) -> tuple[Status, bool]:
    """One step up the explicit ladder when its time has come; and whether the last step has been held."""
    steps = o.spec.rollout.steps
    step = min(rollout.step, len(steps) - 1)
    if rollout.stepSince and seconds_since(rollout.stepSince, now) < seconds(steps[step].hold):
        return status, False
    if step + 1 == len(steps):
        return status, True
    moved = replace(rollout, step=step + 1, stepSince=stamp(now))
    weight = steps[step + 1].weight
    return transitions.set_weight(replace(status, rollout=moved), weight, o.capabilities.weight_step), False
