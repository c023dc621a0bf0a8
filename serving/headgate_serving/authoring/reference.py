"""From a table of reference rows and the model's file to a profile: what `headgate profile` does.

Feeds the rows to the model in the form that its inputs have (one matrix of all columns in order, or one input per
column of the same name), and hands inputs and answers to `build_profile`. Without a model every column that can be a
feature is one, an input of its own.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProfileInvalid
from ..monitor.performance import class_names
from ..monitor.profile import Column, Label, Profile, build_profile
from ..runtime.model import Model, load_model
from .inputs import batch, model_columns
from .invalid import Invalid, invalid_answers
from .pandas_index import doubtful, without_index
from .table import column, natural, no_feature, read_table, with_texts

Values = NDArray[Any]
Progress = Callable[[int, int], None]
"""Takes how many rows the model has answered, and how many there are."""

_BATCH = 256
"""Rows: few enough that a slow model shows progress, and that a batch of images fits into memory."""


@dataclass(frozen=True)
class Reference:
    """What reference rows tell."""

    profile: Profile
    left_out: dict[str, str]
    """What is not in the profile, with the reason why."""
    invalid: tuple[Invalid, ...] = ()
    """Answers that are NaN or infinite."""
    doubtful: tuple[str, ...] = ()
    """Features without a name, which may be pandas' index."""


def _silent(done: int, rows: int) -> None: ...


def reference_of(
    model_path: Path | None,
    data: Path,
    names: Sequence[str] | None,
    label: str | None = None,
    progress: Progress = _silent,
) -> Reference:
    """The profile of the rows in `data` (.csv or .parquet); ProfileInvalid if there can't be one.

    `names` are the columns to take, in the model's order; `label` is the column with the true classes, no feature.
    `progress` is called before the model's first run and after each; a run has no limit of time.
    """
    table = read_table(data)
    model = load_model(model_path) if model_path else None
    left_out: dict[str, str] = {}
    truth = _label(_with_label(model, data, table, label), label, left_out) if label else None
    if names:
        _check_names(table, names, label)
    if model is None:
        table, index = without_index(table, _asked(names, label, None))
        columns = _natural(table, names, label, left_out)
        found = _profiled(columns, {}, None, left_out | index)
    else:
        columns, index = _fed(model, data, table, names, label)
        found = _profiled(columns, _answers(model, columns, progress), truth, left_out | index, model.classes)
    features = {feature.name for feature in found.profile.features}
    return replace(found, doubtful=doubtful(table, features, _asked(names, label, model)))


def examples_of(
    model: Model, data: Path, names: Sequence[str] | None, label: str | None, count: int
) -> dict[int, dict[str, Values]]:
    """Row number in `data` → inputs of a batch of one.

    At most `count` rows, evenly spread over those that miss nothing.
    """
    table = read_table(data)
    columns, _ = _fed(model, data, table, names, label)
    whole = np.ones(table.num_rows, np.bool_)
    for one in columns:
        whole &= one.values != "" if one.values.dtype.kind == "O" else np.isfinite(one.values)
    rows = np.flatnonzero(whole)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))]
    return {int(row): batch(model, columns, slice(int(row), int(row) + 1)) for row in chosen}


def _fed(
    model: Model, data: Path, table: Any, names: Sequence[str] | None, label: str | None
) -> tuple[list[Column], dict[str, str]]:
    """The columns that the model reads, and pandas' index, which it doesn't."""
    features, index = without_index(table, _asked(names, label, model))
    there = [name for name in features.column_names if name != label]
    try:
        return model_columns(model, data, table, names, there), index
    except ProfileInvalid as error:
        raise ProfileInvalid(f"{error} (left out: {_reasons(index)})" if index else str(error)) from error


def _asked(names: Sequence[str] | None, label: str | None, model: Model | None) -> set[str]:
    """Columns that somebody has named: the user, or the model as inputs."""
    return {*(names or ()), *([label] if label else ()), *(spec.name for spec in (model.inputs if model else ()))}


def _profiled(
    columns: list[Column],
    answers: dict[str, Values],
    truth: Label | None,
    left_out: dict[str, str],
    classes: Mapping[str, tuple[str, ...]] | None = None,
) -> Reference:
    profile, more = build_profile(columns, answers, truth, classes) if columns else (None, {})
    if profile and (profile.features or profile.outputs):
        return Reference(profile, left_out | more, invalid_answers(columns, answers))
    why = _reasons(left_out | more)
    raise ProfileInvalid(f"no column can be a feature ({why}); name others with --columns a,b,c")


def _reasons(left_out: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in left_out.items())


def _check_names(table: Any, names: Sequence[str], label: str | None) -> None:
    for name, times in Counter(names).items():
        column(table, name)
        if name == label:
            raise ProfileInvalid(f"column {name!r} is the label and can't be a feature too; take it out of --columns")
        if times > 1:
            raise ProfileInvalid(f"--columns names {name!r} twice")


def _with_label(model: Model | None, data: Path, table: Any, label: str) -> Any:
    """The table, with the label as text if the model answers with text: its class is `007`, and not 7."""
    column(table, label)
    answers_text = model is not None and any(spec.datatype.kind == "O" for spec in model.outputs)
    return with_texts(data, table, [label]) if answers_text else table


def _label(table: Any, label: str, left_out: dict[str, str]) -> Label | None:
    try:
        classes = class_names(natural(column(table, label)))
    except ValueError as error:
        raise ProfileInvalid(f"column {label!r} can't be a label: {error}") from error
    if classes is None:
        left_out["accuracy"] = f"the label {label!r} is a number and no class"
        return None
    return Label(label, classes)


def _natural(table: Any, names: Sequence[str] | None, label: str | None, left_out: dict[str, str]) -> list[Column]:
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


def _answers(model: Model, columns: list[Column], progress: Progress) -> dict[str, Values]:
    """The model's answers to all rows, in batches; one by one where the model's batch size is fixed to 1."""
    rows = len(columns[0].values) if columns else 0
    fixed = {spec.shape[0] for spec in model.inputs if spec.shape and spec.shape[0] > 0}
    size = min(fixed, default=_BATCH)
    if fixed and size != 1:
        raise ProfileInvalid(f"the model takes exactly {size} rows at a time; export it with a free first dimension")
    outputs = [spec.name for spec in model.outputs]
    pieces = []
    progress(0, rows)
    for start in range(0, rows, size):
        pieces.append(model.run(batch(model, columns, slice(start, start + size)), outputs))
        progress(min(start + size, rows), rows)
    if not pieces:
        return {}
    return {name: np.concatenate([np.atleast_1d(piece[name]) for piece in pieces]) for name in outputs}
