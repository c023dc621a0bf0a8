"""From a table of reference rows and the model's file to a profile: what `headgate profile` does.

Feeds the rows to the model in the form that its inputs have (one matrix of all columns in order, or one input per
column of the same name), and hands inputs and answers to `build_profile`. Without a model every column that can be a
feature is one, an input of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProfileInvalid
from ..server.model import Model, TensorSpec, load_model
from .performance import class_names
from .profile import Column, Label, Profile, build_profile
from .table import column, natural, no_feature, numbers, read_table, texts

Values = NDArray[Any]

_BATCH = 4096


def profile_of(
    model_path: Path | None, data: Path, names: Sequence[str] | None, label: str | None = None
) -> tuple[Profile, dict[str, str]]:
    """The profile of the rows in `data` (.csv or .parquet), and what was left out with the reason why.

    `names` are the columns to take, in the model's order; `label` is the column with the true classes, no feature.
    """
    table = read_table(data)
    left_out: dict[str, str] = {}
    truth = _label(table, label, left_out) if label else None
    chosen = list(names) if names else None
    if chosen is not None:
        _check_names(table, chosen, label)
    if model_path is None:
        columns = _natural(table, chosen, label, left_out)
        return _profiled(columns, {}, None, left_out)
    model = load_model(model_path)
    there = [name for name in table.column_names if name != label]
    columns = _placed(model, table, chosen, there)
    return _profiled(columns, _answers(model, columns), truth, left_out)


def examples_of(
    model: Model, data: Path, names: Sequence[str] | None, label: str | None, count: int
) -> dict[int, dict[str, Values]]:
    """Row number in `data` → inputs of a batch of one.

    At most `count` rows, evenly spread over those that miss nothing.
    """
    table = read_table(data)
    columns = _placed(model, table, list(names) if names else None, [n for n in table.column_names if n != label])
    whole = np.ones(table.num_rows, np.bool_)
    for one in columns:
        whole &= one.values != "" if one.values.dtype.kind == "O" else np.isfinite(one.values)
    rows = np.flatnonzero(whole)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]
    return {int(row): _batch(model, columns, slice(int(row), int(row) + 1)) for row in chosen}


def _profiled(
    columns: list[Column], answers: dict[str, Values], truth: Label | None, left_out: dict[str, str]
) -> tuple[Profile, dict[str, str]]:
    profile, more = build_profile(columns, answers, truth) if columns else (None, {})
    if profile and (profile.features or profile.outputs):
        return profile, left_out | more
    why = "; ".join(f"{name}: {reason}" for name, reason in (left_out | more).items())
    raise ProfileInvalid(f"no column can be a feature ({why}); name others with --columns a,b,c")


def _check_names(table: Any, names: list[str], label: str | None) -> None:
    for name in names:
        column(table, name)
        if name == label:
            raise ProfileInvalid(f"column {name!r} is the label and can't be a feature too; take it out of --columns")
        if names.count(name) > 1:
            raise ProfileInvalid(f"--columns names {name!r} twice")


def _label(table: Any, label: str, left_out: dict[str, str]) -> Label | None:
    try:
        classes = class_names(natural(column(table, label)))
    except ValueError as error:
        raise ProfileInvalid(f"column {label!r} can't be a label: {error}") from error
    if classes is None:
        left_out["accuracy"] = f"the label {label!r} is a number and no class"
        return None
    return Label(label, classes)


def _natural(table: Any, names: list[str] | None, label: str | None, left_out: dict[str, str]) -> list[Column]:
    """Every column that can be a feature, or those that were asked for."""
    columns = []
    for name in names or [name for name in table.column_names if name != label]:
        try:
            values = natural(column(table, name))
            why = None if names else no_feature(values)
        except ValueError as error:
            if names:
                raise ProfileInvalid(f"column {name!r} can't be a feature: {error}") from error
            why = str(error)
        if why:
            left_out[name] = why
        else:
            columns.append(Column(name, name, 0, values))
    return columns


def _placed(model: Model, table: Any, names: list[str] | None, there: list[str]) -> list[Column]:
    """Where the model reads each column of the table; `there` are those that may be features."""
    single = model.inputs[0] if len(model.inputs) == 1 else None
    if single and len(single.shape) == 2 and single.shape[1] != 1:
        chosen = names or there
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
        if name not in there or spec.shape[1:] not in ((), (1,)):
            raise ProfileInvalid(
                f"input {spec.name!r} with the shape {list(spec.shape)} has no column of the same name in the data "
                f"({', '.join(there)}), or is not one value per row"
            )
        placed.append(Column(name, spec.name, 0, _values(table, name, spec)))
    return placed


def _values(table: Any, name: str, spec: TensorSpec) -> Values:
    """One column as the model sees it; null is "" in text and NaN among numbers."""
    found = column(table, name)
    if spec.datatype.kind == "O":
        return texts(found)
    try:
        values = numbers(found)
    except ValueError as error:
        raise ProfileInvalid(
            f"column {name!r} is {found.type}, but input {spec.name!r} takes {spec.datatype.name}; "
            "choose the model's columns with --columns"
        ) from error
    if spec.datatype.kind != "f":
        if np.isnan(values).any():
            raise ProfileInvalid(f"column {name!r} has missing values, which {spec.datatype.name} can't carry")
        return np.asarray(values.astype(spec.datatype.dtype))
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(spec.datatype.dtype))


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
