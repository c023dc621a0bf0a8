"""Answers as single values: what of a model's output tensors is counted.

| output | counted as |
|---|---|
| labels: integers, strings or booleans, [N] or [N,1] | categories, under the output's name |
| floats [N] or [N,1] | deciles of the reference, under the output's name |
| floats [N,2], the probabilities of two classes | deciles of the second column, as `name[1]` |
| floats [N,k], k > 2 | the largest column's number as a category, as `argmax(name)`; and its value, as `max(name)` |

`profile.py` reduces reference answers with it, `counter.py` live ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

How = Literal["value", "second", "argmax", "max"]
Values = NDArray[Any]


@dataclass(frozen=True)
class Reduction:
    """From the output tensor `output` to one value per row, known as `name`; `width` columns are expected."""

    name: str
    output: str
    how: How
    width: int

    def fits(self, tensor: Values, rows: int) -> bool:
        """Whether the tensor holds one answer of the expected shape for each row."""
        return tensor.ndim in (1, 2) and tensor.shape[0] == rows and tensor.size == rows * self.width

    def apply(self, tensor: Values, rows: int) -> Values:
        """One value per row, NaN where a float of the row is not finite; the tensor has to fit."""
        if self.how == "value" and tensor.dtype.kind != "f":
            return tensor.reshape(-1)
        table = tensor.reshape(rows, self.width).astype(np.float64)
        if self.how == "argmax":
            values = table.argmax(axis=1).astype(np.float64)
        else:
            values = table.max(axis=1) if self.how == "max" else table[:, -1]
        return np.where(np.isfinite(table).all(axis=1), values, np.nan)


def predictions(outputs: Mapping[str, Values], rows: int) -> tuple[list[Reduction], dict[str, str]]:
    """How to count each output of a reference run, and for those that can't be counted, why."""
    reductions, left_out = list[Reduction](), {}
    for name, tensor in outputs.items():
        found = [reduction for reduction in reductions_of(name, tensor) if reduction.fits(tensor, rows)]
        reductions += found
        if not found:
            left_out[name] = f"a tensor of {tensor.dtype} with the shape {list(tensor.shape)} is not one answer per row"
    return reductions, left_out


def reductions_of(name: str, tensor: Values) -> tuple[Reduction, ...]:
    """The rules of the table above; none where no rule fits."""
    width = 1 if tensor.ndim == 1 else tensor.shape[-1] if tensor.ndim == 2 else 0
    if width == 1:
        return (Reduction(name, name, "value", 1),)
    if width == 0 or tensor.dtype.kind != "f":
        return ()
    if width == 2:
        return (Reduction(f"{name}[1]", name, "second", 2),)
    return Reduction(f"argmax({name})", name, "argmax", width), Reduction(f"max({name})", name, "max", width)
