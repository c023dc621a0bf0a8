"""How right the model was on its reference rows: an optional part of the profile, not of its layout.

`profile.json` holds it as `accuracy`, a list with one entry for each answer that names a class:

    {"output": "probabilities[1]", "label": "employed", "rows": 50000, "correct": 41400,
     "bins": {"n00 [0.01,0.09]": {"rows": 5000, "correct": 4800}, …}}

With it, the accuracy of unlabelled traffic can be estimated from the bins of its answers alone. `rows` are those with
a label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bins import Bins, category_name
from .outputs import Reduction

Values = NDArray[Any]
Tally = tuple[int, int]
"""Rows, and how many of them the model answered rightly."""


@dataclass(frozen=True)
class Accuracy:
    """Right answers of one output by the bins of that output."""

    output: str
    label: str
    bins: tuple[Tally, ...]

    @property
    def rows(self) -> int:
        """Rows with a label."""
        return sum(rows for rows, _ in self.bins)

    @property
    def correct(self) -> int:
        """Right answers."""
        return sum(correct for _, correct in self.bins)

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """As in the profile; `names` are those of the output's bins."""
        bins = {name: {"rows": n, "correct": y} for name, (n, y) in zip(names, self.bins, strict=True)}
        whole = {"output": self.output, "label": self.label, "rows": self.rows, "correct": self.correct}
        return {**whole, "bins": bins}


def read_accuracy(item: Mapping[str, Any], outputs: Mapping[str, Bins]) -> Accuracy:
    """From the profile; ValueError or KeyError if it does not fit its outputs."""
    found, names = item["bins"], outputs[item["output"]].labels()
    if list(found) != names:
        raise ValueError(f"the bins of the accuracy of {item['output']!r} are not those of the output")
    tallies = tuple((int(one["rows"]), int(one["correct"])) for one in found.values())
    if any(not 0 <= correct <= rows for rows, correct in tallies):
        raise ValueError(f"the accuracy of {item['output']!r} has counts that can't be")
    return Accuracy(str(item["output"]), str(item["label"]), tallies)


def accuracy_of(label: str, truth: Values, reduction: Reduction, values: Values, bins: Bins) -> Accuracy | str:
    """Compare answers with the label's values (as of `class_names`); a text says why they can't be compared."""
    there = truth != ""
    classes = sorted(set(truth[there].tolist()), key=_in_order)
    if len(classes) < 2:
        return f"the label {label!r} has {len(classes)} classes"
    answers = _named(reduction, values, classes)
    if answers is None:
        return "its answers are neither classes nor the probability of one of two classes"
    if not np.isin(answers[there], classes).any():
        given = ", ".join(sorted(set(answers[there].tolist()))[:3])
        return f"it answers {given}, and the label {label!r} is one of {', '.join(classes[:3])}"
    codes = bins.codes(values)
    width = len(bins.labels())
    rows = np.bincount(codes[there], minlength=width)
    correct = np.bincount(codes[there & (answers == truth)], minlength=width)
    return Accuracy(reduction.name, label, tuple(zip(rows.tolist(), correct.tolist(), strict=True)))


def class_names(values: Values) -> Values | None:
    """Names of classes: text as it is, whole numbers and booleans as `1`, missing as ""; None for other numbers."""
    if values.dtype.kind in "OU":
        return np.array(["" if value is None else str(value) for value in values.tolist()], object)
    numbers = np.asarray(values, np.float64)
    there = ~np.isnan(numbers)
    if not np.all(np.isfinite(numbers[there])) or np.any(numbers[there] != np.floor(numbers[there])):
        return None
    return np.array([category_name(value) if ok else "" for value, ok in zip(numbers, there, strict=True)], object)


def _named(reduction: Reduction, values: Values, classes: list[str]) -> Values | None:
    """The class that each answer means. The second of two without a name is the later one in their order."""
    if reduction.how == "second":
        classes = list(reduction.classes) or classes
    if reduction.how == "argmax" and not reduction.classes:
        numbers = [str(number) for number in range(reduction.width)]
        whole = set(numbers).issuperset(classes)
        if not whole and len(classes) != reduction.width:
            return None
        names = numbers if whole else classes
        return np.array([*names, ""], object)[np.where(np.isnan(values), len(names), values).astype(np.intp)]
    if values.dtype.kind != "f":
        return class_names(values)
    there = values[~np.isnan(values)]
    if len(classes) != 2 or not len(there) or there.min() < 0 or there.max() > 1:
        return None
    return np.where(np.isnan(values), "", np.where(values > 0.5, classes[1], classes[0])).astype(object)


def _in_order(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
