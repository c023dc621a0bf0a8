"""Tables: what of a file can be a feature, which rows make a window, and every way in which a file is of no use."""

import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from headgate_serving.authoring.table import column, natural, no_feature, numbers, read_table, values_for
from headgate_serving.authoring.windows import windows_of
from headgate_serving.errors import ProfileInvalid
from headgate_serving.monitor.bins import CategoryBins, NumericBins, bins_of, counts_by_window

DAY = datetime.datetime(2026, 11, 20)


def table(**columns: object) -> pa.Table:
    return pa.table(columns)


def parquet_file(folder: Path, **columns: object) -> Path:
    parquet.write_table(pa.table(columns), folder / "rows.parquet")
    return folder / "rows.parquet"


def csv_file(folder: Path, text: str | bytes) -> Path:
    place = folder / "rows.csv"
    place.write_bytes(text if isinstance(text, bytes) else text.encode())
    return place


def test_a_fraction_far_down_makes_a_column_of_whole_numbers_one_of_fractions(tmp_path: Path) -> None:
    text = "a\n" + "1\n" * 1_200_000 + "0.5\n"
    assert read_table(csv_file(tmp_path, text))["a"].type == pa.float64()


BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "can't read"),
    "only a header": ("a,b\n", "has no rows"),
    "a ragged row": ("a,b\n1,2\n3\n", "Expected 2 columns, got 1"),
    "a column twice": ("a,a\n1,2\n", "the column 'a' twice"),
    "a header that is no text": (b"\xff\xfe,b\n1,2\n", "can't read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_of_no_use_says_so_in_one_line(tmp_path: Path, name: str) -> None:
    text, reason = BAD_FILES[name]
    with pytest.raises(ProfileInvalid) as raised:
        read_table(csv_file(tmp_path, text))
    assert reason in str(raised.value)
    assert "rows.csv" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_other_places_and_forms_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_text("no parquet")
    (tmp_path / "folder.csv").mkdir()
    for place in ("rows.parquet", "folder.csv", "missing.csv", "rows.xlsx"):
        with pytest.raises(ProfileInvalid, match=place):
            read_table(tmp_path / place)


NATURAL = {
    "whole numbers": (pa.array([1, None, 3]), [1.0, math.nan, 3.0]),
    "booleans": (pa.array([True, False, None]), [1.0, 0.0, math.nan]),
    "decimals": (pa.array([1, 2], pa.decimal128(5, 1)), [1.0, 2.0]),
    "texts": (pa.array(["a", None, ""]), ["a", "", ""]),
    "large texts": (pa.array(["a"], pa.large_string()), ["a"]),
    "a dictionary": (pa.array(["b", "a", "b"]).dictionary_encode(), ["b", "a", "b"]),
    "nulls": (pa.nulls(2), [math.nan, math.nan]),
}


@pytest.mark.parametrize("name", NATURAL)
def test_values_are_numbers_or_texts(name: str) -> None:
    found, expected = NATURAL[name]
    values = natural(column(table(x=found), "x")).tolist()
    assert np.array_equal(np.array(values, object).astype(str), np.array(expected, object).astype(str))


@pytest.mark.parametrize(
    "found",
    [pa.array([DAY]), pa.array([DAY.date()]), pa.array([[1, 2]]), pa.array([{"a": 1}]), pa.array([b"\xff"])],
    ids=["time", "date", "list", "struct", "bytes"],
)
def test_what_is_neither_says_why(found: pa.Array) -> None:
    with pytest.raises(ValueError, match=r"time|more than one|bytes"):
        natural(found)


N = 200
FEATURES: dict[str, tuple[Sequence[object] | np.ndarray[Any, Any], str | None]] = {
    "an id that counts": (np.arange(N) + 5, "an id"),
    "an id in any order, of many rows": (np.random.default_rng(1).permutation(2000), "an id"),
    "a whole number in any order, of few rows": (np.random.default_rng(1).permutation(N), None),
    "fractions": (np.arange(N) / 7, None),
    "a text of its own in each row": ([f"u{n}" for n in range(N)], "text of its own"),
    "many categories": ([f"u{n % 90}" for n in range(N)], None),
    "one value": (np.full(N, 7), "same value"),
    "one value or none": ([7.0, math.nan] * 10, None),
    "one text": (["EUR"] * N, "same value"),
    "nothing": (np.full(N, math.nan), "not one row"),
    "no text": ([""] * N, "not one row"),
    "few rows of different numbers": ([1, 2, 3], None),
}


@pytest.mark.parametrize("name", FEATURES)
def test_what_is_no_feature_is_told_apart(name: str) -> None:
    values, reason = FEATURES[name]
    array = np.array(values, object) if isinstance(values[0], str) else np.asarray(values, np.float64)
    why = no_feature(array)
    assert why is None if reason is None else reason in (why or "")


def counted(bins: NumericBins | CategoryBins, found: pa.Array) -> dict[str, int]:
    values = values_for(bins, table(x=found), "x")
    return {name: n for name, n in zip(bins.labels(), bins.count(values).tolist(), strict=True) if n}


DIGITS, WORDS, FLAGS = CategoryBins(("1", "2")), CategoryBins(("MA", "NY")), CategoryBins(("True", "False"))
FORMS: dict[str, tuple[NumericBins | CategoryBins, pa.Array, dict[str, int]]] = {
    "numbers as they were": (DIGITS, pa.array([1, 2, 9]), {"c00 1": 1, "c01 2": 1, "unseen": 1}),
    "numbers that are written as texts": (DIGITS, pa.array(["1", "x", ""]), {"c00 1": 1, "unseen": 1, "missing": 1}),
    "numbers with a point as texts": (DIGITS, pa.array(["1.0", "2.0", None]), {"c00 1": 1, "c01 2": 1, "missing": 1}),
    "texts that are read as numbers": (CategoryBins(("x", "1")), pa.array([1.0, None]), {"c01 1": 1, "missing": 1}),
    "texts that were fractions": (CategoryBins(("1.0", "x")), pa.array([1.0, 1.0]), {"c00 1.0": 2}),
    "booleans that were texts": (FLAGS, pa.array([True, False, None]), {"c00 True": 1, "c01 False": 1, "missing": 1}),
    "new words only": (WORDS, pa.array(["CA", "CA"]), {"unseen": 2}),
    "new numbers only": (DIGITS, pa.array([7, 8]), {"unseen": 2}),
    "nothing": (WORDS, pa.nulls(2), {"missing": 2}),
    "no number": (NumericBins((0.0, 1.0)), pa.nulls(2), {"missing": 2}),
    "numbers too large for the model": (NumericBins((0.0, 1.0)), pa.array([1e300, -1e300]), {"above": 1, "below": 1}),
    "numbers as texts": (NumericBins((0.0, 1.0)), pa.array(["0.5", "7"]), {"n00 [0,1]": 1, "above": 1}),
}


@pytest.mark.parametrize("name", FORMS)
def test_values_are_counted_in_the_profiles_form(name: str) -> None:
    bins, found, expected = FORMS[name]
    assert counted(bins, found) == expected


@pytest.mark.parametrize(
    ("bins", "found"),
    [
        (NumericBins((0.0, 1.0)), pa.array(["a", "b"])),
        (NumericBins((0.0, 1.0)), pa.array([DAY])),
        (NumericBins((0.0, 1.0)), pa.array([[1.0]])),
        (WORDS, pa.array([1.5, 2.5])),
        (DIGITS, pa.array(["MA", "NY"])),
        (WORDS, pa.array([DAY])),
        (WORDS, pa.array([b"\xff"])),
    ],
)
def test_a_column_of_another_type_is_refused(bins: NumericBins | CategoryBins, found: pa.Array) -> None:
    with pytest.raises(ProfileInvalid, match=r"column 'x' is .* in the profile"):
        values_for(bins, table(x=found), "x")


@given(st.lists(st.sampled_from([0.1, 0.7, 1 / 3, 2.5]) | st.floats(-10, 10), min_size=12, max_size=60))
def test_a_profile_of_a_models_floats_holds_the_values_that_it_was_made_of(reference: list[float]) -> None:
    live = np.array([*reference, *[0.7] * len(reference)])
    bins = bins_of(live.astype(np.float32))
    if isinstance(bins, NumericBins):
        assert np.array_equal(bins.count(values_for(bins, table(x=live), "x")), bins.count(live.astype(np.float32)))


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=50))
def test_counts_by_window_are_the_counts_of_each_window(rows: list[tuple[int, float]]) -> None:
    window, values = np.array([w for w, _ in rows]), np.array([v for _, v in rows])
    for bins in (NumericBins((0.0, 0.5, 0.9)), CategoryBins(("0", "1"))):
        together = counts_by_window(bins, values, window, 5)
        for number in range(5):
            assert together[number].tolist() == bins.count(values[window == number]).tolist()


def test_windows_of_rows() -> None:
    found = windows_of(table(x=range(7)), "3", None)
    assert found.names == ("rows 1-3", "rows 4-6", "rows 7-7")
    assert found.of_row.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert windows_of(table(x=range(7)), None, None).names == ("rows 1-7",)
    assert windows_of(table(x=range(7)), "99999999999999999999", None).names == ("rows 1-7",)
    assert windows_of(table(**{"3": [2, 1]}), "3", None).names == ("3=1", "3=2")


@pytest.mark.parametrize(
    ("values", "names"),
    [([2018, 2016, 2018], ("x=2016", "x=2018")), (["b", "a"], ("x=a", "x=b")), ([True, False], ("x=False", "x=True"))],
)
def test_windows_of_a_columns_values_are_in_their_order(values: list[object], names: tuple[str, ...]) -> None:
    found = windows_of(table(x=values), "x", None)
    assert found.names == names
    assert [found.names[at] for at in found.of_row] == [f"x={value}" for value in values]


HOURS = [DAY + datetime.timedelta(hours=h) for h in (0, 30, 47, 100)]
TIMES = {
    "times": pa.array(HOURS),
    "times with a zone": pa.array(HOURS, pa.timestamp("us", tz="UTC")),
    "texts": [f"{h:%Y/%m/%d %H:%M}" for h in HOURS],
    "texts in the standard's form": [f"{h:%Y-%m-%dT%H:%M:%SZ}" for h in HOURS],
}


@pytest.mark.parametrize("name", TIMES)
def test_windows_of_time_begin_with_the_first_row(name: str) -> None:
    found = windows_of(table(x=TIMES[name]), "x", "1d")
    assert found.of_row.tolist() == [0, 1, 1, 2]
    assert found.names == ("from 2026-11-20 00:00:00", "from 2026-11-21 00:00:00", "from 2026-11-24 00:00:00")


def test_windows_of_days_of_dates() -> None:
    assert windows_of(table(x=[h.date() for h in HOURS]), "x", "2d").of_row.tolist() == [0, 0, 0, 1]


BAD_WINDOWS = {
    "no rows": ("0", None, "whole number from 1"),
    "more rows than a number has digits for": ("9" * 5000, None, "whole number from 1"),
    "less than none": ("-5", None, "whole number from 1"),
    "a fraction": ("1.5", None, "whole number from 1"),
    "no column": ("y", None, "no column 'y'"),
    "lists": ("lists", None, "can't be put in order|rows can't"),
    "holes": ("holes", None, "1 rows have no value"),
    "nothing": ("void", None, "no value"),
    "times without a column": (None, "7d", "--every needs --by"),
    "no length": ("at", "7 days", "such as 30m"),
    "no time at all": ("at", "0d", "such as 30m"),
    "numbers": ("n", "7d", "does not have a time in every row .it is int64"),
    "words": ("words", "7d", "does not have a time in every row"),
    "times with holes": ("holes", "7d", "1 rows have none"),
    "too many": ("1", None, "makes 30000 windows"),
    "too many values": ("n", None, "makes 30000 windows"),
    "too many seconds": ("at", "1s", "makes 30000 windows"),
}


@pytest.mark.parametrize("name", BAD_WINDOWS)
def test_windows_that_can_not_be_made_say_why(name: str) -> None:
    by, every, reason = BAD_WINDOWS[name]
    n = 30_000
    rows = table(
        n=range(n),
        lists=[[1]] * n,
        holes=["2026-01-01", None] + ["2026-01-02"] * (n - 2),
        void=pa.nulls(n),
        words=["a"] * n,
        at=pa.array(np.arange(n) * 1000, pa.timestamp("ms")),
    )
    with pytest.raises(ProfileInvalid, match=reason):
        windows_of(rows, by, every)


def test_numbers_are_parsed_and_times_are_none() -> None:
    assert numbers(pa.array(["1.5", None])).tolist()[0] == 1.5
    with pytest.raises(ValueError, match="times"):
        numbers(pa.array([DAY]))


def test_a_file_in_parquet_is_read(tmp_path: Path) -> None:
    assert read_table(parquet_file(tmp_path, a=[1, 2])).num_rows == 2
