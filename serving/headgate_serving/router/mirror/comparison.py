"""PURE: is the candidate's answer as good as stable's to the same request, and do they agree? Called by `candidate`.

A pair is a request: it agrees when all rows of all compared outputs do. Whole numbers, booleans and text have to be
equal; floating ones close enough. Where the user names no outputs and the model has some of the first kind, its
classes, only those count: a model that was trained anew gives other scores for the same class.
"""

import numpy as np
from numpy.typing import NDArray

from headgate.api.policy import Agreement
from headgate_serving.codec.lengths import Lengths
from headgate_serving.codec.lenient import Tensor, Tensors


def compared(stable: Tensors, agreement: Agreement) -> dict[str, float]:
    """Which outputs of stable's answer count, and how close each has to be. Empty: there is nothing to compare."""
    if agreement.outputs:
        return {output.name: output.tolerance for output in agreement.outputs if output.name in stable}
    classes = {name for name, output in stable.items() if not output.is_float}
    return dict.fromkeys(classes or stable, agreement.tolerance)


def is_fit(stable: Tensors, candidate: Tensors, agreement: Agreement, lengths: Lengths) -> bool:
    """Whether a client that reads stable's answer can read the candidate's: no output is missing or has another shape,
    and none is NaN or infinite where stable's is not. That is asked of all outputs, whatever is compared."""
    if agreement.same_outputs and any(
        name not in candidate or lengths.differ(name, output, candidate[name]) for name, output in stable.items()
    ):
        return False
    return all(
        _is_finite(output) or (name in stable and not _is_finite(stable[name])) for name, output in candidate.items()
    )


def _is_finite(output: Tensor) -> bool:
    return not output.is_float or bool(np.isfinite(output.values.astype(np.float64)).all())


def agree(stable: Tensors, candidate: Tensors, agreement: Agreement) -> bool:
    """Whether the candidate answered as stable did."""
    return all(
        name in candidate and _same(stable[name], candidate[name], tolerance)
        for name, tolerance in compared(stable, agreement).items()
    )


def few_labels_alike(stable: Tensors, candidate: Tensors, agreement: Agreement) -> bool:
    """Whether fewer than half of the rows have stable's label, in an output with one label for each row."""
    return any(
        _rows_alike(stable[name], candidate[name]) < 0.5
        for name in compared(stable, agreement)
        if name in candidate and _has_labels(stable[name]) and _has_labels(candidate[name])
    )


def _has_labels(output: Tensor) -> bool:
    """Whether it is [rows] or [rows, 1] of whole numbers, booleans or text."""
    return not output.is_float and len(output.shape) in (1, 2) and output.shape[1:] in ((), (1,))


def _rows_alike(stable: Tensor, candidate: Tensor) -> float:
    """0 to 1; 1 where there are not as many rows, or none."""
    if stable.shape != candidate.shape or not stable.values.size:
        return 1.0
    return float(np.mean(stable.values == candidate.values))


def _same(stable: Tensor, candidate: Tensor, tolerance: float) -> bool:
    if stable.shape != candidate.shape:
        return False
    text = [output.values.dtype.kind == "O" for output in (stable, candidate)]
    if any(text) or not (stable.is_float or candidate.is_float):
        return text[0] == text[1] and bool(np.array_equal(stable.values, candidate.values))
    return bool(np.all(_close(stable.values.astype(np.float64), candidate.values.astype(np.float64), tolerance)))


def _close(a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    """NaN is close to NaN, and an infinity to itself."""
    with np.errstate(invalid="ignore"):
        scale = np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
        near = np.isfinite(scale) & (np.abs(a - b) <= tolerance * scale)
    return np.asarray(near | (a == b) | (np.isnan(a) & np.isnan(b)))
