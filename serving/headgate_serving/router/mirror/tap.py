"""The Unix socket to which Envoy sends copies of requests and answers; `take` gets each complete exchange.

Envoy does not wait for it: it makes a call for each request that it copies and sends the pieces as they come. The call
ends when the answer is complete, or as soon as the copy can't be used.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath
from weakref import WeakSet

from google.protobuf.message import DecodeError

from headgate_serving.router.mirror.bounds import ByteBudget, RateLimiter
from headgate_serving.router.mirror.calls import Call, Connection
from headgate_serving.router.mirror.exchange import Exchange, ProcessingRequest, Unusable

LATER_SECONDS = 0.02
"""How long copies wait to be read: until the requests that they are copies of have been answered, if that is quick. So
no user shares a core with who looks at the request meanwhile, and the pieces of an exchange are read together."""


class Tap:
    """`take` gets each complete exchange, whose bytes the budget has back; `drop` the reason for each unusable copy."""

    def __init__(
        self, socket: PurePosixPath, budget: ByteBudget, take: Callable[[Exchange], None], drop: Callable[[str], None]
    ) -> None:
        self._socket = socket
        self._budget = budget
        self._rate = RateLimiter()
        self._take = take
        self._drop = drop
        self._connections = WeakSet[Connection]()

    async def start(self) -> None:
        """From now on there are copies."""
        self._server = await asyncio.get_running_loop().create_unix_server(self._connected, str(self._socket))

    async def stop(self) -> None:
        """Close the socket and all connections. Envoy goes on without copying."""
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()

    def _connected(self) -> Connection:
        connection = Connection(self._begin, partial(asyncio.get_running_loop().call_later, LATER_SECONDS))
        self._connections.add(connection)
        return connection

    def _begin(self) -> Call | None:
        if self._rate.allows(time.monotonic()):
            return _Copies(self._budget, self._take, self._drop)
        self._drop("pace")
        return None


class _Copies:
    """The pieces of one exchange."""

    def __init__(self, budget: ByteBudget, take: Callable[[Exchange], None], drop: Callable[[str], None]) -> None:
        self._budget = budget
        self._take = take
        self._drop = drop
        self._exchange = Exchange()
        self._held = 0

    def message(self, text: bytes) -> bool:
        """Add a piece; whether more are wanted."""
        exchange = self._exchange
        try:
            exchange.add(ProcessingRequest.FromString(text))
        except (Unusable, DecodeError) as error:
            return self._end(error.reason if isinstance(error, Unusable) else "broken")
        if not self._budget.take(exchange.size - self._held):
            return self._end("bytes")
        self._held = exchange.size
        if exchange.complete:
            self._budget.give(self._held)
            self._take(exchange)
        return not exchange.complete

    def ended(self) -> None:
        """The copy ends before the answer does."""
        self._end("broken")

    def _end(self, reason: str) -> bool:
        self._budget.give(self._held)
        self._drop(reason)
        return False
