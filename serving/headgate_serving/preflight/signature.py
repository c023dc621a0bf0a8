"""A model's metadata: what the protocol tells of inputs and outputs, and what Headgate's own runtime tells besides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ..codec.datatypes import BY_NAME
from .findings import shown
from .requests import Given, Request

_MOST = 10_000


class MetadataInvalid(Exception):
    """It can't be read; the text says why."""


@dataclass(frozen=True)
class Spec:
    """An input or an output; a free dimension is -1, `shape` is None where any shape fits."""

    name: str
    datatype: str
    shape: tuple[int, ...] | None
    optional: bool = False
    classes: tuple[str, ...] = ()

    @property
    def by_row(self) -> bool:
        """Whether the first dimension is free."""
        return self.shape is None or self.shape[:1] == (-1,)

    def takes(self, given: Given) -> bool:
        """Whether a tensor fits."""
        if given.datatype.name != self.datatype:
            return False
        shape = given.values.shape
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(own in (-1, asked) for own, asked in zip(self.shape, shape, strict=True))
        )

    def __str__(self) -> str:
        return f"{self.datatype} {'of any shape' if self.shape is None else list(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """What goes in and what comes out, by name. Both are empty where an engine tells nothing."""

    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]

    @property
    def told(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self.inputs or self.outputs)

    @property
    def by_row(self) -> frozenset[str]:
        """Inputs whose first dimension is free."""
        return frozenset(name for name, spec in self.inputs.items() if spec.by_row)

    @property
    def known(self) -> bool:
        """Whether values of all inputs can be made."""
        return all(spec.datatype in BY_NAME for spec in self.inputs.values())

    def takes(self, request: Request) -> bool:
        """Whether a request fits: nothing missing, nothing more, datatypes and shapes right."""
        if not self.told:
            return True
        missing = [name for name, spec in self.inputs.items() if not spec.optional and name not in request]
        return not missing and all(
            name in self.inputs and self.inputs[name].takes(one) for name, one in request.items()
        )


def read_signature(raw: bytes) -> Signature:
    """From the body of an answer; MetadataInvalid."""
    try:
        read = orjson.loads(raw)
    except ValueError as error:
        raise MetadataInvalid(f"the metadata is no JSON: {error}") from error
    if not isinstance(read, dict):
        raise MetadataInvalid("the metadata is no JSON object")
    return Signature(_specs(read, "inputs"), _specs(read, "outputs"))


def _specs(read: Mapping[str, Any], which: str) -> Mapping[str, Spec]:
    listed = read.get(which) or []
    if not isinstance(listed, list) or len(listed) > _MOST:
        raise MetadataInvalid(f"{which!r} of the metadata is no list of at most {_MOST}")
    specs: dict[str, Spec] = {}
    for item in listed:
        spec = _spec(item, which)
        if spec.name in specs:
            raise MetadataInvalid(f"{which!r} of the metadata has {shown(spec.name)} twice")
        specs[spec.name] = spec
    return specs


def _spec(item: Any, which: str) -> Spec:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise MetadataInvalid(f"an entry of {which!r} of the metadata has no name")
    name, datatype, shape = item["name"], item.get("datatype"), item.get("shape")
    if not isinstance(datatype, str):
        raise MetadataInvalid(f"{which!r} of the metadata: {shown(name)} has no datatype")
    if not isinstance(shape, list) or any(type(length) is not int for length in shape):
        raise MetadataInvalid(f"{which!r} of the metadata: the shape of {shown(name)} is no list of whole numbers")
    more = item.get("parameters") or {}
    if not isinstance(more, dict):
        more = {}
    dimensions = None if more.get("any_shape") is True else tuple(max(length, -1) for length in shape)
    return Spec(name, datatype, dimensions, more.get("optional") is True, _classes(more.get("classes")))


def _classes(listed: Any) -> tuple[str, ...]:
    return tuple(map(str, listed)) if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
