"""An event loop whose clock jumps to the next timer when there is nothing else to do: no test waits for anything."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at second 1000; its time moves with its timers alone."""

    # Attributes of asyncio's loop in Python that its type stubs leave out.
    _scheduled: list[Any]
    _ready: deque[asyncio.Handle]
    _timer_cancelled_count: int

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            self._timer_cancelled_count -= 1
        if self._scheduled and not self._ready:
            self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]  # not in the stubs either


def run(story: Callable[[Callable[[], float]], Coroutine[Any, Any, None]]) -> None:
    """Run `story(clock)` to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(story(runner.get_loop().time))
