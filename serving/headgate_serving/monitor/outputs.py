"""Answers as single values: what of a model's output tensors is counted.

| output | counted as |
|---|---|
| labels: integers, strings or booleans, [N] or [N,1] | categories, under the output's name |
| floats [N] or [N,1] | deciles of the reference, under the output's name |
| floats [N,2], the probabilities of two classes | deciles of the second column, as `name[1]` |
| floats [N,k], k > 2 | the largest column's number as a category, as `argmax(name)`; and its value, as `max(name)` |

Where the model names the classes that the columns stand for, the category is the class's name instead of the number.

`profile.py` reduces reference answers with it, `counter.py` live ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

How = Literal["value", "second", "argmax", "max"]
Values = NDArray[Any]


@dataclass(frozen=True)
class Reduction:
    """From the output tensor `output` to one value per row, known as `name`; `width` columns are expected.

    `classes` are the names of the columns, or none; `order` says where the tensor has each of them, if elsewhere.
    """

    name: str
    output: str
    how: How
    width: int
    classes: tuple[str, ...] = ()
    order: tuple[int, ...] = ()

    def answered_by(self, classes: tuple[str, ...]) -> "Reduction | None":
        """The same for a model that has the classes in this order, which may be unknown; None if it has others.

        With other classes a column stands for something else, which would be counted under a wrong name.
        """
        if not classes or not self.classes or classes == self.classes:
            return self
        if sorted(classes) != sorted(self.classes):
            return None
        return replace(self, order=tuple(map(classes.index, self.classes)))

    def fits(self, tensor: Values, rows: int) -> bool:
        """Whether the tensor holds one answer of the expected shape for each row."""
        return tensor.ndim in (1, 2) and tensor.shape[0] == rows and tensor.size == rows * self.width

    def apply(self, tensor: Values, rows: int) -> Values:
        """One value per row, NaN ("" among names) where a float of the row is not finite; the tensor has to fit."""
        if self.how == "value" and tensor.dtype.kind != "f":
            return tensor.reshape(-1)
        table = tensor.reshape(rows, self.width).astype(np.float64)
        if self.order:
            table = table[:, self.order]
        finite = np.isfinite(table).all(axis=1)
        if self.how == "argmax":
            largest = table.argmax(axis=1)
            if self.classes:
                return np.where(finite, np.array(self.classes, object)[largest], "")
            values = largest.astype(np.float64)
        else:
            values = table.max(axis=1) if self.how == "max" else table[:, -1]
        return np.where(finite, values, np.nan)


def predictions(
    outputs: Mapping[str, Values], rows: int, classes: Mapping[str, tuple[str, ...]]
) -> tuple[list[Reduction], dict[str, str]]:
    """How to count each output of a reference run, and for those that can't be counted, why."""
    reductions, left_out = list[Reduction](), {}
    for name, tensor in outputs.items():
        found = [
            replace(reduction, classes=names) if len(names := classes.get(name, ())) == reduction.width else reduction
            for reduction in reductions_of(name, tensor)
            if reduction.fits(tensor, rows)
        ]
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
