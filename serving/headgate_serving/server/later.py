"""What large requests become, in pieces: counted before it is in memory, or as it comes."""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import Overloaded

T = TypeVar("T")

Hold = Callable[[int], bool]
"""Counts so many bytes more for a request, and says whether there is room for them."""
Values = NDArray[Any]
Fill = Callable[[Values], Generator[int, None, None]]
"""Reads the values of a tensor; after each piece it yields how many bytes came of it, beside the tensor's own."""


def take(hold: Hold, size: int) -> None:
    """Count so many bytes more; Overloaded if there is no room for them."""
    if not hold(size):
        raise Overloaded("too many bytes of requests are waiting already; try again")


def counted(work: Generator[int, None, T], hold: Hold) -> Generator[None, None, T]:
    """Work that yields how many bytes came of each piece, as work that counts them; Overloaded beyond the limit."""
    while True:
        try:
            size = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        take(hold, size)
        yield


class Later:
    """Tensors that are without their values until all of the request is checked."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._fills: list[Generator[int, None, None]] = []

    def tensor(self, count: int, dtype: Any, fill: Fill) -> Values:
        """Room for so many values, which `fill` is going to bring; Overloaded if there is none."""
        take(self._hold, count * np.dtype(dtype).itemsize)
        tensor = np.empty(count, dtype)
        self._fills.append(fill(tensor))
        return tensor

    def fill(self) -> Generator[None, None, None]:
        """Read the values, a piece at a time."""
        for work in self._fills:
            yield from counted(work, self._hold)
