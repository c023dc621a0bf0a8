"""What a router does with requests besides the weights, resolved: milliseconds, bytes, header names in lower case,
defaults filled in.

The operator makes a `Policy` of the spec (`core.dataplane.policy`) and writes it into `status.policy`, in the same
update as the weights. The router's agent reads it there (`headgate_serving.router.policy`) by the same classes.
"""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from headgate.api import fallback_rules
from headgate.api.stored import Stored, adapter

Role = Literal["stable", "candidate"]
_CONFIG = ConfigDict(
    extra="forbid",  # a router must not follow half of what a newer operator asks for, and say nothing
    use_attribute_docstrings=True,
    alias_generator=to_camel,
    validate_by_name=True,
    validate_by_alias=True,
    serialize_by_alias=True,
)

HeaderName = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
LowerHeaderName = Annotated[str, Field(max_length=100, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
CookieName = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]
ModelName = Annotated[str, Field(max_length=40, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
RequestValue = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-:<-~]+$")]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
Tolerance = Annotated[float, Field(ge=0, le=1_000_000)]
Shape = Annotated[tuple[Annotated[int, Field(ge=-1, le=1000)], ...], Field(min_length=1, max_length=4)]
Number = Annotated[float, Field(allow_inf_nan=False)]

Value = int | float | str


@dataclass(frozen=True, config=_CONFIG)
class Selector:
    """A part of a request that tells users apart: a cookie, or a header (in lower case, as HTTP/2 has them)."""

    kind: Literal["header", "cookie"]
    name: CookieName

    def __post_init__(self) -> None:
        if self.kind == "header":
            adapter(LowerHeaderName).validate_python(self.name)


@dataclass(frozen=True, config=_CONFIG)
class Match:
    """Requests whose header or cookie has a value go to the version in `role`, whatever the weights are.

    `how` is `present` where any value will do; `value` is empty then, and only then.
    """

    selector: Selector
    how: Literal["exact", "prefix", "present"] = "present"
    value: RequestValue | Literal[""] = ""
    role: Role = "candidate"

    def __post_init__(self) -> None:
        if bool(self.value) == (self.how == "present"):
            raise ValueError("value must be given for exact and prefix, and only for those")


@dataclass(frozen=True, config=_CONFIG)
class RateLimit:
    """So many requests in so many seconds from one client, which a header names, or its address where that is None."""

    requests: Annotated[int, Field(ge=1, le=10_000_000)]
    seconds: Annotated[int, Field(ge=1, le=3600)] = 1
    header: LowerHeaderName | None = None


@dataclass(frozen=True, config=_CONFIG)
class ComparedOutput:
    """An output of the model that a shadow compares, and by how much its floating values may differ."""

    name: str
    tolerance: Tolerance


@dataclass(frozen=True, config=_CONFIG)
class Agreement:
    """When two answers agree: floating values differ by at most `tolerance` * max(1, |a|, |b|).

    `outputs` names the ones that are compared, each with its own tolerance; empty where the answer itself says which.
    """

    tolerance: Tolerance = 0.01
    outputs: Annotated[tuple[ComparedOutput, ...], Field(max_length=50)] = ()
    same_outputs: bool = True
    """Whether an answer is a bad one that lacks an output of stable's, or has it in another shape."""


@dataclass(frozen=True, config=_CONFIG)
class StaticOutput:
    """A tensor of a static answer: values in row-major order, those of one row where `shape` begins with -1."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    datatype: fallback_rules.Datatype
    shape: Shape
    data: Annotated[tuple[Number, ...], Field(max_length=1000)] = ()
    text: Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], Field(max_length=1000)] = ()
    """The values of BYTES, instead of `data`."""

    def __post_init__(self) -> None:
        if not fallback_rules.SIZES.holds(self.shape):
            raise ValueError(f"shape {fallback_rules.SIZES.message}")
        for rule in (fallback_rules.AS_MANY_VALUES_AS_SHAPE, fallback_rules.VALUES_OF_DATATYPE):
            if not rule.holds(self):
                raise ValueError(rule.message)

    @property
    def for_each_row(self) -> bool:
        """Whether there are as many rows as the request has."""
        return self.shape[0] == -1

    @property
    def values(self) -> tuple[Value, ...]:
        """Text, floating or whole numbers, as the datatype has them."""
        if self.datatype == "BYTES":
            return self.text
        return self.data if self.datatype in fallback_rules.FRACTIONS else tuple(map(int, self.data))


@dataclass(frozen=True, config=_CONFIG)
class StaticAnswer:
    """An answer that is always the same."""

    name: ModelName
    outputs: Annotated[tuple[StaticOutput, ...], Field(min_length=1, max_length=16)]

    def __post_init__(self) -> None:
        if not fallback_rules.OUTPUTS_DIFFER.holds(self.outputs):
            raise ValueError(f"outputs {fallback_rules.OUTPUTS_DIFFER.message}")


@dataclass(frozen=True, config=_CONFIG)
class Fallback:
    """ModelDeployments of the namespace that are asked in turn, and what is answered where none of them can."""

    models: Annotated[tuple[ModelName, ...], Field(max_length=4)] = ()
    static: StaticAnswer | None = None
    on_low_confidence: bool = False
    """Whether the fallback answers too where the model is not sure of its answer."""

    def __post_init__(self) -> None:
        if self.on_low_confidence and self.static is None:
            raise ValueError("onLowConfidence needs a static answer: an unsure answer must not become an error")

    def __bool__(self) -> bool:
        return bool(self.models) or self.static is not None


@dataclass(frozen=True, config=_CONFIG)
class Policy(Stored):
    """All of it. The defaults are those of the spec."""

    timeout_ms: Milliseconds = 1000
    """The latency budget: an answer that is later is a failure."""
    retry_on_stable: bool = True
    """Whether stable answers a request that the candidate failed."""
    slow_ms: Milliseconds | None = None
    """Answers that take longer are slow ones for the operator."""
    matches: Annotated[tuple[Match, ...], Field(max_length=20)] = ()
    """The first one that fits a request counts."""
    affinity: Selector | None = None
    """Keeps users with one version while its weight grows."""
    max_body_bytes: Annotated[int, Field(ge=1, lt=1 << 62)] = 64 << 20
    """Of a request."""
    rate_limit: RateLimit | None = None
    agreement: Agreement = field(default_factory=Agreement)
    """What the shadow compares answers by."""
    fallback: Fallback = field(default_factory=Fallback)
    """What answers where stable can't."""


DEFAULT = Policy()
