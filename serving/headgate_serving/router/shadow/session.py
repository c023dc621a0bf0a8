"""The shadow of one candidate beside one stable version: from copies to counted pairs.

What comes faster than the candidate answers waits in a queue that is bounded in number and, with all that is held, in
bytes; what is more is dropped and counted. A candidate that hangs costs memory up to that bound and nobody's time.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from headgate.api.policy import Agreement
from headgate_serving.router.copies.exchange import Exchange, Unusable
from headgate_serving.router.copies.room import Room
from headgate_serving.router.copies.waiting import Waiting
from headgate_serving.router.endpoints import Endpoint
from headgate_serving.router.shadow.asking import AT_ONCE, Candidate
from headgate_serving.router.shadow.series import Tally

log = logging.getLogger(__name__)

MOST_WAITING = 256


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose shadow there should be, and what is known of the candidate now. `timeout` in seconds."""

    stable: str
    candidate: str
    pods: tuple[Endpoint, ...]
    timeout: float
    agreement: Agreement


class Session:
    """Takes copies from its begin to its end, as a context."""

    def __init__(self, wish: Wish, room: Room, tally: Tally) -> None:
        self.pair = (wish.stable, wish.candidate)
        self._tally = tally
        self._candidate = Candidate(wish.pods, wish.timeout, wish.agreement)
        self._waiting = Waiting(MOST_WAITING, room)
        self._until_end = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Ready for copies."""
        async with AsyncExitStack() as stack:
            stack.callback(self._tally.forget)
            await stack.enter_async_context(self._candidate)
            workers = [asyncio.create_task(self._work()) for _ in range(AT_ONCE)]
            stack.push_async_callback(_end, workers)
            self._until_end = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No copies, no series."""
        await self._until_end.aclose()
        self._waiting.done(*self._waiting.rest())

    async def follow(self, wish: Wish) -> None:
        """The same two revisions, with other pods or another agreement."""
        await self._candidate.follow(wish.pods, wish.timeout, wish.agreement)

    def take(self, exchange: Exchange) -> None:
        """One more copy."""
        if exchange.revision != self.pair[0]:
            self._tally.drop("other-revision")
        elif reason := self._waiting.put(exchange):
            self._tally.drop(reason)

    def drop(self, reason: str) -> None:
        """There was one more, and it is of no use."""
        self._tally.drop(reason)

    async def _work(self) -> None:
        while True:
            exchange = await self._waiting.get()
            try:
                verdict, seconds = await self._candidate.verdict(exchange)
                self._tally.pair(verdict)
                self._tally.seconds.observe(seconds)
            except Unusable as error:
                self._tally.drop(error.reason)
            except Exception:  # one strange pair must not end the worker
                log.exception("a copied request could not be compared")
                self._tally.drop("broken")
            finally:
                self._waiting.done(exchange)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
