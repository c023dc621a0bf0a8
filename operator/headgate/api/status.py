"""`ModelDeployment.status`: what Headgate writes, and all the state that it keeps between two reconciliations.

`core.decide` takes one and returns the next; `reconcile` writes it once. The routers follow `traffic`.
"""

from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from headgate.api.preflight import Report
from headgate.api.stored import CONFIG, Stored

Phase = Literal[
    "Pending", "Preflight", "Shadow", "Canary", "Promoting", "Soaking", "Stable", "RollingBack", "RolledBack"
]
Role = Literal["stable", "candidate"]
Verdict = Literal["Pass", "Fail", "Inconclusive"]
DecisionKind = Literal["Live", "Promoted", "RolledBack", "Superseded"]

KEPT_WHOLE = {"x-kubernetes-preserve-unknown-fields": True}
"""In a schema: a CRD of another release must not cut off what it does not know."""

PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Condition(Stored):
    """A Kubernetes condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    lastTransitionTime: str  # noqa: N815
    observedGeneration: int = 0  # noqa: N815


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class TrafficTarget(Stored):
    """One entry of what the routers follow."""

    revision: str
    role: Role
    weight: Annotated[float, Field(ge=0, le=100)]
    """Share of the traffic in percent, at most one decimal."""
    shadow: Annotated[float, Field(ge=0, le=100)] | None = None
    """Of a candidate without traffic: the percentage of stable's requests of which it gets copies."""
    sample: Annotated[float, Field(ge=0, le=100)] | None = None
    """Of a custom engine: the percentage of its answered requests of which its monitor gets copies."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RevisionRef(Stored):
    """A revision in a role, and how many of its pods are ready."""

    revision: str
    version: str
    uri: str = ""
    digest: str | None = None
    """SHA-256 of the artifact, as verified by the fetcher."""
    replicas: int = 0
    ready: int = 0


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class SignalEvidence(Stored):
    """What one signal (failed answers, slow ones, …) has shown. `headgate.core.signals` has a module for each."""

    name: str
    """The signal."""
    weight: float = 0.0
    """Share of alpha that the signal may use, fixed when the rollout begins; 0: it only has to pass."""
    verdict: Verdict = "Inconclusive"
    summary: str = ""
    """What was seen, for people."""
    counts: str = ""
    """The same for programs: `candidateAttempts=1200 candidateFailures=3 …`."""
    logHarm: float = 0.0  # noqa: N815
    """ln of the e-value against "not worse than the margin allows"."""
    logSafe: float = 0.0  # noqa: N815
    """ln of the e-value against "worse than the margin allows"."""
    state: str = ""
    """What the operator needs to go on, as JSON; empty until the comparison begins."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Evidence(Stored):
    """Everything that the rollout has learnt; written together with the cursor up to which it was learnt."""

    signals: list[SignalEvidence] = field(default_factory=list)
    """One entry for each signal that is compared."""
    logHarm: float = 0.0  # noqa: N815
    """ln of the combined e-value. The candidate goes when it reaches `threshold`."""
    threshold: float = 0.0
    """ln(1/alpha)."""

    def of(self, name: str) -> SignalEvidence | None:
        """A signal's entry."""
        return next((each for each in self.signals if each.name == name), None)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Budget(Stored):
    """The bad answers that the rollout may cost, and has cost."""

    total: float
    spent: float = 0.0


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Rollout(Stored):
    """The newest rollout, running or decided."""

    revision: str
    version: str
    phase: Phase
    startedAt: str  # noqa: N815
    """When the candidate was first seen."""
    since: str
    """When this phase began."""
    exposedAt: str | None = None  # noqa: N815
    """When the candidate got its first traffic."""
    reason: str = ""
    message: str = ""
    cursor: float | None = None
    """Time of the newest counted samples in seconds since the epoch, by Prometheus' clock."""
    countedFrom: float | None = None  # noqa: N815
    """The cursor when the candidate got its first traffic."""
    stableRate: float | None = None  # noqa: N815
    """Stable's failure rate while both were serving; Soaking compares with it."""
    step: int = 0
    """The step of an explicit ladder."""
    stepSince: str | None = None  # noqa: N815
    """When that step began."""
    candidateRequests: int = 0  # noqa: N815
    """Attempts that the candidate's pods have had."""
    preflight: Report | None = None
    """What was found before the version got any traffic."""
    evidence: Evidence = field(default_factory=Evidence)
    budget: Budget | None = None


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class HistoryEntry(Stored):
    """One decision."""

    time: str
    version: str
    revision: str
    decision: DecisionKind
    reason: str
    message: str = ""
    candidateRequests: int = 0  # noqa: N815
    seconds: float = 0.0
    """From the candidate's first traffic to the decision."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Retiring(Stored):
    """A revision that no router follows any more, and whose pods still finish what they have."""

    revision: str
    since: str
    onlyTried: bool = False  # noqa: N815
    """It never had all the traffic, as far as is known: where too many stay, such ones go first."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Status(Stored):
    """What Headgate observed and decided."""

    observedGeneration: int = 0  # noqa: N815
    phase: Phase = "Pending"
    conditions: list[Condition] = field(default_factory=list)
    stable: RevisionRef | None = None
    candidate: RevisionRef | None = None
    traffic: list[TrafficTarget] = field(default_factory=list)
    policy: Annotated[dict[str, Any] | None, Field(json_schema_extra=KEPT_WHOLE)] = None
    """What the routers do besides the weights: `spec.traffic`, and what of `spec.rollout` is theirs, in milliseconds
    and bytes."""
    rollout: Rollout | None = None
    history: list[HistoryEntry] = field(default_factory=list)
    """The last ten decisions, newest first."""
    retiring: list[Retiring] = field(default_factory=list)
    replicas: int = 0
    """Stable's pods; for the scale subresource."""
    selector: str = ""
    """Label selector of stable's pods; for the scale subresource."""
    candidateWeight: float | None = None  # noqa: N815
    """The candidate's share in percent, while there is one; for the printed columns."""

    @property
    def needed(self) -> frozenset[str]:
        """Revisions whose pods must exist."""
        refs = [r.revision for r in (self.stable, self.candidate) if r]
        return frozenset([*refs, *(t.revision for t in self.traffic), *(r.revision for r in self.retiring)])
