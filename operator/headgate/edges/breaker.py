"""A circuit breaker around the questions to one server: when it hangs, one probe waits for it and nobody else.

`__main__` puts it between Prometheus' client and the network. A question that has no answer soon makes a probe ask
something that costs nothing. If that is answered, only the question is slow, and goes on; else the circuit is open: all
questions that wait end at once, new ones are refused, and the probe alone asks, with growing delays, until it has an
answer. So a server that hangs costs every reconciliation together two seconds, and one slow question costs the others
nothing.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import httpx

log = logging.getLogger("headgate.breaker")

SUSPECT_AFTER = 0.5
"""Seconds without an answer after which a probe asks."""

PROBE_SECONDS = 1.0
"""For the answer to the probe."""

PROBE_BYTES = 64 << 10
"""Of the answer to the probe, at most; a time takes a hundred."""

FIRST_DELAY, LONGEST_DELAY = 1.0, 15.0
"""Seconds between two probes while the circuit is open: at first, and at most."""

_OPEN = "it does not answer; a probe asks until it does"


class GuardedClient(httpx.AsyncClient):
    """An HTTP client for one server, with a circuit breaker. Belongs to one event loop."""

    def __init__(self, probe: str, on_change: Callable[[bool], object] = lambda _: None, **options: Any) -> None:
        """`probe` is the URL of a question that costs nothing; `on_change` is told whether the circuit is open."""
        super().__init__(**options)
        self._question = probe
        self._on_change = on_change
        self._waiting: set[asyncio.Timeout] = set()
        self._probing: asyncio.Task[None] | None = None
        self.is_open = False

    async def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        """As httpx does. Raises httpx.TimeoutException, at once while the circuit is open."""
        if self.is_open:
            self._suspect()  # whatever has ended the last probe
            raise httpx.ConnectTimeout(_OPEN, request=request)
        suspicion = asyncio.get_running_loop().call_later(SUSPECT_AFTER, self._suspect)
        limit = asyncio.timeout(None)
        self._waiting.add(limit)
        try:
            async with limit:
                return await super().send(request, **how)
        except TimeoutError as error:
            raise httpx.ReadTimeout(_OPEN, request=request) from error
        except httpx.ConnectError:
            self._suspect()
            raise
        finally:
            suspicion.cancel()
            self._waiting.discard(limit)

    async def aclose(self) -> None:
        """Close all connections, and end the probe."""
        if self._probing:
            self._probing.cancel()
        await super().aclose()

    def _suspect(self) -> None:
        if self._probing is None or self._probing.done():
            self._probing = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        delay = FIRST_DELAY
        while not await self._answers():
            self._open()
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))
            delay = min(2 * delay, LONGEST_DELAY)
        self._set(False)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                response = await super().send(self.build_request("GET", self._question), stream=True)
                return await _is_small(response) and not response.is_server_error
        except (TimeoutError, httpx.HTTPError):
            return False
        except Exception:  # such as credentials that can't be read now: the probe must live, or the circuit stays open
            log.warning("The probe can't ask; it tries again.", exc_info=True)
            return False

    def _open(self) -> None:
        self._set(True)
        now = asyncio.get_running_loop().time()
        for limit in self._waiting:
            if not limit.expired():
                limit.reschedule(now)

    def _set(self, is_open: bool) -> None:
        if is_open != self.is_open:
            self.is_open = is_open
            self._on_change(is_open)


async def _is_small(response: httpx.Response) -> bool:
    """Read the answer to its end, or until it is too long."""
    read = 0
    try:
        async for piece in response.aiter_bytes():
            read += len(piece)
            if read > PROBE_BYTES:
                return False
        return True
    finally:
        await response.aclose()
