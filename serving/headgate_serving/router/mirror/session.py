"""The shadow of one candidate beside one stable version: from copies to counted pairs.

What comes faster than the candidate answers waits in a queue that is bounded in number and, with all that is held, in
bytes; what is more is dropped and counted. A candidate that hangs costs memory up to that bound, and no user's time.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from headgate.api.policy import Agreement
from headgate_serving.router.mirror.bounds import BoundedQueue, ByteBudget
from headgate_serving.router.mirror.candidate import AT_ONCE, Candidate
from headgate_serving.router.mirror.exchange import Exchange, Unusable
from headgate_serving.router.mirror.secured import SecuredPods
from headgate_serving.router.mirror.series import PairCounters
from headgate_serving.router.policy.endpoints import Endpoint

log = logging.getLogger(__name__)

MOST_WAITING = 256


@dataclass(frozen=True, slots=True)
class ShadowTarget:
    """The two revisions of a shadow, the candidate's ready pods, and how it is compared. `timeout` in seconds."""

    stable: str
    candidate: str
    pods: tuple[Endpoint, ...]
    timeout: float
    agreement: Agreement


class Session:
    """Takes copies from its begin to its end, as a context."""

    def __init__(self, target: ShadowTarget, budget: ByteBudget, counters: PairCounters, secured: SecuredPods) -> None:
        self.pair = (target.stable, target.candidate)
        self._counters = counters
        self._candidate = Candidate(target.pods, target.timeout, target.agreement, secured)
        self._queue = BoundedQueue(MOST_WAITING, budget)
        self._until_end = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Ready for copies."""
        async with AsyncExitStack() as stack:
            stack.callback(self._counters.forget)
            await stack.enter_async_context(self._candidate)
            workers = [asyncio.create_task(self._work()) for _ in range(AT_ONCE)]
            stack.push_async_callback(_end, workers)
            self._until_end = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers, and remove the pair's series."""
        await self._until_end.aclose()
        self._queue.done(*self._queue.drain())

    async def follow(self, target: ShadowTarget) -> None:
        """Take over new pods and a new agreement for the same two revisions."""
        await self._candidate.follow(target.pods, target.timeout, target.agreement)

    def take(self, exchange: Exchange) -> None:
        """Queue a copy, or count why not."""
        if exchange.revision != self.pair[0]:
            self._counters.drop("other-revision")
        elif reason := self._queue.put(exchange):
            self._counters.drop(reason)

    def drop(self, reason: str) -> None:
        """Count a copy that can't be used."""
        self._counters.drop(reason)

    async def _work(self) -> None:
        while True:
            exchange = await self._queue.get()
            try:
                verdict, seconds = await self._candidate.verdict(exchange)
                self._counters.pair(verdict)
                self._counters.seconds.observe(seconds)
            except Unusable as error:
                self._counters.drop(error.reason)
            except Exception:  # one strange pair must not end the worker
                log.exception("unhandled error: a copied request could not be compared")
                self._counters.drop("broken")
            finally:
                self._queue.done(exchange)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
