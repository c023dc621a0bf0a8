"""The form of the table: a request, what ours answers, and what Triton answers instead where the two differ.

`cases_*.py` hold the entries, `conformance_clients.py` sends them, `conformance_document.py` writes down what differs.
An expected answer is a part of the real one: of a dictionary the members that matter. Wordings are ours alone: what
Triton says in an error need only be some text.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VERSION = "7"


@dataclass(frozen=True)
class Rest:
    """A request over HTTP."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    form = "REST"


@dataclass(frozen=True)
class Call:
    """A gRPC call of inference.GRPCInferenceService; a list of messages is a stream."""

    method: str
    request: Any
    compression: str = ""

    form = "gRPC"


@dataclass(frozen=True)
class Unlike:
    """What Triton answers instead, and why ours does not."""

    answer: Mapping[str, Any]
    because: str


@dataclass(frozen=True)
class Case:
    """One entry: to a server of `model`, a request and the part of the answer that matters."""

    name: str
    model: str
    ask: Rest | Call
    ours: Mapping[str, Any]
    triton: Unlike | None = None

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.ask.form}: {self.name}"


class Wording(str):
    """A part of a message to people."""

    __slots__ = ()


class Among(tuple[Any, ...]):
    """Members that a list has, whatever else it has."""

    __slots__ = ()


def answered(body: Any = None, **more: Any) -> dict[str, Any]:
    """A good answer over either protocol; `status` is HTTP's."""
    return {"status": 200, **({} if body is None else {"body": body}), **more}


def called(body: Any) -> dict[str, Any]:
    """The same over gRPC."""
    return {"status": "OK", "body": body}


def refused(status: int | str, wording: str) -> dict[str, Any]:
    """An error in the protocol's form."""
    return {"status": status, "body": {"error": Wording(wording)}}


def output(name: str, data: Sequence[Any], datatype: str | None = None, shape: Sequence[int] | None = None) -> Any:
    """A part of an inference's answer."""
    said = {"name": name, "datatype": datatype, "shape": None if shape is None else list(shape), "data": list(data)}
    return {key: value for key, value in said.items() if value is not None}


def differences(expected: Any, seen: Any, *, own_words: bool, at: str = "") -> list[str]:
    """Where a real answer is not what was expected."""
    if isinstance(expected, Wording):
        good = isinstance(seen, str) and (expected in seen if own_words else bool(seen))
        return [] if good else [f"{at}: expected {str(expected)!r} in {seen!r}"]
    if isinstance(expected, Among) and isinstance(seen, list):
        there = [one for one in expected if any(not differences(one, real, own_words=own_words) for real in seen)]
        return [] if len(there) == len(expected) else [f"{at}: expected {expected!r} in {seen!r}"]
    if isinstance(expected, Mapping) and isinstance(seen, Mapping):
        return [
            found
            for key, value in expected.items()
            for found in differences(value, seen.get(key, "nothing"), own_words=own_words, at=f"{at}.{key}")
        ]
    if isinstance(expected, list) and isinstance(seen, list) and len(expected) == len(seen):
        return [
            found
            for number, (value, real) in enumerate(zip(expected, seen, strict=True))
            for found in differences(value, real, own_words=own_words, at=f"{at}[{number}]")
        ]
    if isinstance(expected, float) and math.isnan(expected) and isinstance(seen, float) and math.isnan(seen):
        return []
    same = expected == seen and isinstance(expected, bool) == isinstance(seen, bool)
    return [] if same else [f"{at}: expected {expected!r}, got {seen!r}"]
