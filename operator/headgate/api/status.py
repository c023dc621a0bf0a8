"""`ModelDeployment.status`: what Headgate writes, and all the state that it keeps between two looks.

`core.decide` takes one and returns the next; `reconcile` writes it once. The routers follow `traffic`.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Phase = Literal["Pending", "Shadow", "Canary", "Promoting", "Soaking", "Stable", "RollingBack", "RolledBack"]
Role = Literal["stable", "candidate"]
Verdict = Literal["Pass", "Fail", "Inconclusive"]
DecisionKind = Literal["Live", "Promoted", "RolledBack", "Superseded"]

PHASES: tuple[Phase, ...] = (
    "Pending",
    "Shadow",
    "Canary",
    "Promoting",
    "Soaking",
    "Stable",
    "RollingBack",
    "RolledBack",
)


class StatusModel(BaseModel):
    """A part of the status. Unknown fields are dropped: an older operator must read a newer one's status."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


def _numbers(value: Any) -> Any:
    return [float(n) for n in value.split()] if isinstance(value, str) else value


def _events(value: Any) -> Any:
    """`{"is 1": "46 475 -3.658 4.03 20.64 -2.81"}` -> fields of `EventEvidence`."""
    if not isinstance(value, dict):
        return value
    names = [n for n in EventEvidence.model_fields if n != "event"]
    return [{"event": event, **dict(zip(names, text.split(), strict=False))} for event, text in value.items()]


def _event_lines(events: "list[EventEvidence]") -> dict[str, str]:
    return {e.event: " ".join(str(value) for name, value in e if name != "event") for e in events}


Numbers = Annotated[
    list[float],
    BeforeValidator(_numbers),
    PlainSerializer(lambda numbers: " ".join(str(n) for n in numbers), when_used="json"),
    WithJsonSchema({"type": "string"}),
]
"""Numbers that are one line in the status, so that people can read past them."""


def _named_numbers(value: Any) -> Any:
    """`errors=0.7 predictions=0.3` -> a dictionary."""
    return {name: float(n) for name, n in (p.split("=") for p in value.split())} if isinstance(value, str) else value


NamedNumbers = Annotated[
    dict[str, float],
    BeforeValidator(_named_numbers),
    PlainSerializer(lambda named: " ".join(f"{name}={n}" for name, n in named.items()), when_used="json"),
    WithJsonSchema({"type": "string"}),
]
"""One line in the status. A map would become null, and be refused, when server-side apply takes out all its keys."""


def _bin_counts(value: Any) -> Any:
    return json.loads(value or "{}") if isinstance(value, str) else value


BinCounts = Annotated[
    dict[str, int],
    BeforeValidator(_bin_counts),
    PlainSerializer(
        lambda counts: json.dumps(counts, separators=(",", ":"), ensure_ascii=False) if counts else "",
        when_used="json",
    ),
    WithJsonSchema({"type": "string"}),
]
"""Answers by bin, one line in the status: `{"c00 no":3,"c01 yes":1}`. Names of bins may hold any character."""


class Condition(StatusModel):
    """A Kubernetes condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    lastTransitionTime: str  # noqa: N815
    observedGeneration: int = 0  # noqa: N815


class TrafficTarget(StatusModel):
    """One entry of what the routers follow."""

    revision: str
    role: Role
    weight: Annotated[float, Field(ge=0, le=100)]
    """Share of the traffic in percent, at most one decimal."""
    shadow: Annotated[float, Field(ge=0, le=100)] | None = None
    """Of a candidate without traffic: the percentage of stable's requests of which it gets copies."""
    sample: Annotated[float, Field(ge=0, le=100)] | None = None
    """Of a custom engine: the percentage of its answered requests of which its monitor gets copies."""


class RevisionRef(StatusModel):
    """A revision in a role, and how many of its pods are ready."""

    revision: str
    version: str
    uri: str = ""
    digest: str | None = None
    """SHA-256 of the artifact, as verified by the fetcher."""
    replicas: int = 0
    ready: int = 0


class RateEvidence(StatusModel):
    """What is known about bad answers of one kind: counts of attempts, and the tests' accumulators.

    In the status the accumulators are one line, `state`: nobody reads them but the next look.
    """

    accumulators: int = 0
    """Version of the accumulators. Those of another version start anew."""
    candidateAttempts: int = 0  # noqa: N815
    candidateFailures: int = 0  # noqa: N815
    stableAttempts: int = 0  # noqa: N815
    stableFailures: int = 0  # noqa: N815
    logHarm: float = 0.0  # noqa: N815
    """ln of the e-value against "not worse than stable by more than the margin"."""
    logSafe: float = 0.0  # noqa: N815
    """ln of the e-value against "worse than stable by at least the margin"."""
    logWorse: float = 0.0  # noqa: N815
    """ln of the e-value against "not worse than stable at all"."""
    verdict: Verdict = "Inconclusive"
    history: Numbers = []
    """Stable before the rollout: attempts, bad answers, and how much these cluster (1: not at all)."""
    harm: Numbers = []
    """ln e-values of the harm test, one for each alternative of its mixture."""
    worse: Numbers = []
    """ln e-values against "not worse at all", one for each alternative of its mixture."""
    safe: Numbers = []
    """ln e-values of the mirror test, one for each alternative of its mixture."""
    stake: float = 0.0
    """ln of what the harm test won by never betting for more than decides."""
    waiting: Numbers = []
    """Of the attempts above those of one version that wait for the other's, to be compared together: attempts and bad
    answers of the candidate, of stable, and seconds since the first of them. Empty where none do."""
    alone: Numbers = []
    """Of the candidate's attempts those that stable had none beside for too long, and how many of them were bad."""

    @model_serializer(mode="wrap", when_used="json")
    def _with_one_line(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = serialize(self)
        state = "; ".join(f"{name}={told.pop(name)}" for name in _ACCUMULATORS)
        return {**told, "state": state} if self.accumulators or self.history else told

    @model_validator(mode="before")
    @classmethod
    def _from_one_line(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "state" not in value:
            return value
        return {**value, **dict(part.split("=", 1) for part in value["state"].split("; "))}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """As it is stored."""
        found = handler(core)
        schema = handler.resolve_ref_schema(found)
        read = {name: field for name, field in schema["properties"].items() if name not in _ACCUMULATORS}
        what = "What the tests need to go on: their accumulators, by name."
        schema["properties"] = {**read, "state": {"type": "string", "description": what}}
        return found


_ACCUMULATORS = ("accumulators", "history", "harm", "worse", "safe", "stake", "waiting", "alone")


class LatencyEvidence(RateEvidence):
    """What is known about slow answers."""

    edge: str = ""
    """Answers later than this are slow: the edge of the router's histogram nearest to the threshold in the spec."""


class EventEvidence(StatusModel):
    """What is known about one event of the predictions, such as "the label is 1" or "the score is at most 0.3"."""

    event: str
    candidate: int = 0
    """Candidate's answers with the event."""
    stable: int = 0
    """Stable's answers with the event."""
    up: float = 0.0
    """ln of the e-value against "the share rose by no more than the margin"."""
    down: float = 0.0
    """ln of the e-value against "the share fell by no more than the margin"."""
    notUp: float = 0.0  # noqa: N815
    """ln of the e-value against "the share rose by at least the margin"."""
    notDown: float = 0.0  # noqa: N815
    """ln of the e-value against "the share fell by at least the margin"."""


EventLines = Annotated[
    list[EventEvidence],
    BeforeValidator(_events),
    PlainSerializer(_event_lines, when_used="json"),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
"""One line for each event: its fields in their order, without the name."""


class OutputEvidence(StatusModel):
    """What is known about the predictions of one output, in one layout of bins."""

    output: str
    layout: str
    candidateAnswers: int = 0  # noqa: N815
    """Answers that the events below are of; those that wait come on top."""
    stableAnswers: int = 0  # noqa: N815
    events: EventLines = []
    candidateWaiting: BinCounts = {}  # noqa: N815
    """The candidate's answers by bin that wait for some of stable, to be compared together."""
    stableWaiting: BinCounts = {}  # noqa: N815
    """Stable's answers by bin that wait for some of the candidate."""
    waited: float = 0.0
    """Seconds since the first of those that wait."""


def _outputs(value: Any) -> Any:
    return json.loads(value or "[]") if isinstance(value, str) else value


Outputs = Annotated[
    list[OutputEvidence],
    BeforeValidator(_outputs),
    PlainSerializer(
        lambda outputs: json.dumps([o.model_dump(mode="json", exclude_defaults=True) for o in outputs]),
        when_used="json",
    ),
    WithJsonSchema({"type": "string"}),
]
"""One line of JSON: all counts and accumulators of all events, which nobody reads but the next look."""


class PredictionEvidence(StatusModel):
    """What is known about the predictions' distribution."""

    logHarm: float = 0.0  # noqa: N815
    """ln of the e-value against "no share moved by more than the margin"."""
    logSafe: float = 0.0  # noqa: N815
    """ln of the smallest e-value against "this share moved by at least the margin"."""
    logDiffers: float = 0.0  # noqa: N815
    """ln of the e-value against "the same distribution", for people: a better model should differ."""
    largestShift: float = 0.0  # noqa: N815
    """The largest observed movement of a share, in percentage points; it may be positive or negative."""
    largestEvent: str = ""  # noqa: N815
    """The event whose share moved most."""
    candidateAnswers: int = 0  # noqa: N815
    stableAnswers: int = 0  # noqa: N815
    verdict: Verdict = "Inconclusive"
    outputs: Outputs = []
    """Counts and accumulators of each event, as JSON."""


class ShadowEvidence(StatusModel):
    """What is known from requests that both versions were asked."""

    pairs: int = 0
    """Requests that were compared."""
    agreed: int = 0
    """Those that both answered alike."""
    failed: int = 0
    """Those that the candidate did not answer."""
    logHarm: float = 0.0  # noqa: N815
    """ln of the e-value against "at least minAgreement of them agree"."""
    logSafe: float = 0.0  # noqa: N815
    """ln of the e-value against "at most minAgreement of them agree"."""
    verdict: Verdict = "Inconclusive"


class Evidence(StatusModel):
    """Everything that the rollout has learnt; written together with the cursor up to which it was learnt."""

    errors: RateEvidence = RateEvidence()
    latency: LatencyEvidence | None = None
    """Present where the spec sets `rollout.latency`."""
    predictions: PredictionEvidence = PredictionEvidence()
    shadow: ShadowEvidence | None = None
    """Present where the rollout began with a shadow."""
    weights: NamedNumbers = {}
    """Share of alpha of each signal, fixed when the first of them began to be compared."""
    logHarm: float = 0.0  # noqa: N815
    """ln of the combined e-value. The candidate goes when it reaches `threshold`."""
    threshold: float = 0.0
    """ln(1/alpha)."""


class Budget(StatusModel):
    """The bad answers that the rollout may cost, and has cost."""

    total: float
    spent: float = 0.0


class Rollout(StatusModel):
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
    evidence: Evidence = Evidence()
    budget: Budget | None = None


class HistoryEntry(StatusModel):
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


class Retiring(StatusModel):
    """A revision that no router follows any more, and whose pods still finish what they have."""

    revision: str
    since: str


class Status(StatusModel):
    """What Headgate observed and decided."""

    observedGeneration: int = 0  # noqa: N815
    phase: Phase = "Pending"
    conditions: list[Condition] = []
    stable: RevisionRef | None = None
    candidate: RevisionRef | None = None
    traffic: list[TrafficTarget] = []
    rollout: Rollout | None = None
    history: list[HistoryEntry] = []
    """The last ten decisions, newest first."""
    retiring: list[Retiring] = []
    replicas: int = 0
    """Stable's pods; for the scale subresource."""
    selector: str = ""
    """Label selector of stable's pods; for the scale subresource."""
    candidateWeight: float | None = None  # noqa: N815
    """The candidate's share in percent, while there is one; for the printed columns."""
