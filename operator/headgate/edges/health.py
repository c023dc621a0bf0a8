"""The operator's health and metrics on one port: `/metrics`, `/healthz` (alive), `/readyz` (leading, or waiting to)."""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

SHUTDOWN_SECONDS = 1.0
"""For requests that are being answered when the server ends."""

SHOWN_FOR = 1.0
"""Seconds that a text of all metrics is handed out for."""

SHOWN_FOR_TIMES = 20
"""The same as a multiple of how long it took to make it: whoever asks without end gets a twentieth of the process."""

METRICS = "/metrics"

Handler = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class Admission:
    """Whether somebody may read metrics: an HTTP status, and words for him where it is not 200."""

    status: int
    words: str = ""


ADMITTED = Admission(200)

Admit = Callable[[str], Awaitable[Admission]]
"""Answers a header `Authorization`, or the empty string where there is none."""


async def everybody(_: str) -> Admission:
    """Admits without a question."""
    return ADMITTED


@dataclass(frozen=True)
class Health:
    """What a probe gets: whether it is well, and why not."""

    well: bool
    detail: str = "ok"


class Shown:
    """The text of all metrics, made once a second at most: with thousands of models it takes a second itself."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._text, self._until = b"", -math.inf

    def text(self) -> bytes:
        """In Prometheus' form; made anew when it is older than SHOWN_FOR."""
        began = self._clock()
        if began >= self._until:
            self._text = generate_latest(self._registry)
            ended = self._clock()
            self._until = ended + max(SHOWN_FOR, SHOWN_FOR_TIMES * (ended - began))
        return self._text


def application(
    registry: CollectorRegistry,
    healthy: Callable[[], Health],
    ready: Callable[[], Health],
    admit: Admit = everybody,
) -> web.Application:
    """The paths, and what answers them. `admit` says who may read metrics; probes answer everybody."""

    shown = Shown(registry)

    async def metrics(request: web.Request) -> web.Response:
        admission = await admit(request.headers.get("Authorization", ""))
        if admission != ADMITTED:
            return _refusing(admission)
        return web.Response(body=shown.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get(METRICS, metrics)
    app.router.add_get("/healthz", _answering(healthy))
    app.router.add_get("/readyz", _answering(ready))
    return app


def _refusing(admission: Admission) -> web.Response:
    challenge = {"WWW-Authenticate": "Bearer"} if admission.status == 401 else {}
    return web.Response(status=admission.status, text=f"{admission.words}\n", headers=challenge)


def _answering(probe: Callable[[], Health]) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        health = probe()
        return web.json_response(asdict(health), status=200 if health.well else 503)

    return answer


@asynccontextmanager
async def listening(app: web.Application, port: int) -> AsyncIterator[None]:
    """Serve `app` on all addresses. Raises OSError where the port is taken."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
