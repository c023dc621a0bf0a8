"""Features that share an input tensor, counted together: a few passes over the whole table instead of some per column.

`counter.py` gives it the tables of a flush. The bin of a number depends only on which of its bins' `cuts()` it
exceeds, so a block of rows is compared with all cuts of all columns at once, and the sums over its rows say how often
each cut of each column was exceeded. What exceeds one cut and not the next is between them, in a known bin:

    bin of column c between cuts a and b  +=  #(value > a) - #(value > b)

The result is exactly that of `Bins.count`, feature by feature, which is also what counts texts and bins with many cuts.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bins import Counts
from .profile import Feature

Values = NDArray[Any]
Cuts = NDArray[Any]
"""[cuts, columns], each column ascending and padded with +inf, in the type in which values are compared."""

MOST_CUTS = 32  # with more of them, sorting one column after the other is not slower
ALIKE = 8  # columns whose numbers of cuts differ by less go together: all are compared as often as the longest
WIDE = 1024  # values: rows of a narrow table are laid side by side, for short loops are slow
MASK_BYTES = 256 << 10  # a block's comparisons, a byte each: they stay in a core's cache
MOST_ROWS = 255  # in a block, for they are summed up in a byte


class Counted(NamedTuple):
    """A feature, and where its bins are among the counts of the monitor."""

    feature: Feature
    place: slice


def matrices(counted: Iterable[Counted]) -> list["Matrix"]:
    """The features by input and number of cuts."""
    groups: dict[tuple[str, int], list[Counted]] = {}
    for one in counted:
        alike = min(len(one.feature.bins.cuts()), MOST_CUTS + 1) // ALIKE
        groups.setdefault((one.feature.input, alike), []).append(one)
    return [Matrix(group) for group in groups.values()]


class Matrix:
    """Features of one input."""

    def __init__(self, counted: Sequence[Counted]) -> None:
        self.input = counted[0].feature.input
        self._counted = counted
        self._columns = np.unique([one.feature.column for one in counted])
        self._together = all(len(one.feature.bins.cuts()) <= MOST_CUTS for one in counted)
        if self._together:
            self._plan()

    def count(self, tables: Sequence[Values], counts: Counts) -> None:
        """Add what the tables (rows x columns) hold to the monitor's counts."""
        together, alone = list[Values](), list[Values]()
        for table in tables:
            (together if self._together and table.dtype.kind in "biuf" else alone).append(table)
        if together:
            self._count_together(together, counts)
        if alone:
            for feature, place in self._counted:
                counts[place] += count_feature(feature, alone)

    def _plan(self) -> None:
        """Lay out the cuts, and the pieces between them.

        Each column gets the counts of: all rows, those with a number, those over the first cut … the last cut, none.
        From a feature's point of view each of these holds the next, and the difference is in one bin.
        """
        cuts_of: dict[int, Cuts] = {}
        for feature, _ in self._counted:
            known = cuts_of.get(feature.column, np.empty(0))
            cuts_of[feature.column] = np.union1d(known, feature.bins.cuts())
        depth = max(map(len, cuts_of.values()))
        cuts = np.full((depth, len(self._columns)), np.inf)
        more, less, bins = list[Cuts](), list[Cuts](), list[Cuts]()
        for at, column in enumerate(self._columns.tolist()):
            cuts[: len(cuts_of[column]), at] = cuts_of[column]
        for feature, place in self._counted:
            own = feature.bins.cuts()
            at = int(np.searchsorted(self._columns, feature.column))
            rows = np.concatenate([[0, 1], 2 + np.searchsorted(cuts_of[feature.column], own), [2 + depth]])
            held = np.concatenate([[np.nan], own, [np.inf]])  # a value of each piece
            more.append(rows[:-1] * len(self._columns) + at)
            less.append(rows[1:] * len(self._columns) + at)
            bins.append(place.start + feature.bins.codes(held))
        self._more, self._less, self._bins = map(np.concatenate, (more, less, bins))
        self._cuts = {np.dtype(np.float64): cuts, np.dtype(np.float32): _rounded_down(cuts)}
        self._shape = (depth + 3, len(self._columns))

    def _count_together(self, tables: Sequence[Values], counts: Counts) -> None:
        over = np.zeros(self._shape, np.int64)
        for table in tables:
            over[0] += len(table)  # where a table does not have the column, there is no number
            within = int(np.searchsorted(self._columns, table.shape[1]))
            if within:
                # exact: what float32 does not hold is compared in float64, as `Bins.count` does
                form = np.dtype(np.float32 if np.can_cast(table.dtype, np.float32) else np.float64)
                over[1:-1, :within] += _exceeding(table, self._columns[:within], self._cuts[form][:, :within])
        pieces = over.reshape(-1)
        np.add.at(counts, self._bins, pieces[self._more] - pieces[self._less])


def count_feature(feature: Feature, tables: Sequence[Values]) -> Counts:
    """The counts of one feature. Rows without this column (where the model leaves their number free) have no value."""
    counts = np.zeros(len(feature.bins.labels()), np.int64)
    for table in tables:
        if feature.column < table.shape[1]:
            counts += feature.bins.count(table[:, feature.column])
        else:
            counts[-1] += len(table)
    return counts


def _rounded_down(cuts: Cuts) -> Cuts:
    """The largest float32 that is not above each cut: it is exceeded by the same float32 values."""
    with np.errstate(over="ignore"):
        rounded = cuts.astype(np.float32)
        return np.where(rounded > cuts, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _exceeding(table: Values, columns: NDArray[np.intp], cuts: Cuts) -> Counts:
    """[1 + cuts, columns]: how many values of each of these columns are a number, and exceed each of its cuts."""
    depth, width = cuts.shape
    fold = min(max(1, WIDE // width), len(table))
    cuts = np.tile(cuts, fold)
    step = min(max(1, MASK_BYTES // ((1 + depth) * fold * width)), MOST_ROWS)
    masks = np.empty((step, 1 + depth, fold * width), np.bool_)
    sums = np.zeros((1 + depth, fold * width), np.int64)
    everything = width == table.shape[1]
    for start in range(0, len(table), step * fold):
        rows = table[start : start + step * fold]
        values = np.ascontiguousarray(rows if everything else rows.take(columns, axis=1), cuts.dtype)
        whole = len(values) // fold
        for block in (values[: whole * fold].reshape(whole, fold * width), values[whole * fold :].reshape(1, -1)):
            if block.size:
                length = block.shape[1]
                mask = masks[: len(block), :, :length]
                np.equal(block, block, out=mask[:, 0])
                np.greater(block[:, None], cuts[:, :length], out=mask[:, 1:])
                sums[:, :length] += np.add.reduce(mask.view(np.uint8), axis=0, dtype=np.uint8)
    counts: Counts = sums.reshape(1 + depth, fold, width).sum(axis=1)
    return counts
