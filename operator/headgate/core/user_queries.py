"""What Prometheus says of a user's query: whose series it reads, and its number for each revision. Pure.

Called by `user_signals` and by `tried_queries`, for `headgate validate`. Prometheus holds the series of all namespaces,
and is asked with the operator's credentials. So a query is asked only if every selector in it names the model's own
namespace, as Prometheus' own parser reads it. Of an answer nothing is told but the numbers of the model's revisions:
the text of an error may repeat labels of any series, so only what the parser says of the query's own text is repeated.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from headgate.api.contract import NAMESPACE, REVISION
from headgate.core.statistics.counters import TARGET_NAMESPACE

MOST_BYTES = 64 << 10
"""Of one answer, and of a query as the parser gives it back. A revision's number takes some two hundred."""

_LONGEST_REASON = 200
"""Characters of what the parser says."""

_SELECTORS = ("vectorSelector", "matrixSelector")
_OTHERS = (
    *("aggregation", "binaryExpr", "call", "numberLiteral", "parenExpr", "stringLiteral", "subquery", "unaryExpr"),
)
"""Parts of a query that read no series by themselves. What is in neither list is refused."""

_READS_MORE = ("info",)
"""Functions that read series which no selector names."""


@dataclass(frozen=True)
class Asked:
    """What the queries of one signal say at one time, in the order of the queries."""

    at: float
    """By Prometheus' clock, in seconds since the epoch."""
    candidate: tuple[float, ...] = ()
    stable: tuple[float, ...] = ()
    """Empty where the signal needs nothing of it."""
    trouble: str = ""
    """Why there is nothing, in words that hold no data of others."""


@dataclass(frozen=True)
class Answer:
    """The series of one answer."""

    series: tuple[tuple[Mapping[str, str], float], ...] = ()
    """Labels and value of each."""
    trouble: str = ""


def _as_float(text: Any) -> Any:
    """Prometheus writes values as text: `NaN` and `+Inf` are some, too."""
    return float(text) if isinstance(text, str) else text


class _Sample(BaseModel):
    metric: dict[str, str]
    value: tuple[float, Annotated[float, BeforeValidator(_as_float)]]


class _Vector(BaseModel):
    resultType: Literal["vector"]  # noqa: N815
    result: list[_Sample]


class _Success(BaseModel):
    status: Literal["success"]
    warnings: list[str] = []
    data: _Vector


class _Tree(BaseModel):
    status: Literal["success"]
    data: dict[str, Any]


class _Kind(BaseModel):
    resultType: str = Field(max_length=20)  # noqa: N815


class _Other(BaseModel):
    """A success of another kind."""

    status: Literal["success"]
    data: _Kind


class _Refusal(BaseModel):
    status: Literal["error"]
    errorType: str = ""  # noqa: N815
    error: str = ""


_ANY = TypeAdapter[_Other | _Refusal](_Other | _Refusal)


def reads_others(status: int, body: bytes, wanted: Mapping[str, str]) -> str:
    """Why a query may not be asked, from what `/api/v1/parse_query` says of it; empty if it may.

    `wanted` are the labels that each selector has to have, such as the namespace.
    """
    try:
        tree = _Tree.model_validate(json.loads(body))
    except (ValueError, RecursionError):
        return _refused(status, body, "parse")
    for part in _parts(tree.data):
        kind = part.get("type")
        if kind in _SELECTORS:
            if missing := _missing(part, wanted):
                return f"each of its selectors has to have {missing}: {_name(part)} has not"
        elif kind not in _OTHERS:
            return "it has a part that Headgate does not know"
        elif kind == "call" and _function(part) in _READS_MORE:
            return "it has a function that reads series which no selector names"
    return ""


def _parts(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a syntax tree."""
    waiting: list[Any] = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            if "type" in part:
                yield part
            waiting += [value for name, value in part.items() if name not in ("matchers", "func", "matching")]


def _missing(selector: dict[str, Any], wanted: Mapping[str, str]) -> str:
    matchers = selector.get("matchers")
    exact = [m for m in matchers if isinstance(m, dict) and m.get("type") == "="] if isinstance(matchers, list) else []
    has = [(m.get("name"), m.get("value")) for m in exact]
    return ", ".join(f'{name}="{value}"' for name, value in wanted.items() if (name, value) not in has)


def _function(call: dict[str, Any]) -> Any:
    function = call.get("func")
    return function.get("name") if isinstance(function, dict) else None


def _name(selector: dict[str, Any]) -> str:
    return str(selector.get("name") or "one without a name")[:_LONGEST_REASON]


def answer_of(status: int, body: bytes) -> Answer:
    """The series of an answer of `/api/v1/query`, or what is wrong with it."""
    try:
        found = _Success.model_validate_json(body)
    except ValidationError:
        return Answer(trouble=_refused(status, body, "query"))
    if found.warnings:
        return Answer(trouble="Prometheus answered in part only, or with a warning")
    return Answer(tuple((each.metric, each.value[1]) for each in found.data.result))


def _refused(status: int, body: bytes, asked: Literal["parse", "query"]) -> str:
    """What an answer says that is not what was asked for."""
    try:
        told: _Other | _Refusal = _ANY.validate_json(body)
    except ValidationError:
        if asked == "parse":
            return (
                "Prometheus does not parse queries for others (/api/v1/parse_query), so nobody knows whose series it "
                f"reads: HTTP status {status}"
            )
        return f"Prometheus gave an answer that is none: HTTP status {status}"
    if isinstance(told, _Other):
        if told.data.resultType == "vector":
            return "it gives series without numbers, such as histograms"
        return f"it gives a {told.data.resultType}, and has to give a vector with the label {REVISION}"
    if asked == "parse" and told.errorType == "bad_data":
        return f"it is no PromQL: {told.error[:_LONGEST_REASON]}"
    return (
        f"Prometheus could not answer it ({told.errorType[:20] or status}). What it says may name series of others and "
        "is not repeated here: ask it yourself"
    )


def number_of(answer: Answer, revision: str, namespace: str) -> float | str:
    """The number of a revision, or what is wrong with it in words."""
    if answer.trouble:
        return answer.trouble
    found = [value for labels, value in answer.series if _is_of(labels, revision, namespace)]
    if not found:
        return f"it has no series with {REVISION}={revision}"
    if len(found) > 1:
        return f"it has {len(found)} series with {REVISION}={revision}, and has to have one: sum by ({REVISION})"
    if not math.isfinite(found[0]):
        return f"its value for {revision} is {found[0]}"
    return found[0]


def numbers_of(answer: Answer, namespace: str) -> dict[str, float | str]:
    """The same of each revision that has a series."""
    revisions = {
        labels.get(REVISION, "") for labels, _ in answer.series if _is_of(labels, labels.get(REVISION, ""), namespace)
    }
    return {revision: number_of(answer, revision, namespace) for revision in sorted(revisions - {""})}


def _is_of(labels: Mapping[str, str], revision: str, namespace: str) -> bool:
    """Names of revisions are unique in their namespace only."""
    elsewhere = any(labels.get(name, namespace) != namespace for name in (TARGET_NAMESPACE, NAMESPACE))
    return labels.get(REVISION) == revision and not elsewhere
