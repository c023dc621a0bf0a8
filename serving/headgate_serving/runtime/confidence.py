"""How sure a classifier is: the largest of a row's probabilities."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codec.tensor import TensorSpec
from .model import Model

_SUM = 1e-3  # by how much probabilities may miss 1


@dataclass(frozen=True)
class Confidence:
    """Below `least` a row of the output counts as one that the model is not sure of."""

    output: str
    least: float

    def unsure(self, results: dict[str, NDArray[Any]], rows: int) -> NDArray[np.bool_] | None:
        """For each row, whether the model is not sure; None if the answer has no probabilities for each row."""
        table = results[self.output]
        if table.ndim != 2 or len(table) != rows or table.shape[1] < 2:
            return None
        wide = table.astype(np.float64)
        probabilities = (wide >= 0).all(axis=1) & (np.abs(wide.sum(axis=1) - 1) < _SUM)
        return np.asarray(probabilities & (wide.max(axis=1) < self.least))


def confidence_of(model: Model, least: float) -> Confidence | None:
    """By the first output that can hold probabilities of classes; None if there is none, or nothing is asked for."""
    found = next((spec.name for spec in model.outputs if _may_be_probabilities(spec)), None)
    return Confidence(found, least) if found and least > 0 else None


def _may_be_probabilities(spec: TensorSpec) -> bool:
    return spec.datatype.kind == "f" and len(spec.assumed) == 2 and spec.assumed[1] != 1
