"""Live traffic, counted in the bins of one or more profiles.

The runtime calls `Monitor.observe` for every answered request: a few references are put into a buffer, nothing is
computed. `flush` sorts everything buffered into bins at once, as `matrix.py` does it: before every scrape, so that the
counts are exact when they are read, and whenever so many rows have come together that it takes about PAUSE. The caller
does it: a thread of the monitor's own would compete with the event loop for the interpreter, which costs several times
what the counting does.
"""

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..codec.datatypes import Datatype
from ..errors import ProfileInvalid
from .bins import Counts, NumericBins
from .matrix import Counted, matrices
from .profile import Feature, Prediction, Profile

logger = logging.getLogger(__name__)

Values = NDArray[Any]
Tensors = Mapping[str, Values]

PAUSE = 0.001  # seconds that whoever calls `observe` may be kept; with much less, every count is mostly its beginning
FEWEST_ROWS, MOST_ROWS = 256, 2048
MOST_BYTES = 8 << 20
_MORE, _FEWER = 1.1, 0.9  # steps with which the rows that are counted at once follow the time that it takes


@dataclass(frozen=True)
class InputForm:
    """What the monitor has to know of an input: its number of columns (None if free), and if it is text."""

    columns: int | None
    text: bool

    @classmethod
    def of(cls, shape: Sequence[int], datatype: Datatype) -> "InputForm":
        """Of a tensor with this shape, -1 for a free dimension."""
        columns = shape[1:]
        return cls(None if any(dim < 0 for dim in columns) else math.prod(columns), datatype.kind == "O")

    def holds(self, feature: Feature) -> bool:
        """Whether the feature can be counted in this tensor."""
        numeric = isinstance(feature.bins, NumericBins)
        return (self.columns is None or feature.column < self.columns) and not (self.text and numeric)


@dataclass(frozen=True)
class Layout:
    """What is counted in the bins of one profile, under that profile's layout hash."""

    layout: str
    features: tuple[Feature, ...]
    outputs: tuple[Prediction, ...]


@dataclass(frozen=True)
class Series:
    """The counters of one feature or one output."""

    layout: str
    name: str
    labels: list[str]
    counts: Counts


def attach(
    profile: Profile,
    inputs: Mapping[str, InputForm],
    outputs: Sequence[str],
    own: Profile | None = None,
    classes: Mapping[str, tuple[str, ...]] | None = None,
) -> Layout:
    """Fit a profile to the model that is served.

    A feature of the model's own profile that the model does not have is an error. Of another version's
    profile (`own` is the model's, if any), features are found by name and those that the model lacks are left
    out. `classes` are the names of outputs' columns: another version may have them in another order, and an answer
    whose columns are other classes is left out as well.
    """
    places = {feature.name: feature for feature in own.features} if own else {}
    features = [_moved(feature, places.get(feature.name)) for feature in profile.features]
    fitting = [f for f in features if f.input in inputs and inputs[f.input].holds(f)]
    named = [_named(p, classes or {}) for p in profile.outputs if p.reduction.output in outputs]
    answers = [answer for answer in named if answer]
    missing = {f.name for f in features} - {f.name for f in fitting} | (
        {p.name for p in profile.outputs} - {p.name for p in answers}
    )
    told = ", ".join(sorted(missing)) + ("" if len(answers) == len(named) else " (with the same classes)")
    if missing and own is None:
        raise ProfileInvalid(
            f"profile.json is of another model: this one has no {told}; write it anew with: headgate profile"
        )
    if missing:
        logger.warning("not compared with the baseline, for this model lacks it: %s", told)
    return Layout(profile.layout, tuple(fitting), tuple(answers))


def monitor_of(
    own: Profile | None,
    others: Sequence[Profile],
    inputs: Mapping[str, InputForm],
    outputs: Sequence[str],
    classes: Mapping[str, tuple[str, ...]] | None = None,
) -> "Monitor | None":
    """What counts for the model's own profile and those of other versions; None where there is no profile at all."""
    layouts = [attach(own, inputs, outputs, None, classes)] if own else []
    layouts += [attach(other, inputs, outputs, own or Profile(0, (), ()), classes) for other in others]
    return Monitor(layouts) if layouts else None


def _moved(feature: Feature, to: Feature | None) -> Feature:
    if to is None:
        return feature
    return Feature(feature.name, to.input, to.column, feature.bins, feature.counts)


def _named(answer: Prediction, classes: Mapping[str, tuple[str, ...]]) -> Prediction | None:
    reduction = answer.reduction.answered_by(classes.get(answer.reduction.output, ()))
    return replace(answer, reduction=reduction) if reduction else None


class _Observed(NamedTuple):
    """One request, in the order of the monitor's `inputs` and `outputs` (None where an output was not computed)."""

    inputs: list[Values]
    outputs: list[Values | None]
    rows: int


class Monitor:
    """Counters for all given layouts. Safe to use from several threads."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self._layouts = list({layout.layout: layout for layout in layouts}.values())
        self.inputs = tuple(dict.fromkeys(f.input for one in self._layouts for f in one.features))
        self.outputs = tuple(dict.fromkeys(p.reduction.output for one in self._layouts for p in one.outputs))
        ends = 0
        self._features = list[tuple[str, Feature, slice]]()
        self._answers = list[tuple[str, Prediction, slice]]()
        for one in self._layouts:
            for feature in one.features:
                start, ends = ends, ends + len(feature.bins.labels())
                self._features.append((one.layout, feature, slice(start, ends)))
            for answer in one.outputs:
                start, ends = ends, ends + len(answer.bins.labels())
                self._answers.append((one.layout, answer, slice(start, ends)))
        self._counts = np.zeros(ends, np.int64)
        self._matrices = matrices(Counted(f, place) for _, f, place in self._features)
        self.dropped = 0
        self._buffer: list[_Observed] = []
        self._rows = self._bytes = 0
        self._enough = float(FEWEST_ROWS)
        self._buffering = threading.Lock()
        self._counting = threading.Lock()

    def observe(self, inputs: Tensors, outputs: Tensors, rows: int) -> None:
        """Take note of one answered request of `rows` rows. The tensors must not change afterwards."""
        seen = _Observed([inputs[name] for name in self.inputs], [outputs.get(name) for name in self.outputs], rows)
        with self._buffering:
            self._buffer.append(seen)
            self._rows += rows
            for tensor in seen.inputs:
                self._bytes += tensor.nbytes
            enough = self._rows >= self._enough or self._bytes >= MOST_BYTES
        if enough and self._counting.acquire(blocking=False):  # else somebody is at it, and will be the next time too
            try:
                started = time.perf_counter()
                self._count_buffer()
                step = _FEWER if time.perf_counter() - started > PAUSE else _MORE
                self._enough = min(max(FEWEST_ROWS, self._enough * step), MOST_ROWS)
            finally:
                self._counting.release()

    def flush(self) -> None:
        """Count everything that is buffered."""
        with self._counting:
            self._count_buffer()

    def features(self) -> list[Series]:
        """The counters of all features, up to now."""
        return self._read(self._features)

    def predictions(self) -> list[Series]:
        """The counters of all answers, up to now."""
        return self._read(self._answers)

    def _read(self, counted: Sequence[tuple[str, Feature | Prediction, slice]]) -> list[Series]:
        self.flush()
        with self._counting:
            counts = self._counts.copy()
        return [Series(layout, one.name, one.bins.labels(), counts[place]) for layout, one, place in counted]

    def _count_buffer(self) -> None:
        """Whoever calls it holds `_counting`."""
        with self._buffering:
            taken, self._buffer = self._buffer, []
            self._rows = self._bytes = 0
        if not taken:
            return
        try:
            self._count(taken)
        except Exception:
            self.dropped += sum(seen.rows for seen in taken)
            logger.exception("the monitor could not count %d requests", len(taken))

    def _count(self, taken: list[_Observed]) -> None:
        tables = {name: _tables([seen.inputs[at] for seen in taken]) for at, name in enumerate(self.inputs)}
        new = np.zeros_like(self._counts)
        for matrix in self._matrices:
            matrix.count(tables[matrix.input], new)
        for _, answer, place in self._answers:
            at = self.outputs.index(answer.reduction.output)
            new[place] += _count_answers(answer, [(seen.outputs[at], seen.rows) for seen in taken])
        self._counts += new


def _tables(tensors: list[Values]) -> list[Values]:
    """Few large matrices (rows × columns) of many small tensors: one for each number of columns."""
    try:
        joined = [np.concatenate(tensors)]
    except ValueError:  # not all of them have the same shape, or some have none
        groups: dict[tuple[int, ...], list[Values]] = {}
        for tensor in map(np.atleast_1d, tensors):
            groups.setdefault(tensor.shape[1:], []).append(tensor)
        joined = [np.concatenate(group) for group in groups.values()]
    return [table.reshape(len(table), -1) for table in joined if table.size]


def _count_answers(answer: Prediction, given: list[tuple[Values | None, int]]) -> Counts:
    counts, reduction = np.zeros(len(answer.bins.labels()), np.int64), answer.reduction
    fitting = []
    for tensor, rows in given:
        if tensor is None or not rows:
            continue
        if reduction.fits(tensor, rows):
            fitting.append(tensor if tensor.ndim == 2 else tensor[:, None])
        else:
            counts[-1] += rows
    if fitting:
        joined = np.concatenate(fitting)
        counts += answer.bins.count(reduction.apply(joined, len(joined)))
    return counts
