"""What `decide` takes and what it returns: everything gathered before, everything to do after."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Literal

from headgate.api.pod_tls import identity_of
from headgate.api.preflight import Report
from headgate.api.revision import RevisionSpec, RevisionStatus
from headgate.api.spec import Spec
from headgate.api.status import Status
from headgate.core.statistics.drift import FeatureDrift


@dataclass(frozen=True)
class NetworkAccess:
    """Whom the NetworkPolicies of routers and pods let in besides those who send requests."""

    scrapers: tuple[Mapping[str, Any], ...] = ()
    """Who reads metrics, each as a NetworkPolicyPeer; without any everybody may."""


@dataclass(frozen=True)
class Defaults:
    """What the operator's settings add to every resource."""

    serving_image: str
    envoy_image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets to pull these images with, in the namespaces of the ModelDeployments."""
    network: NetworkAccess | None = None
    """Who is let in by NetworkPolicies; None where there are to be none."""


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
    outdated: int = 0
    """Pods of an earlier template."""
    pod_secrets: frozenset[str] = frozenset()
    """Of routers: the Secrets that their newest template mounts to ask pods with that speak TLS."""


@dataclass(frozen=True)
class RevisionView:
    """A ModelRevision as it stands in the cluster."""

    name: str
    spec: RevisionSpec
    status: RevisionStatus
    created: str = ""
    recorded: bool = True
    """False for one that is gone and has to be made again."""

    @property
    def identity(self) -> str:
        """Of a revision whose pods speak TLS: which Secret of the routers' lets those in; else empty."""
        tls = self.spec.runtime.tls
        return identity_of(tls.routerSecret) if tls else ""


class Reading(Enum):
    """What a phase needs to see of the metrics."""

    NOTHING = "nothing"
    OPENING = "opening"
    """What is known of stable from before, for the candidate is about to get its first requests."""
    COMPARISON = "comparison"
    """What both versions answered since the cursor."""
    PAIRS = "pairs"
    """How both versions answered the same requests since the cursor."""


ConditionState = tuple[str, str, str]
"""Status, reason and message of a condition."""


@dataclass(frozen=True)
class BaselineRate:
    """Stable's bad answers of one kind in the time before the rollout. Without history there are none."""

    attempts: int = 0
    failures: int = 0
    dispersion: float = 1.0
    """How much they cluster: their variance over that of independent ones, at least 1."""
    seconds: float = 0.0
    """How much time that was."""


@dataclass(frozen=True)
class NewSamples:
    """New metrics: what happened between the old cursor and `cursor`, as each signal reads it."""

    cursor: float
    blocks: Mapping[str, Any] = field(default_factory=dict)
    """By the name of the signal: its new samples (`Signal.block`)."""
    baselines: Mapping[str, BaselineRate] = field(default_factory=dict)
    """By the name of the signal: what is known of stable when the candidate is about to get its first requests."""
    interval: float = 1.0
    """Seconds between two scrapes."""
    behind: tuple[str, ...] = ()
    """Routers that have sent stable more than what the candidate had failed."""
    reading: Reading = Reading.COMPARISON
    """What was read."""
    uncounted_since: float | None = None
    """When a time began that was passed over, up to the cursor: what happened in it counts for nobody."""
    caught_up: bool = True
    """Whether there is nothing after `cursor` that has not been read, and nothing was passed over: else what has been
    read may be old, and no rollout goes on by it. It can still end by it."""


@dataclass(frozen=True)
class NoNewSamples:
    """The metrics are well, and hold nothing new yet."""


@dataclass(frozen=True)
class MetricsUnavailable:
    """The metrics are missing: hold, whatever the phase."""

    message: str


Metrics = NewSamples | NoNewSamples | MetricsUnavailable


@dataclass(frozen=True)
class Foreign:
    """Series with this model's labels that are not from its pods, and so were left out."""

    NAMED: ClassVar = 5
    """Pods that are named at most."""

    series: Mapping[str, int] = field(default_factory=dict)
    """How many, by why: `unknown` (another pod is scraped), `unlabelled` (the scraper names no pod), or `gone` (a pod
    that this operator never saw)."""
    pods: tuple[str, ...] = ()
    """Some of the pods that are scraped; empty for one without a name."""

    def __add__(self, other: "Foreign") -> "Foreign":
        whys = sorted({*self.series, *other.series})
        counts = {why: self.series.get(why, 0) + other.series.get(why, 0) for why in whys}
        return Foreign(counts, tuple(sorted({*self.pods, *other.pods})[: self.NAMED]))


@dataclass(frozen=True)
class Drift:
    """The newest comparison of live inputs with the profile; empty where there is nothing to compare."""

    features: tuple[FeatureDrift, ...] = ()
    left_out: int = 0
    """Features that are too many to be looked at."""


@dataclass(frozen=True)
class Capabilities:
    """What a data plane can do."""

    shadow: bool = True
    """Whether it can copy requests to a candidate and say how both versions answered."""
    weight_step: float = 0.1
    """Percent: the smallest weight, and by how much weights can differ."""


class Command(ABC):
    """What a person or a policy asks for. `core.commands` has a module for each."""

    @abstractmethod
    def obey(self, o: "Observation", status: Status, now: float) -> Status | None:
        """The status after it is obeyed: the same one, where it only holds back what would come next. None: there is
        nothing to do for it."""


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
    commands: tuple[Command, ...]
    """What is asked for; the first one counts most."""
    revisions: Mapping[str, RevisionView] = field(default_factory=dict)
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    """The serving Deployments by revision."""
    router: Workload = Workload()
    metrics: Metrics = NoNewSamples()
    drift: Drift | None = None
    """None: not read this time."""
    foreign: Foreign | None = None
    """What was left out of the metrics; None: none were read this time."""
    preflight: Report | Problem | None = None
    """What the preflight of the running rollout reports, or why it does not yet."""
    refused: Problem | None = None
    """What the API server has said for some time to a child that it does not take."""
    released: frozenset[str] = frozenset()
    """Retiring revisions that no router sends requests to any more."""
    capabilities: Capabilities = Capabilities()
    """Of the data plane."""


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
    replicas: Mapping[str, int | None] = field(default_factory=dict)
    """Revisions whose pods must exist, and how many; None: an autoscaler says. Every other revision's pods go."""
    forget: tuple[str, ...] = ()
    """ModelRevisions beyond the history's limit."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds."""
