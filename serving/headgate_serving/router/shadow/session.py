"""The shadow of one candidate beside one stable version: from Envoy's copies to counted pairs.

What comes faster than the candidate answers waits in a queue that is bounded in number and, with all that is held, in
bytes; what is more is dropped and counted. A candidate that hangs costs memory up to that bound and nobody's time.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from headgate_serving.router.endpoints import Endpoint
from headgate_serving.router.shadow.asking import AT_ONCE, Candidate
from headgate_serving.router.shadow.exchange import Exchange, Unusable
from headgate_serving.router.shadow.manners import giving_way
from headgate_serving.router.shadow.room import Room
from headgate_serving.router.shadow.rules import Rules
from headgate_serving.router.shadow.series import Tally
from headgate_serving.router.shadow.tap import Tap

log = logging.getLogger(__name__)

MOST_WAITING = 256


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose shadow there should be, and what is known of the candidate now. `timeout` in seconds."""

    stable: str
    candidate: str
    pods: tuple[Endpoint, ...]
    timeout: float
    rules: Rules


class Session:
    """Takes copies from its begin to its end, as a context."""

    def __init__(self, wish: Wish, socket: PurePosixPath, tally: Tally) -> None:
        self._stable = wish.stable
        self._tally = tally
        self._candidate = Candidate(wish.pods, wish.timeout, wish.rules)
        self._room = Room()
        self._waiting = asyncio.Queue[Exchange](MOST_WAITING)
        self._tap = Tap(socket, self._room, self._take, tally.drop)
        self._until_end = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Ready for copies."""
        async with AsyncExitStack() as stack:
            stack.callback(self._tally.forget)
            stack.enter_context(giving_way())
            await stack.enter_async_context(self._candidate)
            workers = [asyncio.create_task(self._work()) for _ in range(AT_ONCE)]
            stack.push_async_callback(_end, workers)
            await self._tap.start()
            stack.push_async_callback(self._tap.stop)
            self._until_end = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No copies, no series."""
        await self._until_end.aclose()

    async def follow(self, wish: Wish) -> None:
        """The same two revisions, with other pods or rules."""
        await self._candidate.follow(wish.pods, wish.timeout, wish.rules)

    def _take(self, exchange: Exchange) -> None:
        if exchange.revision == self._stable and not self._waiting.full():
            self._waiting.put_nowait(exchange)
            return
        self._tally.drop("queue" if exchange.revision == self._stable else "other-revision")
        self._room.give(exchange.size)

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
                self._room.give(exchange.size)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
