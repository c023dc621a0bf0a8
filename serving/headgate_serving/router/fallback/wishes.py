"""What answers where stable can't, read from `spec.traffic.fallback` of the raw ModelDeployment.

`traffic.parse_deployment` calls `parse_fallback`. As with matches, what can't be read is left out and said.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_CHAIN = 4
MOST_OUTPUTS, MOST_DIMENSIONS, MOST_VALUES, LONGEST_TEXT = 16, 4, 1000, 1000

Value = int | float | str

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_WHOLE = {
    "BOOL": (0, 1),
    **{f"INT{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32)},
    **{f"UINT{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32)},
    # As far as JSON's numbers are exact.
    "INT64": (-(1 << 53), 1 << 53),
    "UINT64": (0, 1 << 53),
}
_LARGEST = {
    "FP16": 65504.0,
    "BF16": 3.3895313892515355e38,
    "FP32": 3.4028234663852886e38,
    "FP64": 1.7976931348623157e308,
}


class Unreadable(ValueError):
    """It asks for something that this agent doesn't know."""


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor of a static answer: values in row-major order, those of one row where `shape` begins with -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: tuple[Value, ...]

    @property
    def for_each_row(self) -> bool:
        """Whether there are as many rows as the request has."""
        return self.shape[0] == -1


@dataclass(frozen=True, slots=True)
class Static:
    """An answer that is always the same."""

    name: str
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Fallback:
    """ModelDeployments of the namespace that are asked in turn, and what is answered where none of them can."""

    models: tuple[str, ...] = ()
    static: Static | None = None
    on_low_confidence: bool = False
    """Whether an answer that the model is not sure of is the fallback's matter too."""

    def __bool__(self) -> bool:
        return bool(self.models) or self.static is not None


NO_FALLBACK = Fallback()


def parse_fallback(wishes: Mapping[str, Any], own_name: object = None) -> tuple[Fallback, tuple[str, ...]]:
    """The chain in `spec.traffic`, and what is wrong with those parts of it that can't be read."""
    entries, wrong = wishes.get("fallback") or [], list[str]()
    if not isinstance(entries, list):
        return NO_FALLBACK, (f"spec.traffic.fallback: {entries!r} is no list",)
    models, static = list[str](), None
    for number, entry in enumerate(entries):
        try:
            found = _entry(entry, own_name, last=static is not None or number >= LONGEST_CHAIN)
        except Unreadable as error:
            wrong.append(f"spec.traffic.fallback[{number}]: {error}")
            continue
        if isinstance(found, Static):
            static = found
        else:
            models.append(found)
    unsure = wishes.get("fallbackOnLowConfidence") or False
    if unsure is not False and (unsure is not True or static is None):
        wrong.append("spec.traffic.fallbackOnLowConfidence: only a static answer at the end always gives one")
        unsure = False
    return Fallback(tuple(models), static, unsure), tuple(wrong)


def _entry(entry: object, own_name: object, *, last: bool) -> str | Static:
    if last:
        raise Unreadable(f"nothing is asked after a static answer, or after {LONGEST_CHAIN} others")
    if not isinstance(entry, Mapping):
        raise Unreadable(f"{entry!r} is no object")
    model, static = entry.get("modelDeployment"), entry.get("static")
    if (model is None) == (static is None):
        raise Unreadable("it has to name a ModelDeployment or a static answer, and not both")
    if static is not None:
        return _static(static)
    if model == own_name:
        raise Unreadable("a model can't stand in for itself")
    return _name(model)


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Unreadable(f"{name!r} is no name of a ModelDeployment")
    return name


def _static(static: object) -> Static:
    outputs = static.get("outputs") if isinstance(static, Mapping) else None
    if not isinstance(static, Mapping) or not isinstance(outputs, list) or not 1 <= len(outputs) <= MOST_OUTPUTS:
        raise Unreadable(f"a static answer has from 1 to {MOST_OUTPUTS} outputs")
    found = tuple(map(_output, outputs))
    if len({output.name for output in found}) < len(found):
        raise Unreadable("two outputs have the same name")
    return Static(_name(static.get("name", "static")), found)


def _output(output: object) -> Output:
    if not isinstance(output, Mapping):
        raise Unreadable(f"output {output!r} is no object")
    name, datatype, shape = output.get("name"), output.get("datatype"), output.get("shape")
    if not isinstance(name, str) or not 0 < len(name) <= 256 or not _is_unicode(name):
        raise Unreadable(f"output {name!r} has no name of at most 256 characters")
    if not isinstance(shape, list) or not 1 <= len(shape) <= MOST_DIMENSIONS or not all(map(_is_size, shape)):
        raise Unreadable(f"output {name!r} has no shape of at most {MOST_DIMENSIONS} dimensions")
    if -1 in shape[1:]:
        raise Unreadable(f"output {name!r}: only the first dimension may be -1, as many as the request has rows")
    is_text = datatype == "BYTES"
    values, other = [output.get(key) or [] for key in (("text", "data") if is_text else ("data", "text"))]
    needed = math.prod(size for size in shape if size > 0)
    if not isinstance(values, list) or len(values) != needed or needed > MOST_VALUES or other:
        where = "text" if is_text else "data"
        raise Unreadable(f"output {name!r}: shape {shape} takes {needed} values in {where}, at most {MOST_VALUES}")
    if is_text and not all(isinstance(v, str) and len(v) <= LONGEST_TEXT and _is_unicode(v) for v in values):
        raise Unreadable(f"output {name!r}: a value is no text of at most {LONGEST_TEXT} characters")
    numbers = values if is_text else [_number(value, datatype, name) for value in values]
    return Output(name, str(datatype), tuple(shape), tuple(numbers))


def _is_unicode(text: str) -> bool:
    """Whether it can be written: JSON may hold halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_size(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and (size == -1 or 1 <= size <= MOST_VALUES)


def _number(value: object, datatype: object, name: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"output {name!r}: {value!r} is no number")
    name_of_type = datatype if isinstance(datatype, str) else ""
    if abs(value) <= _LARGEST.get(name_of_type, -1):
        return float(value)
    low, high = _WHOLE.get(name_of_type, (0, -1))
    if not low <= value <= high or value != int(value):
        raise Unreadable(f"output {name!r}: {value!r} is no value of datatype {datatype!r}")
    return int(value)
