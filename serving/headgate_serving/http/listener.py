"""What the listeners of both protocols have in common: limits, the clock, and all connections of one of them."""

import asyncio
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)

SEND_WITHIN = 30.0  # seconds for a head; for a body, in which nothing may pause for longer
SLOWEST = 16 << 10  # bytes per second of a body, beyond that
_SAY_EVERY = 60.0  # seconds between two lines in the log that say the same
READ_WITHIN = 60.0  # seconds that an answer may wait for its reader
_SMALL = 1 << 20  # bytes of a request up to which it may use all of the memory for bodies
_FOR_SMALL = 8  # one part of so many is theirs alone, so that large bodies that do not come to an end leave room


@dataclass(frozen=True)
class Limits:
    """Bytes of one body, bytes of all bodies that are in memory, and connections."""

    body: int
    held: int
    connections: int = 4096

    @cached_property
    def for_all(self) -> int:
        """Of the bytes that may be held those that large bodies may take; the rest is for small ones alone."""
        return self.held - self.held // _FOR_SMALL


class Client(Protocol):
    """A connection, as far as its listener has to know it."""

    @property
    def busy(self) -> bool:
        """Whether the client would lose something if the connection were closed now."""

    def look_at_the_clock(self) -> None:
        """Called every second: has the client taken too long for something?"""

    def close(self) -> None:
        """Hang up once what is written has been sent."""


C = TypeVar("C", bound=Client)


class Listener(Generic[C]):
    """All connections, and what they share; `held` counts the bytes of bodies that are in memory."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0
        self.now = 0.0
        self.draining = False
        self.deserted = False
        self.connections: set[C] = set()
        self._said_crowded = -_SAY_EVERY
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watch the clock."""
        self.tell_time()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def tell_time(self) -> None:
        """Once a second: what a clock is good enough for that does not cost a call for each request."""
        self.now = asyncio.get_running_loop().time()

    def drain(self) -> None:
        """Ask clients to go elsewhere; what they still send is answered."""
        self.draining = True

    def wind_up(self) -> None:
        """Nobody can connect any more: end what has no end of its own."""
        self.deserted = True

    def close(self) -> None:
        """Close all connections as they are."""
        if self._sweeper:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.close()

    def has_room(self, more: int, size: int) -> bool:
        """Whether so many bytes more may be held for a request that takes `size`; the largest alone always fits."""
        held, limits = self.held + more, self.limits
        return held <= limits.for_all or held <= (limits.held if size <= _SMALL else min(limits.body, limits.held))

    def beyond(self) -> int:
        """How many connections there are beyond the limit; the log says so once in a while."""
        beyond = len(self.connections) - self.limits.connections
        if beyond > 0 and self.now - self._said_crowded >= _SAY_EVERY:
            self._said_crowded = self.now
            logger.warning(
                "there are %d connections, the most that are taken: further ones are refused", self.limits.connections
            )
        return beyond

    @property
    def busy(self) -> bool:
        """Whether a client would lose something if all connections were closed now."""
        return any(connection.busy for connection in self.connections)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.tell_time()
            for connection in list(self.connections):
                connection.look_at_the_clock()
