"""Tensors of requests: read from golden samples, put together, changed, and written as bodies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..codec.datatypes import BY_NAME, Datatype

Values = NDArray[Any]


class NoRequest(Exception):
    """It is no request of the protocol; the text says why."""


@dataclass(frozen=True)
class Given:
    """One input of a request. Text is `str` in an array of objects."""

    datatype: Datatype
    values: Values

    @property
    def table(self) -> Values:
        """A copy whose first axis is that of the rows, and the second that of the columns: all other axes."""
        values = self.values.copy()
        return values.reshape(len(values), -1) if values.ndim and values.size else values.reshape(1, -1)

    def with_table(self, table: Values) -> "Given":
        """The same with other rows, which have the columns of `table`."""
        rest = self.values.shape[1:] if self.values.ndim else ()
        shape = (len(table), *rest) if self.values.ndim else ()
        return replace(self, values=table.reshape(shape))


Request = Mapping[str, Given]
"""By the name of the input."""


def read_request(raw: Any) -> Request:
    """The inputs of a request in JSON; NoRequest."""
    try:
        return {str(item["name"]): _given(item) for item in raw["inputs"]}
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise NoRequest(f"its request is not of the protocol: {error!r}") from error


def _given(item: Mapping[str, Any]) -> Given:
    datatype = BY_NAME[item["datatype"]]
    shape = tuple(int(length) for length in item["shape"])
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {list(shape)}")
    data = item["data"]
    if datatype.kind == "O":
        values: Values = np.array(["" if each is None else str(each) for each in data], object)
    else:
        with np.errstate(over="ignore"):
            values = np.array(data, np.float64 if datatype.kind == "f" else datatype.dtype).astype(datatype.dtype)
    return Given(datatype, values.reshape(shape))


def body_of(request: Request) -> bytes:
    """As JSON; NaN is null, infinity can't be written."""
    inputs = [
        {"name": name, "datatype": one.datatype.name, "shape": list(one.values.shape), "data": _listed(one.values)}
        for name, one in request.items()
    ]
    return orjson.dumps({"inputs": inputs})


def _listed(values: Values) -> list[Any]:
    flat = values.ravel()
    if flat.dtype.kind == "f":
        return [each if math.isfinite(each) else None for each in flat.astype(np.float64).tolist()]
    listed: list[Any] = flat.tolist()
    return listed


def binary_of(request: Request) -> tuple[bytes, int]:
    """With the floating tensors as bytes behind the JSON, as the protocol's extension has them; length of the JSON."""
    inputs: list[dict[str, Any]] = []
    tail = []
    for name, one in request.items():
        described: dict[str, Any] = {"name": name, "datatype": one.datatype.name, "shape": list(one.values.shape)}
        if one.datatype.kind == "f" and one.datatype.name != "BF16":
            tail.append(np.ascontiguousarray(one.values).tobytes())
            described["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            described["data"] = _listed(one.values)
        inputs.append(described)
    head = orjson.dumps({"inputs": inputs})
    return b"".join([head, *tail]), len(head)


def size_of(request: Request) -> int:
    """Numbers and texts."""
    return sum(one.values.size for one in request.values())


def rows_of(request: Request, by_row: frozenset[str]) -> int:
    """Of the inputs that have rows."""
    return next((len(one.values) for name, one in request.items() if name in by_row), 1)


def stacked(requests: Sequence[Request], by_row: frozenset[str]) -> Request:
    """One request with the rows of all; the inputs that have none are those of the first."""
    first = requests[0]
    return {
        name: replace(one, values=np.concatenate([each[name].values for each in requests])) if name in by_row else one
        for name, one in first.items()
    }


def in_order(request: Request, order: Sequence[int], by_row: frozenset[str]) -> Request:
    """The same with these rows, in this order."""
    places = np.array(order, np.intp)
    return {name: replace(one, values=one.values[places]) if name in by_row else one for name, one in request.items()}


def is_finite(request: Request) -> bool:
    """Whether no number is NaN or infinite."""
    return all(one.values.dtype.kind != "f" or bool(np.isfinite(one.values).all()) for one in request.values())


def has_infinity(request: Request) -> bool:
    """Whether it can't be written as JSON."""
    return any(one.values.dtype.kind == "f" and bool(np.isinf(one.values).any()) for one in request.values())
