"""Work that takes long, in pieces: one of them in each turn of the event loop, so that nothing waits for the whole."""

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Iterator
from typing import TypeVar

_SLICE = 0.02  # seconds of one work before the next has its turn: taking turns costs, and makes all of them late
_LONG = 0.01  # seconds of a piece that could not be made shorter, such as a copy of a whole message
_PAUSE = 0.005  # seconds after it: an answer takes several turns of the loop, from the connection to the last byte

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Turns:
    """What is to be done takes turns, each for a piece of it. Everything happens on the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: deque[Iterator[None]] = deque()
        self._spent = 0.0  # on the first of them, since its turn began

    def add(self, work: Iterator[None]) -> None:
        """Do it, from the next turn of the loop on; it handles what goes wrong in it."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        work = self._waiting[0]
        loop, more = asyncio.get_running_loop(), False
        began = loop.time()
        try:
            more = next(work, work) is not work  # a piece yields None
        except Exception:
            logger.exception("unhandled error while a large request was read or answered; the others go on")
        finally:  # whatever happens: who stays at the head of the queue keeps all others from their turn
            took = loop.time() - began
            self._spent += took
            if not more or self._spent > _SLICE:
                self._spent = 0.0
                self._waiting.popleft()
                if more:
                    self._waiting.append(work)
            if self._waiting:
                self._go_on(loop, took)

    def _go_on(self, loop: asyncio.AbstractEventLoop, took: float) -> None:
        if took > _LONG:
            loop.call_later(_PAUSE, self._next)
        else:
            loop.call_soon(self._next)


def at_once(work: Generator[object, None, T]) -> T:
    """All pieces one after the other, for what is small: the result."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: T = end.value
        return result
