"""Bins: how the values of one feature or one answer are sorted into a few counters.

`profile.py` makes them from reference values; `counter.py` counts live values in them. A bin's label says its
kind with its first character (`n00 [17,21]`, `c00 married`, `below`, `missing` …), so that any reader can put
them in order.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Values = NDArray[Any]

QUANTILES = 10
POINT_MASS = 0.1  # a value that holds more than this share of the rows gets a bin of its own
TOP = 20  # categories with a bin of their own
MAX_OTHERS = 1000  # further categories that the profile remembers, to tell `other` from `unseen`

_LABEL_LENGTH = 60


@dataclass(frozen=True)
class NumericBins:
    """Bins of a number.

    `edges` = (e0, e1, …, ek), strictly ascending but that e0 == e1 is allowed: below e0 is `below`, [e0, e1]
    is n00, (e1, e2] is n01, …, above ek is `above`. Where two edges are neighbours among the floats, the bin
    between them holds one value only, a point mass. `rest` names the bin of NaN: `missing` for features,
    `invalid` for answers.
    """

    edges: tuple[float, ...]
    rest: str = "missing"
    _cuts: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        cuts = np.array(self.edges, np.float64)
        cuts[0] = np.nextafter(cuts[0], -np.inf)  # the first bin holds its lower edge
        object.__setattr__(self, "_cuts", cuts)

    def labels(self) -> list[str]:
        """`below`, `n00 …`, …, `above`, and the bin of NaN."""
        return ["below", *_interval_labels(self.edges), "above", self.rest]

    def cuts(self) -> NDArray[np.float64]:
        """Ascending numbers; the bin of a number depends only on how many of them it exceeds."""
        return self._cuts

    def count(self, values: Values) -> Counts:
        """Count values of any numeric type, in the order of `labels()`."""
        return np.bincount(self.codes(values), minlength=len(self.edges) + 2)

    def codes(self, values: Values) -> NDArray[np.intp]:
        """The bin of each value, as its place in `labels()`."""
        numbers = np.asarray(values, np.float64)
        missing = np.isnan(numbers)
        codes = np.searchsorted(self._cuts, numbers, side="left")
        codes[missing] = len(self.edges) + 1
        return codes

    def layout(self) -> dict[str, Any]:
        """What the layout hash covers."""
        return {"kind": "numeric", "edges": list(self.edges)}


@dataclass(frozen=True)
class CategoryBins:
    """Bins of a category, by falling frequency in the reference.

    Categories are strings; a number is the category of its whole value (`"3"` for 3.0). `others` are
    categories that the profile saw without giving them a bin; when there were too many to remember (`open`),
    a category that is not known counts as `other`, not as `unseen`.
    """

    categories: tuple[str, ...]
    others: tuple[str, ...] = ()
    open: bool = False
    rest: str = "missing"
    _codes: dict[str, int] = field(init=False, repr=False, compare=False)
    _numbers: tuple[NDArray[np.float64], NDArray[np.intp]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        other = len(self.categories)
        codes = dict.fromkeys(self.others, other) | {name: code for code, name in enumerate(self.categories)}
        numbers = sorted((float(name), code) for name, code in codes.items() if is_number(name))
        object.__setattr__(self, "_codes", codes)
        object.__setattr__(
            self,
            "_numbers",
            (np.array([n for n, _ in numbers], np.float64), np.array([c for _, c in numbers], np.intp)),
        )

    def labels(self) -> list[str]:
        """`c00 …`, …, `other`, `unseen`, and the bin of null, NaN and the empty string."""
        named = [f"c{code:02d} {name[:_LABEL_LENGTH]}" for code, name in enumerate(self.categories)]
        return [*named, "other", "unseen", self.rest]

    def cuts(self) -> NDArray[np.float64]:
        """Ascending numbers; the bin of a number depends only on how many of them it exceeds."""
        known, _ = self._numbers
        return np.union1d(np.nextafter(known, -np.inf), known)

    def count(self, values: Values) -> Counts:
        """Count strings (an object or `U` array) or numbers, in the order of `labels()`."""
        counts = np.zeros(len(self.categories) + 3, np.int64)
        if values.dtype.kind in "OU":
            for value, times in Counter(values.tolist()).items():
                counts[self._code_of(value)] += times
            return counts
        return counts + np.bincount(self._codes_of_numbers(values), minlength=len(counts))

    def codes(self, values: Values) -> NDArray[np.intp]:
        """The bin of each value, as its place in `labels()`."""
        if values.dtype.kind not in "OU":
            return self._codes_of_numbers(values)
        known = {value: self._code_of(value) for value in set(values.tolist())}
        return np.array([known[value] for value in values.tolist()], np.intp)

    def layout(self) -> dict[str, Any]:
        """What the layout hash covers."""
        return {
            "kind": "categorical",
            "categories": list(self.categories),
            "others": sorted(self.others),
            "open": self.open,
        }

    def _code_of(self, value: Any) -> int:
        if value is None or value == "":
            return len(self.categories) + 2
        unknown = len(self.categories) + (0 if self.open else 1)
        return self._codes.get(value if isinstance(value, str) else str(value), unknown)

    def _codes_of_numbers(self, values: Values) -> NDArray[np.intp]:
        numbers = np.asarray(values, np.float64)
        known, codes = self._numbers
        unknown = len(self.categories) + (0 if self.open else 1)
        if len(known):
            places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
            found = np.where(known[places] == numbers, codes[places], unknown)
        else:
            found = np.full(numbers.shape, unknown, np.intp)
        return np.where(np.isnan(numbers), len(self.categories) + 2, found)


Bins = NumericBins | CategoryBins


def counts_by_window(bins: Bins, values: Values, window: NDArray[np.intp], windows: int) -> Counts:
    """Counts [windows, bins] of the rows of each window; `window` is the number of the window that a row is in."""
    width = len(bins.labels())
    counted = np.bincount(window * width + bins.codes(values), minlength=windows * width)
    return counted.reshape(windows, width)


def bins_of(values: Values, rest: str = "missing", *, labels: bool = False) -> Bins | None:
    """The bins that fit reference values; None if not one of them is there.

    Strings, `labels`, and whole numbers with at most TOP different values become categories; other numbers
    get their deciles.
    """
    if values.dtype.kind in "OU":
        seen = Counter(value for value in values.tolist() if value is not None and value != "")
        return category_bins({str(value): times for value, times in seen.items()}, rest)
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    distinct, times = np.unique(numbers, return_counts=True)
    if labels or (len(distinct) <= TOP and np.all(distinct == np.floor(distinct))):
        named = {category_name(value): int(n) for value, n in zip(distinct, times, strict=True)}
        return category_bins(named, rest)
    return NumericBins(_edges(numbers, distinct, times), rest)


def category_bins(seen: dict[str, int], rest: str = "missing") -> CategoryBins | None:
    """The most frequent categories get bins; equal ones in the order of their names."""
    if not seen:
        return None
    ordered = sorted(seen, key=lambda name: (-seen[name], name))
    others = ordered[TOP : TOP + MAX_OTHERS]
    return CategoryBins(tuple(ordered[:TOP]), tuple(others), len(ordered) > TOP + MAX_OTHERS, rest)


def category_name(number: float) -> str:
    """`3` for 3.0."""
    return str(int(number))


def _edges(numbers: Values, distinct: Values, times: Values) -> tuple[float, ...]:
    """Point masses as bins of their own, and quantiles of what is left between them; no bin is empty."""
    masses = distinct[times > POINT_MASS * len(numbers)]
    left = numbers[~np.isin(numbers, masses)]
    between = np.searchsorted(masses, left)  # which of the stretches between the point masses
    upper = {*masses.tolist(), *np.nextafter(masses, -np.inf).tolist(), float(distinct[-1])}
    for stretch in np.unique(between):
        inside = left[between == stretch]
        parts = max(1, round(QUANTILES * len(inside) / len(numbers)))
        shares = np.arange(1, parts) / parts  # the last bin of a stretch ends where the point mass begins
        upper.update(np.quantile(inside, shares, method="inverted_cdf").tolist())
    cuts = np.array(sorted(upper))
    holds = np.bincount(np.searchsorted(cuts, numbers, side="left"), minlength=len(cuts)) > 0
    return (float(distinct[0]), *cuts[holds].tolist())


def _interval_labels(edges: tuple[float, ...]) -> list[str]:
    labels = [f"n00 [{_short(edges[0])},{_upper_end(edges, 1)}"]
    for place, (low, high) in enumerate(pairwise(edges[1:]), start=1):
        if np.nextafter(low, np.inf) == high:
            labels.append(f"n{place:02d} [{_short(high)},{_short(high)}]")
        else:
            labels.append(f"n{place:02d} ({_short(low)},{_upper_end(edges, place + 1)}")
    return labels


def _upper_end(edges: tuple[float, ...], place: int) -> str:
    """`7]`, or `7)` where the next bin is a point mass at 7."""
    if place + 1 < len(edges) and np.nextafter(edges[place], np.inf) == edges[place + 1]:
        return f"{_short(edges[place + 1])})"
    return f"{_short(edges[place])}]"


def _short(edge: float) -> str:
    return f"{edge:.6g}"


def is_number(name: str) -> bool:
    """Whether the category is that of a whole number."""
    return name.removeprefix("-").isdecimal()
