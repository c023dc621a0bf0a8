"""The sentences of decisions and conditions, with the figures that they rest on. Called by `phases` and `report`."""

import math
from collections.abc import Sequence

from headgate.api.spec import Spec
from headgate.api.status import Budget, Evidence, Rollout, Status
from headgate.core import preflight
from headgate.core.model import Foreign, Observation, Problem, Workload
from headgate.core.signals.evidence import compared
from headgate.core.signals.shadow import SHADOW

_LONGEST = 1000
"""Characters of a message in a status."""

_LISTED, _NAME_LENGTH = 20, 60
"""Features that a message names at most, and how much of a name."""

ROUTERS_LACK_SECRET = "RoutersLackSecret"
"""Reason of a rollout that waits for routers that can ask the new pods."""

_NAMED = 5
"""Pods and revisions that a message names at most."""


def _times(log_e: float) -> str:
    """ln of an e-value -> "300 times"."""
    return f"{math.exp(min(log_e, 690.0)):.3g} times"


def canary_undecided(o: Observation, leaning: Sequence[str]) -> str:
    """What can be done about a canary that finds no verdict; `leaning`: signals that keep it from being promoted."""
    advice = f"{_undecided(o)} send more traffic, widen spec.rollout.margins, or ask for the old version again."
    if o.spec.rollout.onDeadline != "Promote" or not leaning:
        return advice
    return f"{advice} It is not promoted by spec.rollout.onDeadline, for it may be worse by: {', '.join(leaning)}."


def unread(why: Sequence[str]) -> str:
    """What a rollout waits for that needs signals of the user's own."""
    return f"{'. '.join(why)}. The rollout does not go on before, and does not end by it."


def no_verdict_in_time(o: Observation, rollout: Rollout) -> str:
    """Why a candidate goes that was not shown to be worse."""
    return (
        f"There was no verdict about {rollout.version} within {o.spec.rollout.deadline}, and "
        "spec.rollout.onDeadline is RollBack."
    )


def promoted(o: Observation, status: Status, rollout: Rollout, by_time: bool, stable_is_broken: bool) -> str:
    """Why a candidate was promoted."""
    told = passed(o.spec, rollout.evidence)
    if by_time:
        return (
            f"There was no verdict within {o.spec.rollout.deadline}, no signal leans to harm, and "
            f"spec.rollout.onDeadline is Promote. {told}"
        )
    if stable_is_broken:
        return f"{told} Nothing but failures was compared, for {name_of_stable(status)} answers next to nothing."
    return told


def shadow_undecided(o: Observation) -> str:
    """What can be done about a shadow that finds no verdict."""
    return (
        f"{_undecided(o)} send more traffic, raise spec.rollout.shadow.fraction, lower its minAgreement, or set its "
        "enabled to false."
    )


def shadow_over(o: Observation, rollout: Rollout) -> str:
    """Why a canary begins though the copies have shown little."""
    state = SHADOW.state_in(rollout.evidence)
    pairs = state.pairs if state else 0
    return (
        f"There were {pairs} copies within {o.spec.rollout.shadow.maxDuration}, too few for a verdict; nothing spoke "
        "against the candidate. The canary begins."
    )


def _undecided(o: Observation) -> str:
    return f"There was too little evidence to decide within {o.spec.rollout.deadline}. The rollout goes on;"


def still_pending(o: Observation, status: Status, rollout: Rollout) -> str:
    """What a version waits for that should have been ready long ago."""
    if status.traffic and status.stable is None:
        return f"{rollout.version} is ready, and no router sends it requests: look at the pods of {o.name}-router."
    if o.workloads.get(rollout.revision, Workload()).rolled_out:
        return (
            f"{rollout.version} is ready for longer than {o.spec.rollout.deadline}, and there are no metrics to "
            "judge it by: it gets no traffic before there are."
        )
    return f"The pods of {rollout.version} were not ready within {o.spec.rollout.deadline}: kubectl describe them."


def routers_lack(rollout: Rollout, secret: str) -> str:
    """What a version waits for whose pods speak TLS."""
    return (
        f"{rollout.version} is ready, and gets no traffic before every router has the Secret {secret} to ask its pods "
        "with. A router that waits for it says so in the events of its pod: does the Secret exist, with tls.crt, "
        "tls.key and ca.crt?"
    )


def preflight_late(o: Observation, rollout: Rollout) -> str:
    """Why nobody knows yet what a preflight found."""
    why = o.preflight.message if isinstance(o.preflight, Problem) else "its pod does not start"
    return (
        f"The preflight of {rollout.version} has brought no report: {why} Look at the Job "
        f"{preflight.job_name(rollout)}, or set spec.rollout.preflight.enabled to false to go on without it."
    )


def still_soaking(o: Observation, rollout: Rollout) -> str:
    """A soak that can't end: without metrics nobody knows how the new version does."""
    return (
        f"{rollout.version} has all the traffic for longer than {o.spec.rollout.soak}, and there are no metrics to "
        "judge it by. The old version's pods stay until there are."
    )


def routers_behind(status: Status, routers: Sequence[str]) -> str:
    """Whom a promotion waits for."""
    pods = f"these pods still do: {', '.join(routers[:_NAMED])}" if routers else "it is not known which pods still do"
    return (
        f"All requests should go to the new version, and {name_of_stable(status)} still gets some; {pods}. Restart "
        "a router whose agent does not follow. The promotion goes on after five minutes; the old version's pods stay "
        "until every router has left them."
    )


def routers_unknown(status: Status) -> str:
    """A promotion that nobody can follow."""
    return (
        f"All requests should go to the new version; without metrics nobody knows whether {name_of_stable(status)} "
        "still gets some. The promotion goes on after five minutes; the old version's pods stay until every router has "
        "left them."
    )


def waiting_for_routers(revisions: Sequence[str]) -> str:
    """Why pods stay that nobody needs."""
    return (
        f"The pods of {', '.join(revisions[:_NAMED])} stay until every router pod has said, in headgate_router_routes, "
        "that it sends them nothing. Is Prometheus there, and does it scrape the routers' port agent-metrics?"
    )


def shortened(text: str) -> str:
    """As much of a text as a status has room for: what the API server or a container says may be long."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def went_on_without_counting(since: str, until: str) -> str:
    """Why evidence may be missing."""
    return (
        f"Went on without counting what happened from {since} to {until}: it was longer ago than is read, or more than "
        "can be read. The evidence from before and from now on counts."
    )


def some_of(names: Sequence[str]) -> str:
    """Names in a message: the first ones, shortened, and how many more there are."""
    named = [name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…" for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(named) + more


def features_left_out(count: int) -> str:
    """Why not every feature is looked at."""
    return f" TooManyBins: {count} features, the last ones by name, have no room and are not looked at."


def foreign_pods(foreign: Foreign) -> str:
    """Whose series were left out."""
    named = [pod for pod in foreign.pods if pod]
    who = f"pods that are not this model's: {', '.join(named)}" if named else "targets without the label pod"
    return (
        f"Series with this model's labels come from {who}. They were left out. See headgate_foreign_series_total, and "
        "MetricsUnavailable in docs/operations.md for what the scrape configuration has to set."
    )


def budget_spent(status: Status, budget: Budget) -> str:
    """Why an empty risk budget rolled back."""
    return (
        f"The candidate cost {budget.spent:g} more bad answers than {name_of_stable(status)} would have, of a "
        f"risk budget of {budget.total:g}. That is more than bad luck, though not shown to be more than the margin."
    )


def never_ready(o: Observation, rollout: Rollout, workload: Workload) -> str:
    """Why a candidate was given up before it had traffic."""
    why = workload.problem.message if workload.problem else "its pods did not become ready"
    return f"{rollout.version} was not ready within {o.spec.rollout.deadline}: {why}"


def passed(spec: Spec, evidence: Evidence) -> str:
    """Why a candidate was promoted."""
    return " ".join(signal.passed(state, spec) for signal, _, state in compared(spec, evidence))


def good_but_not_ready(workload: Workload) -> str:
    """What a canary waits for that is to be promoted."""
    ready = f"{workload.ready} of {workload.replicas} are ready"
    return f"It is promoted when its pods are ready: {ready}."


def name_of_stable(status: Status) -> str:
    """As messages call it."""
    return f"stable {status.stable.version}" if status.stable else "stable"


def strength(evidence: Evidence, spec: Spec) -> str:
    """How strong the evidence of a rollback is."""
    return (
        f"The evidence is {_times(evidence.logHarm)} what chance would give; {1 / spec.rollout.alpha:.3g} times "
        "were needed."
    )
