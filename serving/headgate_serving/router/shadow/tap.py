"""Where Envoy sends its copies: a gRPC server on a socket of the pod. Whole exchanges come out of it.

Envoy waits for none of it: it opens a call for each request that it copies, sends the pieces as it has them, and the
call ends when the answer is complete, or as soon as it is clear that there is no use in it.
"""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import PurePosixPath
from typing import Any

import grpc

from headgate_serving.router.config.shadowing import MAX_BODY, MAX_COPIES
from headgate_serving.router.shadow.exchange import Exchange, Unusable
from headgate_serving.router.shadow.messages import METHOD, SERVICE, ProcessingRequest
from headgate_serving.router.shadow.pace import Pace
from headgate_serving.router.shadow.room import Room

_OPTIONS = (
    # A piece is at most what Envoy has read; no call announces itself to the outside.
    ("grpc.max_receive_message_length", 4 * MAX_BODY),
    # How much the library keeps for a call that nobody reads is fixed, not measured.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 << 10),
    ("grpc.so_reuseport", 0),
)


class Tap:
    """`take` gets each exchange, and gives its bytes back to `room`; `drop` gets the reason where there is none."""

    def __init__(
        self, socket: PurePosixPath, room: Room, take: Callable[[Exchange], None], drop: Callable[[str], None]
    ) -> None:
        self._room = room
        self._pace = Pace()
        self._take = take
        self._drop = drop
        handler = grpc.stream_stream_rpc_method_handler(
            self._process, request_deserializer=ProcessingRequest.FromString, response_serializer=bytes
        )
        self._server = grpc.aio.server(maximum_concurrent_rpcs=2 * MAX_COPIES, options=_OPTIONS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        self._server.add_insecure_port(f"unix:{socket}")

    async def start(self) -> None:
        """From now on there are copies."""
        await self._server.start()

    async def stop(self) -> None:
        """At once: Envoy goes on without."""
        await self._server.stop(0)

    async def _process(self, copies: AsyncIterator[Any], _: Any) -> None:
        if not self._pace.allows(time.monotonic()):
            self._drop("pace")
            return
        exchange, held, reason = Exchange(), 0, "broken"
        try:
            async for copied in copies:
                exchange.add(copied)
                if not self._room.take(exchange.size - held):
                    reason = "bytes"
                    break
                held = exchange.size
                if exchange.complete:
                    held = 0  # they are the taker's now
                    self._take(exchange)
                    return
        except Unusable as error:
            reason = error.reason
        finally:
            self._room.give(held)
        self._drop(reason)
