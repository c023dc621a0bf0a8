"""Columns that are pandas' index: every row has its own, so they are no feature. `reference.py` leaves them out.

Parquet files of pandas say which columns those are. Where another tool has written the file anew, and in CSV, only
names are left: `__index_level_0__`, and first columns without a name (`Unnamed: 0` after one more round).
"""

import re
from collections.abc import Collection, Iterator
from itertools import takewhile
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_LEVEL = re.compile(r"__index_level_\d+__")
_NAMELESS = re.compile(r"(Unnamed: \d+(\.\d+)?)?")


def without_index(table: Any, keep: Collection[str]) -> tuple[Any, dict[str, str]]:
    """The table without its index, and what was left out with the reason why; columns in `keep` stay."""
    found = {name: why for name, why in _index_columns(table) if name not in keep}
    told = {name or "first column": f"{why}; if it is a feature, name it with --columns" for name, why in found.items()}
    return (table.drop_columns(list(found)), told) if found else (table, {})


def _index_columns(table: Any) -> Iterator[tuple[str, str]]:
    there = table.column_names
    said = _said_by_pandas(table.schema)
    for name in there:
        if name in said or _LEVEL.fullmatch(name):
            yield name, "pandas' index"
    for name in takewhile(_NAMELESS.fullmatch, there):
        if name not in said and _counts_rows(table[name]):
            yield name, "it has no name and a value for each row: pandas' index"


def _said_by_pandas(schema: Any) -> set[str]:
    """Names of index columns; a range, which is no column, is described by an object instead."""
    try:
        described = (schema.pandas_metadata or {}).get("index_columns", [])
    except ValueError:  # damaged metadata tell nothing
        return set()
    return {name for name in described if isinstance(name, str)}


def _counts_rows(column: Any) -> bool:
    """Whether the values are numbers of rows, or as different as the rows are."""
    if column.null_count:
        return False
    return bool(pa.types.is_integer(column.type) or pc.count_distinct(column).as_py() == len(column))
