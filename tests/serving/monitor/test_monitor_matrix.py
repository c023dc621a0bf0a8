"""Features counted together: exactly what each feature's own bins count, whatever the tables are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate_serving.monitor import matrix as matrix_module
from headgate_serving.monitor.bins import Bins, CategoryBins, NumericBins
from headgate_serving.monitor.counter import InputForm, Layout, Monitor
from headgate_serving.monitor.matrix import Counted, count_feature, matrices
from headgate_serving.monitor.profile import Feature

Values = NDArray[Any]
INF = np.inf
DTYPES = [*"?bBhHiIlL", "e", "f", "d", "g", ">f4", "O"]
SPECIAL = [0.0, -0.0, 1.0, 0.1, 5e-324, 1e-46, 65504.0, 65520.0, 3.4028234663852886e38, 3.5e38, 2.0**53, 2.0**63, 1e308]

numbers = st.sampled_from([*SPECIAL, *(-n for n in SPECIAL)]) | st.floats(-5, 5) | st.integers(-5, 20).map(float)


@st.composite
def numeric_bins(draw: st.DrawFn) -> NumericBins:
    edges = set(draw(st.lists(numbers, min_size=1, max_size=matrix_module.MOST_CUTS + 3)))
    for mass in draw(st.lists(numbers, max_size=4)):
        edges |= {float(np.nextafter(mass, -INF)), mass}
    ascending = sorted(edges - {-INF})
    if len(ascending) == 1 or draw(st.booleans()):
        ascending.insert(0, ascending[0])  # the first bin holds one value
    return NumericBins(tuple(ascending))


@st.composite
def category_bins(draw: st.DrawFn) -> CategoryBins:
    names = st.integers(-3, 20).map(str) | st.sampled_from(["x", "True", "1.0", str(2**53), str(2**53 + 1)])
    found = draw(st.lists(names, min_size=1, max_size=22, unique=True))
    some = draw(st.integers(1, len(found)))
    return CategoryBins(tuple(found[:some]), tuple(found[some:]), draw(st.booleans()))


@st.composite
def counted_features(draw: st.DrawFn) -> list[Counted]:
    """Features on some columns in any order, some columns twice (two layouts), with gaps between their counts."""
    found, end = [], 0
    for number in range(draw(st.integers(1, 8))):
        bins: Bins = draw(numeric_bins() | category_bins())
        start = end + draw(st.integers(0, 2))
        end = start + len(bins.labels())
        found.append(Counted(Feature(f"f{number}", "X", draw(st.integers(0, 9)), bins, ()), slice(start, end)))
    return found


def pool(counted: Sequence[Counted], dtype: np.dtype[Any]) -> Values:
    """Everything that is on, or next to, a cut or a limit of the type."""
    cuts = np.concatenate([[0.0, 1.0, -7.5], *(one.feature.bins.cuts() for one in counted)])
    with np.errstate(all="ignore"):
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            inside = cuts[(cuts > info.min) & (cuts < info.max)].astype(dtype)
            return np.concatenate([inside, inside + dtype.type(1), np.array([info.min, info.max], dtype)])
        near = cuts.astype(dtype)
        if dtype.kind == "f":
            near = np.concatenate([near, np.nextafter(near, dtype.type(INF)), np.nextafter(near, dtype.type(-INF))])
            near = np.concatenate([near, np.array([np.nan, INF, -INF, -0.0], dtype)])
        return near.astype(dtype)


def expected(counted: Sequence[Counted], tables: Sequence[Values], size: int) -> Values:
    counts = np.zeros(size, np.int64)
    for feature, place in counted:
        for table in tables:
            if feature.column < table.shape[1]:
                counts[place] += feature.bins.count(table[:, feature.column])
            else:
                counts[place.stop - 1] += len(table)
    return counts


@settings(max_examples=300, deadline=None)
@given(data=st.data(), counted=counted_features(), seed=st.integers(0, 2**32 - 1))
def test_counting_together_is_counting_each_feature(data: st.DataObject, counted: list[Counted], seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = counted[-1].place.stop + 1
    tables = []
    for _ in range(data.draw(st.integers(1, 3))):
        values = pool(counted, np.dtype(data.draw(st.sampled_from(DTYPES))))
        shape = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12))
        tables.append(values[rng.integers(0, len(values), shape)])
    if data.draw(st.booleans()):
        tables[0] = np.asfortranarray(tables[0])[::-1]
    found = np.zeros(size, np.int64)
    with pytest.MonkeyPatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr(matrix_module, "WIDE", data.draw(st.sampled_from([1, 20, 1024])))
        patch.setattr(matrix_module, "MASK_BYTES", data.draw(st.sampled_from([1, 500, 5000, 256 << 10])))
        for one in matrices(counted):
            one.count(tables, found)
        assert found.tolist() == expected(counted, tables, size).tolist()


@pytest.mark.parametrize("mask_bytes", [256 << 10, 1 << 30])
@pytest.mark.parametrize("columns", [1, 3, 30, 1500])
def test_many_rows_are_counted_block_by_block(monkeypatch: pytest.MonkeyPatch, columns: int, mask_bytes: int) -> None:
    monkeypatch.setattr(matrix_module, "MASK_BYTES", mask_bytes)
    rng = np.random.default_rng(columns)
    table = rng.normal(size=(3000 if columns < 1500 else 300, columns)).astype(np.float32)
    bins = NumericBins((-1.0, -0.5, float(np.nextafter(0.0, -1)), 0.0, 0.75))
    table[::3] = 0  # more than a byte can count
    counted = [Counted(Feature(str(c), "X", c, bins, ()), slice(7 * c, 7 * c + 7)) for c in range(columns)]
    found = np.zeros(7 * columns, np.int64)
    (one,) = matrices(counted)
    one.count([table], found)
    assert found.tolist() == expected(counted, [table], 7 * columns).tolist()


def test_two_layouts_on_the_same_columns_are_counted_at_once() -> None:
    bins: list[NumericBins | CategoryBins] = [
        NumericBins((0.0, 0.5, 1.0)),
        NumericBins((0.0, 0.25, 0.5)),
        CategoryBins(("0", "1")),
    ]
    layouts = [
        Layout("a", tuple(Feature(f"x{c}", "X", c, bins[c % 2], ()) for c in (2, 0, 1)), ()),
        Layout("b", tuple(Feature(f"x{c}", "X", c, bins[c], ()) for c in (1, 0, 2)), ()),
    ]
    table = np.random.default_rng(0).choice(np.array([0, 0.25, 0.3, 1, 2, np.nan], np.float32), (50, 3))
    monitor = Monitor(layouts)
    monitor.observe({"X": table}, {}, 50)
    wanted = [f.bins.count(table[:, f.column]).tolist() for one in layouts for f in one.features]
    assert [series.counts.tolist() for series in monitor.features()] == wanted


def test_texts_and_bins_with_many_cuts_are_counted_one_by_one() -> None:
    many = Feature("n", "X", 0, NumericBins(tuple(np.arange(50.0))), ())
    text = Feature("t", "T", 0, CategoryBins(("1", "x")), ())
    counts = np.zeros(58, np.int64)
    number, word = matrices([Counted(many, slice(0, 52)), Counted(text, slice(52, 57))])
    number.count([np.array([[3.0], [99.0]])], counts)
    word.count([np.array([["1"], ["x"], ["x"]], object), np.array([[1.0], [np.nan]])], counts)
    assert counts[52:].tolist() == [2, 2, 0, 0, 1, 0]
    assert counts[[3, 51, 50]].tolist() == [1, 0, 1]
    assert count_feature(text, [np.array([[1], [2]])]).tolist() == [1, 0, 0, 1, 0]


def test_inputs_are_kept_apart() -> None:
    bins = NumericBins((0.0, 1.0))
    places = [Counted(Feature(name, name, 0, bins, ()), slice(4 * at, 4 * at + 4)) for at, name in enumerate("XY")]
    assert [one.input for one in matrices(places)] == ["X", "Y"]
    assert InputForm(1, False).holds(places[0].feature)
