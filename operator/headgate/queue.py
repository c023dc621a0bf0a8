"""A queue of keys: each key waits at most once, is worked on by at most one worker, and comes back when it should.

`handlers` puts keys in, workers hand them to `reconcile`. Failures come back with growing delays. All of it belongs to
the thread of the event loop: a key that another thread puts in between two steps of a worker could be lost for ever.
"""

import asyncio
import heapq
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from headgate.errors import HeadgateError, NamespaceTerminating, described

log = logging.getLogger("headgate.queue")

FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
"""Seconds after the first failure, and at most."""


class Key(NamedTuple):
    """A ModelDeployment."""

    namespace: str
    name: str


Work = Callable[[Key], Awaitable[float | None]]
"""Reconciles a key; returns the seconds until it is to be reconciled again (None: only after an event)."""


class Queue:
    """Keys that wait to be reconciled, the earliest first."""

    def __init__(self, clock: Callable[[], float], on_failure: Callable[[str], None] = lambda _: None) -> None:
        self._clock = clock
        self._on_failure = on_failure
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._busy: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._thread = threading.get_ident()
        self.ended_at = clock()
        """When a worker last came to the end of a key, well or not."""

    def __len__(self) -> int:
        return len(self._due)

    def overdue(self) -> float:
        """Seconds that the key which is due for longest has been waiting for a worker; 0 where none is due."""
        return max(0.0, self._clock() - min(self._due.values(), default=self._clock()))

    def add(self, key: Key, after: float = 0.0) -> None:
        """Reconcile `key` in `after` seconds, or earlier if it is due earlier. RuntimeError in another thread."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "Queue.add was called outside of the event loop's thread; handlers have to be coroutines"
            )
        due = self._clock() + after
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._changed.set()

    async def work(self, do: Work) -> None:
        """Take keys as they come due, for ever."""
        while True:
            key = await self._next()
            self._busy.add(key)
            try:
                await self._once(key, do)
            finally:
                self.ended_at = self._clock()
                self._busy.discard(key)
                self._changed.set()

    async def _once(self, key: Key, do: Work) -> None:
        try:
            again = await do(key)
        except Exception as error:
            self.add(key, self._failed(key, error))
            return
        self._failures.pop(key, None)
        if again is not None:
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

    async def _next(self) -> Key:
        while True:
            self._changed.clear()
            wait = self._take()
            if isinstance(wait, Key):
                return wait
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _take(self) -> Key | float | None:
        """The next key that is due and free, or the seconds until there may be one (None: not before a change)."""
        skipped: list[tuple[float, Key]] = []
        next_one: Key | float | None = None
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)
            elif due > self._clock():
                next_one = due - self._clock()
                break
            elif key in self._busy:
                skipped.append(heapq.heappop(self._heap))
            else:
                heapq.heappop(self._heap)
                del self._due[key]
                next_one = key
                break
        for entry in skipped:
            heapq.heappush(self._heap, entry)
        return next_one
