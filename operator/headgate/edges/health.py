"""The operator's health and metrics on one port: `/metrics`, `/healthz` (alive), `/readyz` (leading, or waiting to)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

SHUTDOWN_SECONDS = 1.0
"""For requests that are being answered when the server ends."""

Handler = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class Health:
    """What a probe gets: whether it is well, and why not."""

    well: bool
    detail: str = "ok"


def application(
    registry: CollectorRegistry, healthy: Callable[[], Health], ready: Callable[[], Health]
) -> web.Application:
    """The paths, and what answers them."""

    async def metrics(_: web.Request) -> web.Response:
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", _answering(healthy))
    app.router.add_get("/readyz", _answering(ready))
    return app


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
