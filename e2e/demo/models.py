"""Four versions of one model: what the demo rolls out.

| version | what | what has to become of it |
|---|---|---|
| v1 | a first model, from a pilot of 2,000 people | goes live |
| v2 | deeper trees, from everybody: measurably better | is promoted |
| v3 | v2 behind a lookup table that lacks the last code of RELP: fails on 6 % of real rows | errors: out |
| v4 | v2 with RELP and DIS swapped: answers everything, and much of it differently | predictions: out |

`artifacts.py` calls `train` and packs the models; `facts.py` measures what the table claims.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier

from . import graphs
from .data import FEATURES, Rows

SEED = 1
HELD_OUT = 0.2
PILOT = 2000

RELP = FEATURES.index("RELP")
DIS = FEATURES.index("DIS")
# RELP goes from 0 to 17. Who counts the codes from 1 makes a table of 17 rows, and 17 (people in dormitories,
# barracks and other group quarters) is not in it.
RELP_KNOWN = 17


@dataclass(frozen=True)
class Models:
    """The models by version, and the rows of the reference that none of them was trained on."""

    versions: dict[str, onnx.ModelProto]
    held_out: Rows


def train(reference: Rows) -> Models:
    """Train v1 and v2 on most of the reference and make v3 and v4 of v2."""
    order = np.random.default_rng(SEED).permutation(len(reference))
    cut = int(len(order) * HELD_OUT)
    held_out, seen = reference.take(order[:cut]), reference.take(order[cut:])
    pilot = seen.take(np.arange(min(PILOT, len(seen))))
    good = _export(_boosted(depth=4, share=1.0), seen)
    versions = {
        "v1": _export(_boosted(depth=3, share=0.3), pilot),
        "v2": good,
        "v3": graphs.with_short_table(good, RELP, RELP_KNOWN),
        "v4": graphs.with_columns_swapped(good, RELP, DIS),
    }
    return Models(versions, held_out)


def retrained(reference: Rows) -> onnx.ModelProto:
    """v2 as it comes out of a new training with another seed, on another part of the same people."""
    order = np.random.default_rng(SEED + 1).permutation(len(reference))
    return _export(_boosted(depth=4, share=1.0, seed=SEED + 1), reference.take(order[: int(0.8 * len(order))]))


def _boosted(depth: int, share: float, seed: int = SEED) -> GradientBoostingClassifier:
    """A hundred trees, each from a random share of the rows."""
    return GradientBoostingClassifier(n_estimators=100, max_depth=depth, subsample=share, random_state=seed)


def _export(classifier: GradientBoostingClassifier, rows: Rows) -> onnx.ModelProto:
    """Fit and export: `input` float32 [N, 16] to `label` int64 [N] and `probabilities` float32 [N, 2]."""
    classifier.fit(rows.features, rows.labels)
    model = to_onnx(
        classifier,
        name="census",
        initial_types=[(graphs.INPUT, FloatTensorType([None, len(FEATURES)]))],
        options={id(classifier): {"zipmap": False}},
    )
    assert isinstance(model, onnx.ModelProto)
    return model
