"""The reference profile: how the data looked that the model was validated on. `profile.json` in the artifact.

`headgate profile` builds it; the runtime reads it at its start. The form, version 1:

    {"version": 1, "rows": 50000, "layout": "1a2b3c4d5e6f",
     "features": [
       {"name": "AGEP", "input": "X", "column": 0, "kind": "numeric",
        "edges": [17.0, 21.0, 30.0],
        "counts": {"below": 0, "n00 [17,21]": 5100, "n01 (21,30]": 4900, "above": 0, "missing": 12}},
       {"name": "MAR", "input": "X", "column": 1, "kind": "categorical",
        "categories": ["1", "5"], "others": [], "open": false,
        "counts": {"c00 1": 6000, "c01 5": 4000, "other": 0, "unseen": 0, "missing": 0}}],
     "outputs": [
       {"name": "probabilities[1]", "output": "probabilities", "how": "second", "width": 2, "kind": "numeric",
        "edges": […], "counts": {…, "invalid": 0}}]}

An output whose model names the classes of its columns has them as `classes`, in the order of the columns. Where the
reference rows had labels there is also `accuracy` (see `performance.py`). A profile that was made without a model has
no outputs, and each feature is an input of its own.

A feature is one column of one input tensor (everything after the first axis flattened), since one matrix
often holds all of them. `counts` names all bins in their order. `layout` is the first 12 hex digits of the
SHA-256 of the canonical JSON of `{"features": {NAME: bins}, "outputs": {NAME: bins}}`: the same for all
profiles that can be compared bin by bin, whatever their counts and wherever in the tensors their features
are.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProfileInvalid
from .bins import Bins, CategoryBins, NumericBins, bins_of
from .outputs import Reduction, predictions
from .performance import Accuracy, accuracy_of, read_accuracy

VERSION = 1
Values = NDArray[Any]


@dataclass(frozen=True)
class Feature:
    """One column of one input tensor, its bins and the reference's counts in them."""

    name: str
    input: str
    column: int
    bins: Bins
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Prediction:
    """One answer, its bins and the reference's counts in them."""

    reduction: Reduction
    bins: Bins
    counts: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the answer in the series."""
        return self.reduction.name


@dataclass(frozen=True)
class Profile:
    """A whole reference."""

    rows: int
    features: tuple[Feature, ...]
    outputs: tuple[Prediction, ...]
    accuracy: tuple[Accuracy, ...] = ()

    @property
    def layout(self) -> str:
        """Twelve hex digits that are the same if, and only if, all bins are."""
        bins = {
            "features": {feature.name: feature.bins.layout() for feature in self.features},
            "outputs": {output.name: output.bins.layout() for output in self.outputs},
        }
        return hashlib.sha256(json.dumps(bins, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """The text of `profile.json`."""
        whole: dict[str, Any] = {
            "version": VERSION,
            "rows": self.rows,
            "layout": self.layout,
            "features": [
                {"name": f.name, "input": f.input, "column": f.column, **_bins_to_json(f.bins, f.counts)}
                for f in self.features
            ],
            "outputs": [
                {
                    "name": p.name,
                    "output": p.reduction.output,
                    "how": p.reduction.how,
                    "width": p.reduction.width,
                    **({"classes": list(p.reduction.classes)} if p.reduction.classes else {}),
                    **_bins_to_json(p.bins, p.counts),
                }
                for p in self.outputs
            ],
        }
        if self.accuracy:
            names = {p.name: p.bins.labels() for p in self.outputs}
            whole["accuracy"] = [a.to_json(names[a.output]) for a in self.accuracy]
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Column:
    """Reference values of one feature and where the model reads them."""

    name: str
    input: str
    column: int
    values: Values


@dataclass(frozen=True)
class Label:
    """The truth about each row: names of classes, "" where it is not known."""

    name: str
    classes: Values


def build_profile(
    columns: Sequence[Column],
    outputs: Mapping[str, Values],
    label: Label | None = None,
    classes: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Profile, dict[str, str]]:
    """The profile of reference rows and the model's answers to them, and what was left out, with the reason.

    Values have to be as the model sees them (a float32 tensor's values rounded to float32); NaN, null and the
    empty string are missing. `classes` are the names of outputs' columns, where the model has them.
    """
    rows = len(columns[0].values) if columns else 0
    if rows == 0:
        raise ProfileInvalid("there are no reference rows to make a profile of")
    if any(len(column.values) != rows for column in columns):
        raise ProfileInvalid("the columns of the reference differ in their lengths")
    left_out: dict[str, str] = {}
    features = []
    for column in columns:
        bins = bins_of(column.values)
        if bins is None:
            left_out[column.name] = "not one row has a value"
            continue
        features.append(Feature(column.name, column.input, column.column, bins, _counted(bins, column.values)))
    reductions, unfit = predictions(outputs, rows, classes or {})
    answers: list[Prediction] = []
    accuracy: list[Accuracy] = []
    for reduction in reductions:
        tensor = outputs[reduction.output]
        values = reduction.apply(tensor, rows)
        labels = reduction.how == "argmax" or tensor.dtype.kind != "f"
        bins = bins_of(values, "invalid", labels=labels)
        if bins is None:
            unfit[reduction.output] = f"the model gave no valid answer to any of {rows} rows"
            continue
        answers.append(Prediction(reduction, bins, _counted(bins, values)))
        if label and reduction.how != "max":
            found = accuracy_of(label.name, label.classes, reduction, values, bins)
            if isinstance(found, str):
                unfit[f"accuracy of {reduction.name}"] = found
            else:
                accuracy.append(found)
    return Profile(rows, tuple(features), tuple(answers), tuple(accuracy)), left_out | unfit


def read_profile(raw: bytes | str) -> Profile:
    """Parse and check `profile.json`; ProfileInvalid says what is wrong."""
    try:
        read = json.loads(raw)
        if read["version"] != VERSION:
            raise ProfileInvalid(f"profile.json has version {read['version']}, this Headgate reads {VERSION}")
        profile = Profile(
            _whole(read["rows"]),
            tuple(_feature(item) for item in read["features"]),
            tuple(_prediction(item) for item in read["outputs"]),
        )
        bins = {p.name: p.bins for p in profile.outputs}
        profile = replace(profile, accuracy=tuple(read_accuracy(item, bins) for item in read.get("accuracy", ())))
        written = read.get("layout", profile.layout)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        raise ProfileInvalid(f"profile.json is damaged ({error!r}); write it anew with: headgate profile") from error
    if profile.layout != written:
        raise ProfileInvalid(
            f"profile.json says layout {written}, but its bins have {profile.layout}: changed by hand? "
            "write it anew with: headgate profile"
        )
    for names in ([f.name for f in profile.features], [p.name for p in profile.outputs]):
        if len(set(names)) != len(names):
            raise ProfileInvalid("profile.json names a feature or an output twice")
    return profile


def _feature(item: dict[str, Any]) -> Feature:
    bins = _bins_from_json(item, "missing")
    if item["column"] < 0:
        raise ValueError(f"column {item['column']} of feature {item['name']!r}")
    return Feature(str(item["name"]), str(item["input"]), int(item["column"]), bins, _read_counts(item, bins))


def _prediction(item: dict[str, Any]) -> Prediction:
    bins = _bins_from_json(item, "invalid")
    if item["how"] not in ("value", "second", "argmax", "max"):
        raise ValueError(f"how {item['how']!r} of output {item['name']!r}")
    width, classes = int(item["width"]), tuple(map(str, item.get("classes", ())))
    if len(classes) not in (0, width):
        raise ValueError(f"{len(classes)} classes of output {item['name']!r}, which has {width} columns")
    reduction = Reduction(str(item["name"]), str(item["output"]), item["how"], width, classes)
    return Prediction(reduction, bins, _read_counts(item, bins))


def _bins_to_json(bins: Bins, counts: Sequence[int]) -> dict[str, Any]:
    return {**bins.layout(), "counts": dict(zip(bins.labels(), counts, strict=True))}


def _bins_from_json(item: dict[str, Any], rest: str) -> Bins:
    if item["kind"] == "categorical":
        return CategoryBins(
            tuple(map(str, item["categories"])), tuple(map(str, item["others"])), bool(item["open"]), rest
        )
    edges = tuple(map(float, item["edges"]))
    if item["kind"] != "numeric" or len(edges) < 2 or not np.isfinite(edges).all():
        raise ValueError(f"kind {item['kind']!r} with the edges {edges} of {item['name']!r}")
    if edges[0] > edges[1] or np.any(np.diff(edges[1:]) <= 0):
        raise ValueError(f"the edges of {item['name']!r} do not ascend")
    return NumericBins(edges, rest)


def _read_counts(item: dict[str, Any], bins: Bins) -> tuple[int, ...]:
    counts = item["counts"]
    if list(counts) != bins.labels():
        raise ValueError(f"the bins in the counts of {item['name']!r} are not those of its edges or categories")
    return tuple(_whole(count) for count in counts.values())


def _whole(count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{count!r} is no number of rows")
    return count


def _counted(bins: Bins, values: Values) -> tuple[int, ...]:
    return tuple(int(count) for count in bins.count(values))
