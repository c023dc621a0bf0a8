"""What bounds copies: bytes over all of them, how many a second, and how many wait.

Some hundred pairs are enough for a verdict, and each costs the agent a millisecond or two of CPU. A busy router would
copy thousands a second, and an agent that is busy with them takes cores from Envoy and follows the weights late. So
what is above the rate is dropped before its body is read.
"""

import asyncio
from dataclasses import dataclass, field

from headgate_serving.router.mirror.exchange import Exchange

MOST_BYTES = 32 << 20
MOST_A_SECOND = 50.0


@dataclass(slots=True)
class ByteBudget:
    """A bound in bytes over all copies, from the first piece to the verdict."""

    most: int = MOST_BYTES
    taken: int = 0

    def take(self, size: int) -> bool:
        """Whether so many more bytes fit; if so they are taken."""
        if self.taken + size > self.most:
            return False
        self.taken += size
        return True

    def give(self, size: int) -> None:
        """Give bytes back that are held no more."""
        self.taken -= size


@dataclass(slots=True)
class RateLimiter:
    """A token bucket: so many a second, and as many at once after a pause. `now` in seconds of a monotonic clock."""

    a_second: float = MOST_A_SECOND
    _left: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._left = self.a_second

    def allows(self, now: float) -> bool:
        """Whether another one may come now; if so it is counted."""
        self._left = min(self.a_second, self._left + (now - self._at) * self.a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class BoundedQueue:
    """Copies that wait, at most `most`. Who gets copies out of it calls `done` with them, which frees their bytes."""

    def __init__(self, most: int, budget: ByteBudget) -> None:
        self._queue = asyncio.Queue[Exchange](most)
        self._budget = budget

    def put(self, exchange: Exchange) -> str:
        """Take one more; the reason why not, or an empty text."""
        if self._queue.full():
            return "queue"
        if not self._budget.take(exchange.size):
            return "bytes"
        self._queue.put_nowait(exchange)
        return ""

    async def get(self) -> Exchange:
        """The next one, as soon as there is one."""
        return await self._queue.get()

    def drain(self) -> list[Exchange]:
        """Take out all that are there now."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def done(self, *exchanges: Exchange) -> None:
        """Free their bytes."""
        for exchange in exchanges:
            self._budget.give(exchange.size)
