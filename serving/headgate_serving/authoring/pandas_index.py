"""Columns that are pandas' index: every row has its own, so they are no feature. `reference.py` leaves them out.

Parquet files of pandas say which columns those are. Where another tool has written the file anew, and in CSV, only
names are left: `__index_level_0__`, and first columns without a name (`Unnamed: 0` after one more round). The latter
may be features too, so they are an index only if all rows have different values that can name a row: whole numbers,
texts or times. What is kept nevertheless is told as well.
"""

import re
from collections.abc import Collection, Iterator
from itertools import takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .table import column, is_text, numbers

_LEVEL = re.compile(r"__index_level_\d+__")
_NAMELESS = re.compile(r"(Unnamed: 0(\.\d+)*)?")


def without_index(table: Any, keep: Collection[str]) -> tuple[Any, dict[str, str]]:
    """The table without its index, and what was left out with the reason why; columns in `keep` stay."""
    found = {name: why for name, why in _index_columns(table) if name not in keep}
    told = {_shown(name): f"{why}; if it is a feature, name it with --columns" for name, why in found.items()}
    return (table.drop_columns(list(found)), told) if found else (table, {})


def doubtful(table: Any, features: Collection[str], keep: Collection[str]) -> tuple[str, ...]:
    """Features that have the name and the place of an index, but not its values; none of those in `keep`."""
    first = takewhile(_NAMELESS.fullmatch, table.column_names)
    return tuple(_shown(name) for name in first if name in features and name not in keep)


def _shown(name: str) -> str:
    return name or "first column"


def _index_columns(table: Any) -> Iterator[tuple[str, str]]:
    there = table.column_names
    said = _said_by_pandas(table.schema)
    for name in there:
        if name in said or _LEVEL.fullmatch(name):
            yield name, "pandas' index"
    for name in takewhile(_NAMELESS.fullmatch, there):
        if name not in said and _names_rows(column(table, name)):
            yield name, "it has no name, and another value in each row: pandas' index"


def _said_by_pandas(schema: Any) -> set[str]:
    """Names of index columns; a range, which is no column, is described by an object instead."""
    try:
        described = (schema.pandas_metadata or {}).get("index_columns", [])
    except ValueError:  # damaged metadata tell nothing
        return set()
    return {name for name in described if isinstance(name, str)}


def _names_rows(found: Any) -> bool:
    """Whether each row has a value of its own that can be its name; measured values are often all different too."""
    kind = found.type
    if found.null_count:
        return False
    if pa.types.is_floating(kind):
        values = numbers(found)
        names = bool(np.all(values == np.floor(values)))
    else:
        names = pa.types.is_integer(kind) or pa.types.is_temporal(kind) or is_text(kind)
    return names and len(pc.unique(found)) == len(found)
