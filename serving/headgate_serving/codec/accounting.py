"""What large requests become, in pieces: counted before it is in memory, or as it comes."""

import sys
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import BodyTooLarge, Overloaded

T = TypeVar("T")

MOST_TEXTS = 256 << 10
"""Elements of text in one request. ONNX Runtime takes and gives all of them at once, in which nothing else happens."""
MOST_TEXT = 12 << 20
"""Bytes of their letters, as Python has them."""

_EACH = sys.getsizeof("")
_COPIES = 5  # of a text: the request's, those of a model's input and output, the answer's, and the bytes of both

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


class Texts:
    """How much text one request has by now; BodyTooLarge where it is too much."""

    def __init__(self) -> None:
        self._count = self._size = 0

    def expect(self, count: int) -> None:
        """So many more are to come."""
        self._count += count
        if self._count > MOST_TEXTS:
            raise BodyTooLarge(f"the request has more than {MOST_TEXTS} elements of text; send fewer rows at a time")

    def came(self, size: int) -> int:
        """So many bytes more have come: those that they take until the answer is sent."""
        self._size += size
        if self._size - _EACH * self._count > MOST_TEXT:
            raise BodyTooLarge(f"the request has more than {MOST_TEXT} bytes of text; send fewer rows at a time")
        return _COPIES * size


class Deferred:
    """Tensors that are without their values until all of the request is checked."""

    def __init__(self, hold: Hold, texts: Texts | None = None) -> None:
        self._hold = hold
        self._texts = texts or Texts()
        self._fills: list[Generator[int, None, None]] = []

    def tensor(self, count: int, dtype: Any, fill: Fill) -> Values:
        """Room for so many values, which `fill` is going to bring; Overloaded if there is none.

        BodyTooLarge for more text than one request may have.
        """
        text = np.dtype(dtype).kind == "O"
        if text:
            self._texts.expect(count)
        take(self._hold, count * np.dtype(dtype).itemsize)
        tensor = np.empty(count, dtype)
        self._fills.append(self._text(fill(tensor)) if text else fill(tensor))
        return tensor

    def fill(self) -> Generator[None, None, None]:
        """Read the values, a piece at a time."""
        for work in self._fills:
            yield from counted(work, self._hold)

    def _text(self, work: Generator[int, None, None]) -> Generator[int, None, None]:
        for size in work:
            yield self._texts.came(size)
