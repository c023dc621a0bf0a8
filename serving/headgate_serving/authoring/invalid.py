"""Answers of the model to its reference rows that are NaN or infinite: users would get them too.

`headgate profile` and `headgate package` say them, and fail on them with `--strict`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..monitor.profile import Column

Values = NDArray[Any]

_MOST = 5  # columns or numbers that are shown
_brief = Repr()
_brief.maxstring = _brief.maxother = 30


@dataclass(frozen=True)
class Invalid:
    """Answers of one output with at least one number that is NaN or infinite.

    `first` is the number of the first of them, from 0: that of its row, where the model gives one answer for each.
    """

    output: str
    count: int
    answers: int
    first: int
    answer: str
    row: str
    """The inputs of that row, shortened; "" where answers are not of rows."""

    def __str__(self) -> str:
        where = f"row {self.first} ({self.row})" if self.row else f"answer {self.first}"
        return (
            f"{self.output} is NaN or infinite in {self.count} of {self.answers} answers, first in {where}: "
            f"{self.answer}"
        )


def invalid_answers(columns: Sequence[Column], answers: Mapping[str, Values]) -> tuple[Invalid, ...]:
    """One for each output that has such answers; their first axis is that of the rows, or of something else."""
    found = ((name, values, _where(values)) for name, values in answers.items())
    return tuple(_invalid(columns, name, values, where) for name, values, where in found if len(where))


def _where(values: Values) -> NDArray[np.intp]:
    if values.dtype.kind != "f":
        return np.empty(0, np.intp)
    return np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))


def _invalid(columns: Sequence[Column], name: str, values: Values, where: NDArray[np.intp]) -> Invalid:
    first = int(where[0])
    of_rows = len(columns) > 0 and len(values) == len(columns[0].values)
    shown = [f"{one.name}={_short(one.values[first])}" for one in columns[:_MOST]] if of_rows else []
    row = ", ".join([*shown, "…"] if len(columns) > _MOST and of_rows else shown)
    return Invalid(name, len(where), len(values), first, _numbers(values[first]), row)


def _numbers(answer: Values) -> str:
    """One number, or the first of many."""
    if answer.ndim == 0:
        return _short(answer)
    flat = answer.ravel()
    return "[" + ", ".join([_short(value) for value in flat[:_MOST]] + (["…"] if flat.size > _MOST else [])) + "]"


def _short(value: Any) -> str:
    return f"{value:.6g}" if np.asarray(value).dtype.kind == "f" else _brief.repr(np.asarray(value).tolist())
