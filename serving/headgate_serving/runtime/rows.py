"""Are a model's rows independent of each other? Only then may rows of several requests share a run.

A free first dimension is only a claim. `tryout.py` asks at the start, with made-up rows; what it had no time for,
`joining.py` asks later, beside the requests of users.
"""

from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..codec.tensor import Tensor, TensorSpec
from ..errors import ExecutionFailed
from .model import Model, Run

ON = "on"
LATER = "off for now: requests will show whether the model's rows are independent"
UNTRIED = "off: it could not be tried whether the model's rows are independent"
DEPENDENT = "off: a row's answer depends on the other rows"

_EXACT, _COARSE = 1e-5, 4e-3  # differences that are rounding, as a share of the largest number of a column


def why_not(model: Model) -> str:
    """Why there is nothing to find out; empty if there is. Outputs may be declared as they like."""
    if not model.inputs:
        return "off: the model has no input"
    fixed = next((spec for spec in model.inputs if spec.first != -1), None)
    return f"off: not every tensor's first dimension is free (that of {fixed.name!r} is not)" if fixed else ""


def may_be_longer(model: Model) -> bool:
    """Whether users' rows may have other shapes than the made-up ones."""
    return any(dim < 0 for spec in model.inputs for dim in spec.assumed[1:])


def examples(model: Model, rows: int, shapes: Mapping[str, Sequence[int]] = MappingProxyType({})) -> dict[str, Tensor]:
    """Inputs for a run that nobody asked for; the first dimension is `rows`, other free ones are as in `shapes`, or 1.

    Of one row all are 0, of several the others differ from the first: whole numbers are 0 and 1, which most indices
    may be, and floats lie somewhere between, for 0 and 1 are the same in a sum as alone.
    """
    return {spec.name: _example(spec, rows, shapes.get(spec.name, spec.assumed)) for spec in model.inputs}


def _example(spec: TensorSpec, rows: int, like: Sequence[int]) -> Tensor:
    shape = [rows if at == 0 and spec.assumed[0] < 0 else dim if dim >= 0 else 1 for at, dim in enumerate(like)]
    text = spec.datatype.kind == "O"
    values = np.full(shape, "", object) if text else np.zeros(shape, spec.datatype.dtype)
    if values.ndim and rows > 1:
        values[1:] = "a" if text else 1
        if spec.datatype.kind == "f":
            values[:] = np.random.default_rng(1).random(shape)
    return values


def independence(model: Model, two: Mapping[str, Tensor], run: Run) -> Generator[None, None, str]:
    """Whether two rows, in either order, have the answers that each has alone: ON, or a reason that begins with "off".

    Yields before each of its four runs, the first two of one row, the others of two. Both orders are tried, for a
    running sum shows in one of them only. ExecutionFailed if the model does not like these rows, or if an output of
    theirs has no elements: any two of those are the same.
    """
    answers = []
    for rows in ([0], [1], [0, 1], [1, 0]):
        yield
        answers.append(model.run({name: tensor[rows] for name, tensor in two.items()}, model.output_names, run))
    first, second, both, reverse = answers
    coarse = any(spec.datatype.name in ("FP16", "BF16") for spec in (*model.inputs, *model.outputs))
    error = _COARSE if coarse else _EXACT
    for name in model.output_names:
        alone = (first[name], second[name])
        if not _are_rows(*alone, both[name]):
            return f"off: output {name!r} does not have one row for each row of the inputs"
        if not both[name].size:
            raise ExecutionFailed(f"output {name!r} has no elements, so that nothing of it can be compared")
        if not (_stacked(*alone, both[name], error) and _stacked(*alone[::-1], reverse[name], error)):
            return DEPENDENT
    return ON


def _are_rows(first: Tensor, second: Tensor, both: Tensor) -> bool:
    return first.shape[:1] == (1,) and second.shape == first.shape and both.shape == (2, *first.shape[1:])


def _stacked(first: Tensor, second: Tensor, both: Tensor, error: float) -> bool:
    """Whether the answer to two rows is that to the first and that to the second, but for rounding."""
    apart = np.concatenate([first, second])
    if both.shape != apart.shape:
        return False
    if both.dtype.kind != "f":
        return bool((both == apart).all())
    close = np.isclose(both, apart, rtol=10 * error, atol=error * _sizes(apart), equal_nan=True)
    return bool(close.all())


def _sizes(values: Tensor) -> Tensor:
    """What rounding is measured by: the largest number of each column, whichever axis but the first columns lie along.

    Of the whole tensor it would be too much: beside an amount of a million, a probability could be anything. Of each
    element it would be too little: a sum of large numbers may be almost 0. The shape broadcasts to that of `values`.
    """
    finite = np.where(np.isfinite(values), np.abs(values), 0)
    sizes: Tensor = finite.max(keepdims=True, initial=0)
    for column in range(1, values.ndim):
        others = tuple(axis for axis in range(values.ndim) if axis != column)
        sizes = np.minimum(sizes, finite.max(axis=others, keepdims=True, initial=0))
    return sizes
