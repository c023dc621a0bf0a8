"""Which window each row of a table is in: every N rows, the values of a column, or stretches of time.

`headgate drift --by` asks. Windows are in the order of rows, values or times; a window has a name for people.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import ProfileInvalid
from .table import column, is_text, one_line

MOST = 20_000
"""Windows; more of them are a mistake, such as an id for `--by`."""

_MOST_DIGITS = 1000  # of a number of rows; Python refuses to read some thousands of them
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Windows:
    """The names of all windows, and for each row the number of its window."""

    names: tuple[str, ...]
    of_row: NDArray[np.intp]


def windows_of(table: Any, by: str | None, every: str | None) -> Windows:
    """`by`: None for one window, a number of rows, or a column's name; `every`: 7d, 12h, … for a column of times."""
    rows = table.num_rows
    if by is None:
        if every is not None:
            raise ProfileInvalid("--every needs --by with the column that has the time of each row")
        return Windows((f"rows 1-{rows}",), np.zeros(rows, np.intp))
    if every is not None:
        return _by_time(column(table, by), by, every)
    if re.fullmatch(r"[-+]?[0-9.]+", by) and by not in table.column_names:
        return _by_rows(rows, by)
    return _by_value(column(table, by), by)


def _by_rows(rows: int, by: str) -> Windows:
    if not by.isdecimal() or len(by) > _MOST_DIGITS or int(by) == 0:
        raise ProfileInvalid(f"--by {by[:40]}: a number of rows is a whole number from 1 on")
    size = min(int(by), rows)
    starts = range(0, rows, size)
    _check(len(starts), f"--by {by}")
    names = tuple(f"rows {start + 1}-{min(start + size, rows)}" for start in starts)
    return Windows(names, np.arange(rows) // size)


def _by_value(found: Any, by: str) -> Windows:
    if pa.types.is_nested(found.type):
        raise ProfileInvalid(f"--by {by}: the column is {found.type}; rows can't be put in order by it")
    if pa.types.is_null(found.type) or found.null_count:
        raise ProfileInvalid(f"--by {by}: {found.null_count} rows have no value in it; which window are they in?")
    try:
        with one_line():
            encoded = pc.dictionary_encode(found)
            order = pc.sort_indices(encoded.dictionary).to_numpy()
    except ValueError as error:
        raise ProfileInvalid(f"--by {by}: rows can't be put in order by a column of {found.type} ({error})") from error
    _check(len(order), f"--by {by}")
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    values = encoded.dictionary.take(pa.array(order)).to_pylist()
    return Windows(tuple(f"{by}={value}" for value in values), place[encoded.indices.to_numpy()])


def _by_time(found: Any, by: str, every: str) -> Windows:
    length = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", every)
    if not length:
        raise ProfileInvalid(f"--every {every}: write a whole number and a unit, such as 30m, 12h, 7d or 2w")
    step = int(length[1]) * _UNITS[length[2]]
    seconds = _seconds(found, by)
    first = int(seconds.min())
    present, of_row = np.unique((seconds - first) // step, return_inverse=True)
    _check(len(present), f"--every {every}")
    starts = np.array(first + present * step, "datetime64[s]")
    return Windows(tuple(f"from {str(start).replace('T', ' ')}" for start in starts), of_row.astype(np.intp))


def _seconds(found: Any, by: str) -> NDArray[np.int64]:
    """Seconds since 1970 of a column of times, or of texts such as 2026-11-20 12:00 or 2026/11/20."""
    timed = pa.types.is_timestamp(found.type) or pa.types.is_date(found.type)
    if found.null_count or not (timed or is_text(found.type)):
        what = f"{found.null_count} rows have none" if found.null_count else f"it is {found.type}"
        raise ProfileInvalid(f"--every: column {by!r} does not have a time in every row ({what})")
    if timed:
        whole = pa.timestamp("s", getattr(found.type, "tz", None))
        return np.asarray(pc.cast(found, whole, safe=False).cast(pa.int64()).to_numpy(), np.int64)
    try:
        written = [value.replace("/", "-").removesuffix("Z") for value in found.to_pylist()]
        return np.array(written, "datetime64[s]").astype(np.int64)
    except ValueError as error:
        raise ProfileInvalid(f"--every: column {by!r} does not have a time in every row ({error})") from error


def _check(windows: int, option: str) -> None:
    if windows > MOST:
        raise ProfileInvalid(f"{option} makes {windows} windows, more than {MOST}; take larger ones")
