"""Versions of the census model as pipelines make them, good and bad: v2 with one thing changed.

`artifacts.py` packs each as a user would, with `headgate package` and a table of its own, so a wrong model brings
samples and a profile that were made from itself, unless `Made.of` says whose it brings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from . import graphs
from .data import FEATURES, Rows
from .models import Models, retrained

STABLE = "stable"
NAN_SHARE = 0.027
OTHER_TASK = ("sepal_length", "sepal_width", "petal_length", "petal_width")
# Columns in an order that gives as many people the label 1 as before, and 38 % of them another label (2016 to 2018).
SHUFFLED = (8, 3, 13, 5, 4, 0, 6, 7, 9, 1, 14, 12, 15, 11, 10, 2)


@dataclass(frozen=True)
class Made:
    """A model, and what it is packed with."""

    model: onnx.ModelProto
    columns: tuple[str, ...] = FEATURES
    of: str = ""
    """The candidate whose profile and samples it brings; empty: its own."""
    cut: bool = False
    """Whether half of the file is missing."""


def make(trained: Models, reference: Rows) -> dict[str, Made]:
    """All of them by name, `STABLE` first."""
    good = trained.versions["v2"]
    age = float(np.quantile(reference.features[:, 0], 1 - NAN_SHARE))
    changed: dict[str, Callable[[], onnx.ModelProto]] = {
        STABLE: lambda: good,
        "retrained": lambda: retrained(reference),
        "added-output": lambda: graphs.with_odds(good),
        "renamed-input": lambda: graphs.renamed(good, {graphs.INPUT: "features"}),
        "renamed-outputs": lambda: graphs.renamed(
            good, {"label": "output_label", "probabilities": "output_probability"}
        ),
        "dropped-output": lambda: graphs.without_output(good, "probabilities"),
        "double-input": lambda: graphs.with_double_input(good),
        "text-label": lambda: graphs.with_text_label(good),
        "no-batch": lambda: graphs.with_one_row(good),
        "nan-for-some": lambda: graphs.with_invalid_scores(good, age, float("nan")),
        "infinite-for-some": lambda: graphs.with_invalid_scores(good, age, float("inf")),
        "flipped-label": lambda: graphs.with_label(good, "flipped"),
        "constant": lambda: graphs.with_label(good, "constant"),
        "permuted-classes": lambda: graphs.with_classes_permuted(good),
        "unscaled": lambda: graphs.with_scaled_input(good, 0.01),
        "swapped": lambda: trained.versions["v4"],
        "shuffled": lambda: graphs.with_columns_in_order(good, SHUFFLED),
    }
    made = {name: Made(model()) for name, model in changed.items()}
    made["fewer-columns"] = Made(graphs.with_fewer_columns(good), FEATURES[:-1])
    made["other-task"] = Made(_iris(), OTHER_TASK)
    made["swapped-at-export"] = Made(made["shuffled"].model, of=STABLE)
    made["short-table"] = Made(trained.versions["v3"], of=STABLE)
    made["cut"] = Made(good, of=STABLE, cut=True)
    return made


def _iris() -> onnx.ModelProto:
    """Species of flowers, from four features that are not the census'."""
    table = load_iris()
    model = to_onnx(
        LogisticRegression(max_iter=1000).fit(table.data, table.target),
        name="iris",
        initial_types=[(graphs.INPUT, FloatTensorType([None, len(OTHER_TASK)]))],
        options={"zipmap": False},
    )
    assert isinstance(model, onnx.ModelProto)
    return model
