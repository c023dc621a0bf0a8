"""Copies that wait for whoever looks at them: bounded in number, and in bytes by the room that they take."""

import asyncio

from headgate_serving.router.copies.exchange import Exchange
from headgate_serving.router.copies.room import Room


class Waiting:
    """A queue. Whoever gets copies out of it gives their room back when it is done with them."""

    def __init__(self, most: int, room: Room) -> None:
        self._queue = asyncio.Queue[Exchange](most)
        self._room = room

    def put(self, exchange: Exchange) -> str:
        """Take one more; the reason why not, or nothing."""
        if self._queue.full():
            return "queue"
        if not self._room.take(exchange.size):
            return "bytes"
        self._queue.put_nowait(exchange)
        return ""

    async def get(self) -> Exchange:
        """The next one, when there is one."""
        return await self._queue.get()

    def rest(self) -> list[Exchange]:
        """All that are there now."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def done(self, *exchanges: Exchange) -> None:
        """Their room is free."""
        for exchange in exchanges:
            self._room.give(exchange.size)
