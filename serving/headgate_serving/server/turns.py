"""Work that takes long, in pieces: one of them in each turn of the event loop, so that nothing waits for the whole."""

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Iterator
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Turns:
    """What is to be done takes turns, each for a piece of it. Everything happens on the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: deque[Iterator[None]] = deque()

    def add(self, work: Iterator[None]) -> None:
        """Do it, from the next turn of the loop on; it handles what goes wrong in it."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        work = self._waiting[0]
        more = False
        try:
            more = next(work, work) is not work  # a piece yields None
        except Exception:
            logger.exception("a large request failed while it was read or answered, the others go on")
        finally:  # whatever happens: who stays at the head of the queue keeps all others from their turn
            self._waiting.popleft()
            if more:
                self._waiting.append(work)
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._next)


def at_once(work: Generator[object, None, T]) -> T:
    """All pieces one after the other, for what is small: the result."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: T = end.value
        return result
