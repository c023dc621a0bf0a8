"""decide(observation, now) -> plan: every decision of Headgate, in one place and without side effects.

Called by `reconcile`. New metrics are folded into the evidence first, then `CHAIN` decides, and last the pods go that
no router needs any more. `report` then turns the outcome into conditions and events, and `samples` completes the
traffic. The routers' policy stands beside it, so that both change in one update.
"""

from collections.abc import Callable
from dataclasses import replace

from headgate.api.status import Status
from headgate.core import commands, phases, report, revisions, samples
from headgate.core.dataplane.policy import resolved
from headgate.core.model import Observation, Plan
from headgate.core.phases import transitions

Link = Callable[[Observation, Status, float], Status | None]
"""One reason to decide something: the next status; None: there is no such reason."""

CHAIN: tuple[Link, ...] = (
    phases.roll_back_for_harm,  # nothing may delay it
    commands.obey,  # what people and policies ask for
    phases.give_up,  # a candidate that does not become ready
    phases.advance,  # what the rollout's phase waits for
)
"""In the order of importance: the first link that answers has decided, and the others wait for the next time."""


def decide(o: Observation, now: float) -> Plan:
    """What to do about `o` at `now` (seconds since the epoch)."""
    desired = revisions.revision_name(o.name, o.spec)
    o = replace(o, status=transitions.none_later(o.status, now))
    status = _decided(o, phases.with_new_evidence(o, o.status), now)
    status = transitions.drained(status, o.released, now)
    status = report.with_observations(o, status, now)
    records = revisions.after(o, status, desired)
    status = samples.with_samples(status, records, o.spec.monitoring.sample)
    status = replace(status, policy=resolved(o.name, o.spec).manifest())
    replicas = None if o.spec.runtime.autoscaling else o.spec.runtime.replicas
    keep = status.needed
    return Plan(
        status=status,
        revisions=records,
        replicas=dict.fromkeys(sorted(keep), replicas),
        forget=revisions.forgettable(o, keep | {desired}),
        events=(*report.events(o.status, status), *report.gaps(o)),
        requeue_after=phases.requeue_after(o, status),
    )


def _decided(o: Observation, status: Status, now: float) -> Status:
    answers = (link(o, status, now) for link in CHAIN)
    return next((answer for answer in answers if answer is not None), status)
