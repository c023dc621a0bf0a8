"""Columns of a table as the inputs of a model: where it reads each, and the values as the server would take them.

`reference.py` asks. The values go through the server's own conversion, so that no profile and no golden sample holds a
row that the server would refuse.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codec.conversion import converted, shown
from ..codec.tensor import TensorSpec
from ..errors import MalformedRequest, ProfileInvalid
from ..monitor.profile import Column
from ..runtime.model import Model
from .table import column, plain, with_texts

Values = NDArray[Any]


@dataclass(frozen=True)
class Place:
    """The column `name` of the table is the column `at` of an input."""

    name: str
    spec: TensorSpec
    at: int


def model_columns(
    model: Model, data: Path, table: Any, names: Sequence[str] | None, there: Sequence[str]
) -> list[Column]:
    """What the model reads of the table, which is that of the file `data`; `there` are those that may be features."""
    places = _places(model, names, there)
    table = with_texts(data, table, [p.name for p in places if p.spec.datatype.kind == "O"])  # 007 is no number
    return [Column(p.name, p.spec.name, p.at, _values(column(table, p.name), p)) for p in places]


def batch(model: Model, columns: Sequence[Column], rows: slice) -> dict[str, Values]:
    """The rows as the model's inputs."""
    parts: dict[str, list[Values]] = {spec.name: [] for spec in model.inputs}
    for one in columns:
        parts[one.input].append(one.values[rows])
    return {
        spec.name: np.stack(parts[spec.name], axis=1) if _is_matrix(spec, model) else parts[spec.name][0]
        for spec in model.inputs
    }


def _is_matrix(spec: TensorSpec, model: Model) -> bool:
    """Whether an input has a second axis; an only input of which nothing is known gets one."""
    return len(model.inputs) == 1 if spec.shape is None else len(spec.shape) == 2


def _places(model: Model, names: Sequence[str] | None, there: Sequence[str]) -> list[Place]:
    single = model.inputs[0] if len(model.inputs) == 1 else None
    width = single.shape[1] if single and single.shape and len(single.shape) == 2 else -1
    if single and _is_matrix(single, model) and width != 1:
        chosen = names or there
        if width not in (-1, len(chosen)):
            raise ProfileInvalid(
                f"input {single.name!r} takes {width} columns, the data has {len(chosen)}: "
                f"{', '.join(chosen)}; choose with --columns a,b,c in the order that the model takes them"
            )
        return [Place(name, single, at) for at, name in enumerate(chosen)]
    if names and len(names) != len(model.inputs):
        raise ProfileInvalid(f"the model has {len(model.inputs)} inputs, --columns names {len(names)}")
    features = frozenset(there)
    return [
        _place(spec, names[at] if single and names else spec.name, features) for at, spec in enumerate(model.inputs)
    ]


def _place(spec: TensorSpec, name: str, there: Collection[str]) -> Place:
    shape = spec.shape or ()
    if name not in there or shape[1:] not in ((), (1,)):
        raise ProfileInvalid(
            f"input {spec.name!r} with the shape {list(shape)} has no column of the same name in the data "
            f"({', '.join(there)}), or is not one value per row"
        )
    return Place(name, spec, 0)


def _values(found: Any, place: Place) -> Values:
    """One column as the model sees it; null is "" in text and NaN among floats."""
    datatype = place.spec.datatype
    try:
        values = plain(found, datatype.kind)
    except ValueError as error:
        raise ProfileInvalid(
            f"column {place.name!r} is {found.type}, but input {place.spec.name!r} takes {datatype.name} ({error}); "
            "choose the model's columns with --columns"
        ) from error
    if datatype.kind in "iub" and any(isinstance(value, float) and math.isnan(value) for value in values):
        raise ProfileInvalid(f"column {place.name!r} has missing values, which {datatype.name} can't carry")
    try:
        return converted(values, place.spec.name, datatype, strict=False)
    except MalformedRequest as error:
        row = next(row for row, value in enumerate(values) if not _fits(value, place.spec))
        raise ProfileInvalid(
            f"column {place.name!r} has {shown(values[row])} in row {row}, which is no {datatype.name}: the server "
            f"refuses it for input {place.spec.name!r}; mend the data, or choose the model's columns with --columns"
        ) from error


def _fits(value: Any, spec: TensorSpec) -> bool:
    try:
        converted([value], spec.name, spec.datatype, strict=False)
    except MalformedRequest:
        return False
    return True
