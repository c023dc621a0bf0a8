"""The end of a serving process: say so, answer what comes until everybody knows, let what is under way finish.

`worker.py` calls `drain` at SIGTERM, which Kubernetes sends while some routers and clients still send requests here.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..http.listener import Listener
from ..listening import take_no_more
from ..runtime.settings import Settings
from .service import Service

logger = logging.getLogger(__name__)

_HANDSHAKE = 0.1  # seconds for connections that are being made when the last one may begin
_LOOK_EVERY = 0.02
_LAST_BYTES = 2.0  # seconds in which clients may read what is left of an answer over TLS


@dataclass(frozen=True)
class Front:
    """One protocol's listening socket, what accepts there, and its connections."""

    sock: socket.socket
    accepting: asyncio.Server
    clients: Listener[Any]
    secured: bool = False
    """Whether it speaks TLS."""

    def close(self) -> None:
        """Close everything as it is."""
        self.accepting.close()
        self.clients.close()


async def drain(service: Service, fronts: Sequence[Front], settings: Settings) -> None:
    """Return when nobody would lose an answer, at the latest `grace` seconds from now.

    Not ready at once; who connects within `drain_delay` is answered and asked to leave.
    """
    logger.info("draining")
    service.drain()
    loop = asyncio.get_running_loop()
    end = loop.time() + settings.grace
    for front in fronts:
        front.clients.drain()
    await asyncio.sleep(min(settings.drain_delay, settings.grace))
    await _stop_listening(fronts)
    telemetry = service.telemetry
    while telemetry.in_flight or any(front.clients.busy for front in fronts):
        if loop.time() >= end:
            break
        await asyncio.sleep(_LOOK_EVERY)
    if telemetry.in_flight:
        logger.warning("%d requests did not finish within %g s", telemetry.in_flight, settings.grace)
    await _sent_to_the_last([front for front in fronts if front.secured], min(end, loop.time() + _LAST_BYTES))


async def _sent_to_the_last(fronts: Sequence[Front], end: float) -> None:
    """What is encrypted already is on its way, and no connection counts it: it is sent when the connection is gone."""
    for front in fronts:
        front.clients.close()
    loop = asyncio.get_running_loop()
    while any(front.clients.connections for front in fronts):
        if loop.time() >= end:
            break
        await asyncio.sleep(_LOOK_EVERY)


async def _stop_listening(fronts: Sequence[Front]) -> None:
    for front in fronts:
        take_no_more(front.sock)
    await asyncio.sleep(_HANDSHAKE)
    for front in fronts:
        front.accepting.close()
        front.clients.wind_up()
