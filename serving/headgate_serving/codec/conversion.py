"""Values as the model takes them, with nothing lost on the way but the precision of floats.

The one conversion of plain values into tensors: of requests in JSON (`rest_codec.py`) and in typed contents of gRPC
(`grpc_codec.py`), and of the rows that a profile and golden samples are made of (`authoring/reference.py`). What the
server refuses is in no profile.
"""

import math
import struct
from reprlib import Repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MalformedRequest
from .datatypes import Datatype

_LETTERS = {  # of `struct`
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "BF16": "f",
    "FP32": "f",
    "FP64": "d",
}
_TYPES = {
    "b": (frozenset({bool}), "true or false"),
    "i": (frozenset({int}), "whole numbers"),
    "u": (frozenset({int}), "whole numbers from 0"),
    "f": (frozenset({int, float, type(None)}), "numbers (null for a missing one)"),
    "O": (frozenset({str, type(None)}), "strings (null for a missing one)"),
}
_brief = Repr()
_brief.maxlevel, _brief.maxlist, _brief.maxdict, _brief.maxstring = 4, 30, 8, 90

Values = NDArray[Any]


def converted(data: list[Any], name: str, datatype: Datatype, *, strict: bool = True) -> Values:
    """One value after the other as a tensor of one axis; MalformedRequest if one of them is of another kind or range.

    `struct` takes nothing but numbers of the right kind and range; numpy would make text of all numbers where there is
    some text among them, each as long as the longest, and that in memory. `struct` takes a boolean for a number too, so
    without `strict` there may be none in the data.
    """
    if not strict and datatype.name in _LETTERS:
        try:
            return _packed(data, datatype)
        except (struct.error, OverflowError):
            pass  # what it is, is said below
    return _exactly(data, name, datatype)


def _packed(data: list[Any], datatype: Datatype) -> Values:
    """Numbers as the model takes them; struct.error or OverflowError if they are none or do not fit."""
    return np.frombuffer(struct.pack(f"<{len(data)}{_LETTERS[datatype.name]}", *data), datatype.dtype)


def _exactly(data: list[Any], name: str, datatype: Datatype) -> Values:
    """The slow way, that looks at the type of each value: for nulls, text, booleans, and to say what is wrong."""
    kind = datatype.kind
    allowed, expected = _TYPES[kind]
    if not set(map(type, data)) <= allowed:
        wrong = next(value for value in data if type(value) not in allowed)
        raise MalformedRequest("data", f"input {name!r}: {datatype.name} takes {expected}, got {shown(wrong)}")
    if kind == "O":
        return np.array(["" if value is None else value for value in data], object)
    if kind == "b":
        return np.array(data, np.bool_)
    try:
        return _packed([math.nan if value is None else value for value in data], datatype)
    except (struct.error, OverflowError) as error:
        raise MalformedRequest("data", f"input {name!r}: a value does not fit into {datatype.name}") from error


def shown(value: Any) -> str:
    """For an error message, not too long."""
    text = _brief.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
