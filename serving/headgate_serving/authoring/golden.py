"""Golden samples: a few real rows with the model's own answers, so that anyone can see that it still gives them.

`package.py` writes them as `samples.json`:

    {"format": 1, "tolerance": {"relative": 0.001, "absolute": 1e-05},
     "samples": [{"row": 0, "request": {"inputs": […]}, "response": {"outputs": […]}}]}

`request` is a body for `POST /v2/models/NAME/infer` of the Open Inference Protocol, `response` has the outputs of the
answer to it. A number agrees with the sample's if |number - sample| <= absolute + relative × |sample|, everything else
if it is equal. `row` is the row's number in the data, from 0.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codec.tensor import TensorSpec
from ..runtime.model import load_model
from .reference import examples_of

COUNT = 8
_TOLERANCE = {"relative": 1e-3, "absolute": 1e-5}


def samples_of(model_path: Path, data: Path, names: Sequence[str] | None, label: str | None) -> str:
    """The text of `samples.json`; rows whose answers JSON can't carry (NaN, infinite) are left out."""
    model = load_model(model_path)
    samples = []
    for row, feed in examples_of(model, data, names, label, COUNT).items():
        answers = model.run(feed, model.output_names)
        if all(_finite(values) for values in answers.values()):
            asked, told = _tensors(model.inputs, feed), _tensors(model.outputs, answers)
            samples.append({"row": row, "request": {"inputs": asked}, "response": {"outputs": told}})
    whole = {"format": 1, "tolerance": _TOLERANCE, "samples": samples}
    return json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _tensors(specs: Sequence[TensorSpec], values: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "datatype": spec.datatype.name,
            "shape": list(values[spec.name].shape),
            "data": _plain(values[spec.name]),
        }
        for spec in specs
    ]


def _plain(values: NDArray[Any]) -> list[Any]:
    flat = values.ravel().tolist()
    return [one.decode() if isinstance(one, bytes) else one for one in flat]


def _finite(values: NDArray[Any]) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
