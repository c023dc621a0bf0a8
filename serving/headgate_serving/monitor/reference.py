"""From a table of reference rows and the model's file to a profile: what `headgate profile` does.

Reads CSV or Parquet, feeds the rows to the model in the form that its inputs have (one matrix of all columns in order,
or one input per column of the same name), and hands inputs and answers to `build_profile`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from ..errors import ProfileInvalid
from ..server.model import Model, TensorSpec, load_model
from .profile import Column, Profile, build_profile

Values = NDArray[Any]

_BATCH = 4096


def profile_of(model_path: Path, data: Path, names: Sequence[str] | None) -> tuple[Profile, dict[str, str]]:
    """The profile of the rows in `data` (.csv or .parquet), and what was left out with the reason why."""
    model = load_model(model_path)
    table = read_table(data)
    columns = _placed(model, table, list(names) if names else None)
    return build_profile(columns, _answers(model, columns))


def read_table(path: Path) -> Any:
    """A pyarrow table; ProfileInvalid if the file can't be read."""
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return parquet.read_table(path)
        if path.suffix.lower() == ".csv":
            return csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ProfileInvalid(f"can't read {path}: {error}") from error
    raise ProfileInvalid(f"{path}: the data has to be a .csv or a .parquet file")


def _placed(model: Model, table: Any, names: list[str] | None) -> list[Column]:
    """Where the model reads each column of the table."""
    for name in names or ():
        if name not in table.column_names:
            raise ProfileInvalid(f"the data has no column {name!r}; it has {', '.join(table.column_names)}")
    single = model.inputs[0] if len(model.inputs) == 1 else None
    if single and len(single.shape) == 2 and single.shape[1] != 1:
        chosen = names or list(table.column_names)
        if single.shape[1] not in (-1, len(chosen)):
            raise ProfileInvalid(
                f"input {single.name!r} takes {single.shape[1]} columns, the data has {len(chosen)}: "
                f"{', '.join(chosen)}; choose with --columns a,b,c in the order that the model takes them"
            )
        return [Column(name, single.name, at, _values(table, name, single)) for at, name in enumerate(chosen)]
    if names and len(names) != len(model.inputs):
        raise ProfileInvalid(f"the model has {len(model.inputs)} inputs, --columns names {len(names)}")
    placed = []
    for at, spec in enumerate(model.inputs):
        name = names[at] if single and names else spec.name
        if name not in table.column_names or spec.shape[1:] not in ((), (1,)):
            raise ProfileInvalid(
                f"input {spec.name!r} with the shape {list(spec.shape)} has no column of the same name in the data "
                f"({', '.join(table.column_names)}), or is not one value per row"
            )
        placed.append(Column(name, spec.name, 0, _values(table, name, spec)))
    return placed


def _values(table: Any, name: str, spec: TensorSpec) -> Values:
    """One column as the model sees it; null is "" in text and NaN among numbers."""
    column = table[name].combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if spec.datatype.kind == "O":
        return np.array(["" if value is None else str(value) for value in column.to_pylist()], object)
    try:
        numbers = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ProfileInvalid(
            f"column {name!r} is {column.type}, but input {spec.name!r} takes {spec.datatype.name}; "
            "choose the model's columns with --columns"
        ) from error
    if spec.datatype.kind != "f":
        if np.isnan(numbers).any():
            raise ProfileInvalid(f"column {name!r} has missing values, which {spec.datatype.name} can't carry")
        return np.asarray(numbers.astype(spec.datatype.dtype))
    with np.errstate(over="ignore"):
        return np.asarray(numbers.astype(spec.datatype.dtype))


def _answers(model: Model, columns: list[Column]) -> dict[str, Values]:
    """The model's answers to all rows, in batches; one by one where the model's batch size is fixed to 1."""
    rows = len(columns[0].values) if columns else 0
    fixed = {spec.shape[0] for spec in model.inputs if spec.shape and spec.shape[0] > 0}
    batch = min(fixed, default=_BATCH)
    if batch not in (1, _BATCH):
        raise ProfileInvalid(f"the model takes exactly {batch} rows at a time; export it with a free first dimension")
    outputs = [spec.name for spec in model.outputs]
    pieces = [
        model.run(_batch(model, columns, slice(start, start + batch)), outputs) for start in range(0, rows, batch)
    ]
    if not pieces:
        return {}
    return {name: np.concatenate([np.atleast_1d(piece[name]) for piece in pieces]) for name in outputs}


def _batch(model: Model, columns: list[Column], rows: slice) -> dict[str, Values]:
    feed = {}
    for spec in model.inputs:
        parts = [column.values[rows] for column in columns if column.input == spec.name]
        feed[spec.name] = np.stack(parts, axis=1) if len(spec.shape) == 2 else parts[0]
    return feed
