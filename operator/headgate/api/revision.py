"""`ModelRevision`: one (model, runtime) pair that was asked for, and every decision about it. The audit trail."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from headgate.api.pod_parts import Resources
from headgate.api.preflight import Report
from headgate.api.ruled import SpecModel
from headgate.api.spec import EngineName, Governance, Model, PodTemplate, PodTls, Words
from headgate.api.status import DecisionKind, Evidence
from headgate.api.stored import CONFIG, Stored

RevisionState = Literal["Candidate", "Stable", "Retired", "RolledBack"]


class FrozenRuntime(SpecModel):
    """The part of the runtime that makes a revision, with the image that was the default at the time."""

    engine: EngineName
    """The inference engine."""
    image: str
    """The runtime's image."""
    command: Words = []
    """What is started in it, where the engine is custom."""
    args: Words = []
    """With which arguments."""
    tools: str = ""
    """Headgate's image for the fetcher and the monitor, where the engine is custom."""
    resources: Resources = {}
    """Requests and limits of the runtime's container."""
    podTemplate: PodTemplate = PodTemplate()  # noqa: N815
    """Where and as whom the pods run."""
    tls: PodTls | None = None
    """The Secrets of pods and routers, where the pods speak TLS."""
    diskLimits: bool = False  # noqa: N815
    """Whether the pods have limits for what they keep on a node's disk. The pods of a revision that was made before
    there were such limits stay as they are."""


class RevisionSpec(SpecModel):
    """What was asked for. Immutable."""

    deployment: Annotated[str, Field(min_length=1, max_length=253)]
    """The ModelDeployment that asked."""
    model: Model
    """The model."""
    runtime: FrozenRuntime
    """What serves it."""
    governance: Governance = Governance()
    """Who answers for it."""
    parent: str | None = None
    """The revision that was stable when this one was asked for."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Baseline(Stored):
    """The stable version that this revision's pods can be compared with."""

    revision: str
    uri: str
    digest: str | None = None


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class DecisionRecord(Stored):
    """One decision, with all the evidence that it was taken on."""

    time: str
    decision: DecisionKind
    reason: str
    message: str = ""
    generation: int = 0
    """Generation of the ModelDeployment that was being rolled out."""
    candidateRequests: int = 0  # noqa: N815
    seconds: float = 0.0
    evidence: Evidence | None = None


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RevisionStatus(Stored):
    """Where the revision stands, and the record of decisions."""

    state: RevisionState = "Candidate"
    digest: str | None = None
    """SHA-256 of the artifact, as verified by the fetcher."""
    baseline: Baseline | None = None
    preflight: Report | None = None
    """What the newest preflight found."""
    decisions: list[DecisionRecord] = field(default_factory=list)
    """The last twenty, the newest last."""
    earlierDecisions: int = 0  # noqa: N815
    """How many there were before those."""

    @property
    def decided(self) -> int:
        """How often it was decided about the revision."""
        return self.earlierDecisions + len(self.decisions)

    @property
    def kept(self) -> "RevisionStatus":
        """The part that the pods depend on."""
        return RevisionStatus(baseline=self.baseline)
