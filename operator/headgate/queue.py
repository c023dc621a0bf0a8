"""A queue of keys: each key waits at most once, is worked on by at most one worker, and comes back when it should.

Keys that users wait for (a new spec, a rollout that runs) are urgent, and are not behind a thousand idle ones.

`handlers` puts keys in, workers hand them to `reconcile`. Failures come back with growing delays. All of it belongs to
the thread of the event loop: a key that another thread puts in between two steps of a worker could be lost for ever.
"""

import asyncio
import heapq
import logging
import math
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from headgate.errors import HeadgateError, NamespaceTerminating, described

log = logging.getLogger("headgate.queue")

FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
"""Seconds after the first failure, and at most."""

_SOON = 0.001
"""Seconds: timers may be early by their resolution, and nobody waits for less than that."""


class Key(NamedTuple):
    """A ModelDeployment."""

    namespace: str
    name: str


Work = Callable[[Key], Awaitable[float | None]]
"""Reconciles a key; returns the seconds until it is to be reconciled again (None: only after an event)."""


@dataclass(frozen=True)
class Order:
    """Who comes first."""

    is_urgent: Callable[[Key], bool] = lambda _: True
    """Whether users wait for a key: asked each time that it is added. All others are idle."""
    workers: int | None = None
    """How many there are: idle keys get at most half of them at a time, urgent ones leave them one. None: no limits."""
    apart: tuple[float, float] = (0.0, 0.0)
    """Seconds between two beginnings of the same key, if it is urgent and if it is idle: events may come in bursts."""


class _Due(NamedTuple):
    at: float
    urgent: bool


@dataclass
class _Lane:
    """The keys of one class, the earliest first."""

    limit: float
    heap: list[tuple[float, Key]] = field(default_factory=list)
    busy: int = 0


class Queue:
    """Keys that wait to be reconciled: urgent ones before idle ones, and among those the earliest first."""

    def __init__(
        self, clock: Callable[[], float], on_failure: Callable[[str], None] = lambda _: None, order: Order | None = None
    ) -> None:
        self._clock = clock
        self._on_failure = on_failure
        self._order = order or Order()
        workers = self._order.workers or math.inf
        self._lanes = {True: _Lane(max(1, workers - 1)), False: _Lane(max(1, workers // 2))}
        self._due: dict[Key, _Due] = {}
        self._busy: set[Key] = set()
        self._began: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._thread = threading.get_ident()
        self.ended_at = clock()
        """When a worker last came to the end of a key, well or not."""

    def __len__(self) -> int:
        return len(self._due)

    def overdue(self) -> float:
        """Seconds that the key which is due for longest has been waiting for a worker; 0 where none is due."""
        return max(0.0, self._clock() - min((due.at for due in self._due.values()), default=self._clock()))

    def add(self, key: Key, after: float = 0.0) -> None:
        """Reconcile `key` in `after` seconds, or earlier if it is due earlier. RuntimeError in another thread."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "Queue.add was called outside of the event loop's thread; handlers have to be coroutines"
            )
        urgent = self._order.is_urgent(key)
        earliest = self._began.get(key, -math.inf) + self._order.apart[not urgent]
        before = self._due.get(key, _Due(math.inf, False))
        due = _Due(min(before.at, max(self._clock() + after, earliest)), urgent or before.urgent)
        if due == before:
            return
        self._due[key] = due
        heapq.heappush(self._lanes[due.urgent].heap, (due.at, key))
        self._changed.set()

    async def work(self, do: Work) -> None:
        """Take keys as they come due, for ever."""
        while True:
            key, lane = await self._next()
            self._busy.add(key)
            lane.busy += 1
            self._began[key] = self._clock()
            try:
                await self._once(key, do)
            finally:
                self.ended_at = self._clock()
                self._busy.discard(key)
                lane.busy -= 1
                self._changed.set()

    async def _once(self, key: Key, do: Work) -> None:
        try:
            again = await do(key)
        except Exception as error:
            self.add(key, self._failed(key, error))
            return
        self._failures.pop(key, None)
        if again is None:
            self._began.pop(key, None)
        else:
            self.add(key, again)

    def _failed(self, key: Key, error: Exception) -> float:
        """Count and log a failure; the seconds until the key comes back."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(FIRST_DELAY * 2.0 ** (count - 1), LONGEST_DELAY)
        if isinstance(error, HeadgateError) and error.again is not None:
            delay = min(delay, error.again)
        is_ours = isinstance(error, HeadgateError)
        level = logging.DEBUG if isinstance(error, NamespaceTerminating) else logging.WARNING
        if level == logging.WARNING:
            self._on_failure(error.reason if isinstance(error, HeadgateError) else type(error).__name__)
        log.log(level, "%s/%s: %s; again in %.1f s", *key, described(error), delay, exc_info=not is_ours)
        return delay

    async def _next(self) -> tuple[Key, _Lane]:
        while True:
            self._changed.clear()
            if taken := self._take():
                return taken
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait()):
                    await self._changed.wait()

    def _take(self) -> tuple[Key, _Lane] | None:
        """The next key that is due and free, with its lane."""
        for urgent, lane in self._lanes.items():
            if lane.busy < lane.limit and (key := self._first(lane, urgent)):
                return key, lane
        return None

    def _first(self, lane: _Lane, urgent: bool) -> Key | None:
        skipped, found = list[tuple[float, Key]](), None
        while found is None and lane.heap and lane.heap[0][0] <= self._clock() + _SOON:
            at, key = heapq.heappop(lane.heap)
            if self._due.get(key) != (at, urgent):
                continue  # it was added anew, to come earlier or in the other lane
            if key in self._busy:
                skipped.append((at, key))
            else:
                found = key
                del self._due[key]
        for entry in skipped:
            heapq.heappush(lane.heap, entry)
        return found

    def _wait(self) -> float | None:
        """The seconds until there may be a key (None: not before a change): one that is due by now waits for that."""
        soon = self._clock() + _SOON
        heads = [lane.heap[0][0] for lane in self._lanes.values() if lane.heap]
        if heads and min(heads) <= soon:  # due, and busy or beyond a limit: look behind it
            heads = [due.at for due in self._due.values() if due.at > soon]
        return min(heads) - self._clock() if heads else None
