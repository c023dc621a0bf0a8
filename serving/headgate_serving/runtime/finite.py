"""Whether an answer holds a number that is none: NaN or infinity."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..codec.tensor import Tensor, TensorSpec

_SMALL = 10_000
"""Elements up to which a product is quicker than looking at each; of more numpy's library would start threads."""


def floating(outputs: Iterable[TensorSpec]) -> tuple[str, ...]:
    """The names of the outputs that can hold such numbers."""
    return tuple(spec.name for spec in outputs if spec.datatype.kind == "f")


def all_finite(tensor: NDArray[np.floating]) -> bool:
    """Whether no element is NaN or infinite."""
    if tensor.size <= _SMALL and tensor.itemsize > 2 and math.isfinite(np.vdot(tensor, tensor)):
        return True
    # The product may also be infinite because the numbers are large.
    return bool(np.isfinite(tensor).all())


def has_invalid(results: Mapping[str, Tensor], names: Iterable[str]) -> bool:
    """Whether one of these outputs holds such a number, as far as it is among the results."""
    return any(name in results and not all_finite(results[name]) for name in names)
