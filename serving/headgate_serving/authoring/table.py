"""Tables of rows in files, column by column: what `headgate profile` and `headgate drift` read.

CSV or Parquet, read whole. Every way in which a file or a column can be of no use ends in ProfileInvalid with one line
that says which file, which column, and what to do.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from ..errors import ProfileInvalid
from ..monitor.bins import TOP, Bins, NumericBins, category_name, is_number

Values = NDArray[Any]

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}
_MANY = 1000
_LARGEST_BLOCK = 1 << 30


def read_table(path: Path, texts: Collection[str] = ()) -> Any:
    """A pyarrow table with at least one row; ProfileInvalid if the file can't be read.

    In CSV the types of columns are guessed; those in `texts` are text as it stands there.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ProfileInvalid(f"{path}: the data has to be a .csv or a .parquet file")
    try:
        with one_line():
            table = parquet.read_table(path) if kind == "parquet" else _read_csv(path, texts)
            names = Counter(table.column_names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ProfileInvalid(f"can't read {path}: {str(error) or type(error).__name__}") from error
    twice = sorted(name for name, times in names.items() if times > 1)
    if twice:
        raise ProfileInvalid(f"{path} has the column {twice[0]!r} twice; rename or remove one of them")
    if not table.num_rows:
        raise ProfileInvalid(f"{path} has no rows")
    return table


def with_texts(path: Path, table: Any, names: Collection[str]) -> Any:
    """The table of that file with these columns as text, as it stands there, if the file does not tell their types."""
    guessed = [name for name in names if not is_text(table.schema.field(name).type)]
    return read_table(path, guessed) if guessed and SUFFIXES.get(path.suffix.lower()) == "csv" else table


def _read_csv(path: Path, texts: Collection[str]) -> Any:
    # Types are guessed from the first block, so all of the file is one: a first fraction may come late.
    block = min(max(path.stat().st_size + 1, 1 << 16), _LARGEST_BLOCK)
    types = csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string()))
    return csv.read_csv(path, csv.ReadOptions(block_size=block), convert_options=types)


@contextmanager
def one_line() -> Iterator[None]:
    """Errors of pyarrow with the first line of their message only."""
    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(str(error).splitlines()[0]) from error


def column(table: Any, name: str) -> Any:
    """One column as a single array, decoded if it is a dictionary; ProfileInvalid if it is not there."""
    place = table.schema.get_field_index(name)
    if place < 0:
        raise ProfileInvalid(f"the data has no column {name!r}; it has {', '.join(table.column_names)}")
    found = table.column(place)
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    return found.combine_chunks()


def is_text(type_: Any) -> bool:
    """Whether a column of this type holds strings."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def texts(found: Any) -> Values:
    """A column as strings, null as ""."""
    return np.array(["" if value is None else str(value) for value in found.to_pylist()], object)


def numbers(found: Any) -> Values:
    """A column as float64, null as NaN; ValueError if its values are no numbers."""
    with one_line():
        if pa.types.is_temporal(found.type):
            raise ValueError("times are no numbers")
        return np.asarray(pc.cast(found, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def plain(found: Any, kind: str) -> list[Any]:
    """A column as a client would write it in JSON, for a tensor of numpy's `kind`; null is None, among numbers NaN.

    No value is changed: whole numbers that are stored as floats, text or decimals are whole again, and what is none
    stays as it is. ValueError says why a column can't be written so at all.
    """
    if kind == "O":
        return _plain_texts(found)
    values: list[Any] = _stored(found, kind).to_numpy(zero_copy_only=False).tolist()
    if kind == "f":
        return values
    values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return [bool(value) if value in (0, 1) else value for value in values] if kind == "b" else values


def _plain_texts(found: Any) -> list[Any]:
    if not (is_text(found.type) or pa.types.is_integer(found.type) or pa.types.is_null(found.type)):
        raise ValueError("there are several ways to write it as text: write the one that the model knows into the data")
    return [value if value is None else str(value) for value in found.to_pylist()]


def _stored(found: Any, kind: str) -> Any:
    """A column of numbers as exact as it is stored: float64 holds no whole number beyond 2^53 exactly."""
    if pa.types.is_integer(found.type) or pa.types.is_floating(found.type):
        return found
    if kind in "iu" and (is_text(found.type) or pa.types.is_decimal(found.type)):
        with suppress(pa.ArrowException):
            return found.cast(pa.uint64() if kind == "u" else pa.int64())
    return pa.array(numbers(found))


def natural(found: Any) -> Values:
    """Numbers and booleans as float64, strings as objects; ValueError says why a column can be neither."""
    kind = found.type
    if is_text(kind):
        return texts(found)
    if pa.types.is_temporal(kind):
        raise ValueError("a time")
    if pa.types.is_nested(kind):
        raise ValueError(f"{kind} is more than one value per row")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        raise ValueError("bytes that are no text in UTF-8")
    return numbers(found)


def no_feature(values: Values) -> str | None:
    """Why values, as of `natural`, tell nothing about the data's distribution; None if they may."""
    if values.dtype.kind == "O":
        there = values[values != ""]
        distinct = len(set(there.tolist()))
        if distinct > TOP and 2 * distinct > len(there):
            return "nearly every row has a text of its own (an id, a time or free text)"
    else:
        there = values[~np.isnan(values)]
        distinct = len(np.unique(there))
        whole = distinct > TOP and bool(np.all(there == np.floor(there)))
        if whole and distinct == len(there) and (distinct >= _MANY or bool(np.all(np.diff(there) > 0))):
            return "every row has a whole number of its own (an id)"
    if not len(there):
        return "not one row has a value"
    if distinct == 1 and len(there) == len(values):
        return "all rows have the same value"
    return None


def values_for(bins: Bins, table: Any, name: str) -> Values:
    """A column in the form that bins were made of; ProfileInvalid if it has another type than the profile's."""
    found = column(table, name)
    if isinstance(bins, NumericBins):
        try:
            live = numbers(found)
        except ValueError as error:
            raise ProfileInvalid(_other_type(name, found, "a number", error)) from error
        with np.errstate(over="ignore"):
            return live.astype(np.float32) if _from_float32(bins) else live
    try:
        live = natural(found)
    except ValueError as error:
        raise ProfileInvalid(_other_type(name, found, "a category", error)) from error
    if (bins.codes(live) == len(bins.labels()) - 1).all():
        return live
    for form in _forms(live):
        if (bins.codes(form) <= len(bins.categories)).any():
            return form
    if all(map(is_number, bins.categories)) != (live.dtype.kind == "f"):
        known = ", ".join(bins.categories[:3])
        raise ProfileInvalid(_other_type(name, found, f"a category such as {known}", "not one value is known"))
    return live


def _forms(live: Values) -> Iterator[Values]:
    """A category may be written as a number here and as text there."""
    yield live
    if live.dtype.kind == "O":
        try:
            yield np.array([value or "nan" for value in live.tolist()], object).astype(np.float64)
        except ValueError:
            return
        return
    whole = np.isfinite(live) & (live == np.floor(live))
    for names in (str, category_name, lambda value: str(bool(value))):
        written = [names(v) if ok else str(v) for v, ok in zip(live.tolist(), whole, strict=True)]
        yield np.where(np.isnan(live), "", np.array(written, object))


def _from_float32(bins: NumericBins) -> bool:
    """Whether the profile saw its values as float32, as most models do: then an edge is one, or just below one."""
    edges = np.array(bins.edges)
    above = np.nextafter(edges, np.inf)
    with np.errstate(over="ignore"):
        return bool(np.all((edges.astype(np.float32) == edges) | (above.astype(np.float32) == above)))


def _other_type(name: str, found: Any, expected: str, why: object) -> str:
    return f"column {name!r} is {found.type}, but {expected} in the profile ({why}); is this the data of that model?"
