"""What `decide` looks at and what it answers: everything gathered before, everything to do after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from headgate.api.revision import RevisionSpec, RevisionStatus
from headgate.api.spec import Spec
from headgate.api.status import Status
from headgate.core.evidence.drift import FeatureDrift
from headgate.core.evidence.errors import AttemptBlock
from headgate.core.evidence.predictions import PredictionBlock


@dataclass(frozen=True)
class Defaults:
    """What the operator's settings add to every resource."""

    serving_image: str
    envoy_image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets to pull these images with, in the namespaces of the ModelDeployments."""


@dataclass(frozen=True)
class Problem:
    """Why pods don't become ready, in the words of the container that ended."""

    reason: str
    message: str
    ends: int = 0
    """How often containers have ended for this reason: starts of one pod, and of several."""


@dataclass(frozen=True, order=True)
class Address:
    """Where a pod is."""

    pod: str
    ip: str


@dataclass(frozen=True)
class Workload:
    """A Deployment and its pods."""

    replicas: int = 0
    ready: int = 0
    rolled_out: bool = False
    """Whether every pod runs the newest template and is ready."""
    problem: Problem | None = None
    digest: str | None = None
    """What the fetcher verified."""
    addresses: tuple[Address, ...] = ()
    """Of the pods that are ready."""
    available: int = 0
    """Pods that have been ready for `minReadySeconds`: for a router, so long that the nodes send connections to it."""


@dataclass(frozen=True)
class RevisionView:
    """A ModelRevision as it stands in the cluster."""

    name: str
    spec: RevisionSpec
    status: RevisionStatus
    created: str = ""
    recorded: bool = True
    """False for one that is gone and has to be made again."""


@dataclass(frozen=True)
class Before:
    """Stable's bad answers of one kind in the time before the rollout. Without history there are none."""

    attempts: int = 0
    failures: int = 0
    dispersion: float = 1.0
    """How much they cluster: their variance over that of independent ones, at least 1."""
    seconds: float = 0.0
    """How much time that was."""


@dataclass(frozen=True)
class Slow:
    """Slow answers of both versions, where the spec asks for them to be compared."""

    edge: float
    """Milliseconds: the edge of the routers' histogram beyond which an answer is slow."""
    answers: AttemptBlock
    before: Before = Before()


@dataclass(frozen=True)
class Fresh:
    """New metrics: what happened between the old cursor and `cursor`."""

    cursor: float
    attempts: AttemptBlock = field(default_factory=AttemptBlock)
    predictions: tuple[PredictionBlock, ...] = ()
    predictions_expected: bool = False
    """Whether stable counts its predictions, so that the candidate must be compared with it."""
    before: Before = Before()
    """What is known of stable's failures when the canary may open."""
    slow: Slow | None = None
    """None: not asked for, or no answer was timed yet."""
    interval: float = 1.0
    """Seconds between two scrapes."""
    behind: tuple[str, ...] = ()
    """Routers that have sent stable more than what the candidate had failed."""


@dataclass(frozen=True)
class PairBlock:
    """Requests that both versions were asked: all, those answered alike, those that the candidate did not answer."""

    pairs: int = 0
    agreed: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Paired:
    """New pairs of a shadow: what happened between the old cursor and `cursor`."""

    cursor: float
    block: PairBlock = PairBlock()


@dataclass(frozen=True)
class Quiet:
    """The metrics are well, and hold nothing new yet."""


@dataclass(frozen=True)
class Blind:
    """The metrics are missing: hold, whatever the phase."""

    message: str


Metrics = Fresh | Paired | Quiet | Blind


@dataclass(frozen=True)
class Drift:
    """The newest comparison of live inputs with the profile; empty where there is nothing to compare."""

    features: tuple[FeatureDrift, ...] = ()


@dataclass(frozen=True)
class Observation:
    """One ModelDeployment and all that belongs to it."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: Spec
    status: Status
    defaults: Defaults
    revisions: Mapping[str, RevisionView] = field(default_factory=dict)
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    """The serving Deployments by revision."""
    router: Workload = Workload()
    metrics: Metrics = Quiet()
    drift: Drift | None = None
    """None: not looked at this time."""
    refused: Problem | None = None
    """What the API server has said for some time to a child that it does not take."""
    released: frozenset[str] = frozenset()
    """Retiring revisions that no router sends requests to any more."""


@dataclass(frozen=True)
class Event:
    """A Kubernetes event to post."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: status (which moves the traffic), revisions, children, events."""

    status: Status
    revisions: Mapping[str, RevisionView]
    """ModelRevisions as they should be; those that `Observation.revisions` lacks are new."""
    keep: frozenset[str] = frozenset()
    """Revisions whose pods must exist; every other revision's pods go."""
    forget: tuple[str, ...] = ()
    """ModelRevisions beyond the history's limit."""
    events: tuple[Event, ...] = ()
    look_again_after: float | None = None
    """Seconds."""
