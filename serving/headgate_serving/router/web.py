"""The agent's own port: health, readiness, metrics, and the drain that precedes the end of a pod."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

DRAIN_SECONDS = 5.0
PATIENCE_SECONDS = 15.0
LONGEST_SECONDS = 600.0
GO_ON_SECONDS = 60.0
POLL_SECONDS = 0.1


class Drainable(Protocol):
    """Who can tell Envoy to let its clients go."""

    async def drain(self, *, on: bool) -> bool:
        """Start or end it; whether Envoy heard it."""

    async def active_requests(self) -> int:
        """How many requests are under way."""


class Web:
    """The handlers, and the server around them."""

    def __init__(self, ready: Callable[[], bool], registry: CollectorRegistry, envoy: Drainable) -> None:
        self._ready = ready
        self._registry = registry
        self._envoy = envoy

    async def serve(self, bind: str, port: int) -> web.AppRunner:
        """Start; the caller ends it by `cleanup`."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                # Where Envoy has its own: a pod names one path for all its ports.
                web.get("/stats/prometheus", self._metrics),
                web.get("/drain", self._drain),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, bind, port).start()
        return runner

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="Envoy's configuration is not written yet\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _drain(self, request: web.Request) -> web.Response:
        """The preStop hook of Envoy's container: answers when Envoy may be ended.

        For `seconds` the endpoints have time to forget the pod, and each client's connection is closed with its next
        answer; then the requests still under way have `patience` more. A pod that doesn't end after all goes on as
        before: nobody can switch a router off by calling this.
        """
        try:
            seconds = _bounded(request.query.get("seconds", DRAIN_SECONDS))
            patience = _bounded(request.query.get("patience", PATIENCE_SECONDS))
        except ValueError:
            return web.Response(status=400, text="seconds and patience have to be numbers\n")
        heard = await self._envoy.drain(on=True)
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(seconds)
            deadline = loop.time() + patience
            while await self._envoy.active_requests() and loop.time() < deadline:  # noqa: ASYNC110 (asks Envoy)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._back = loop.call_later(GO_ON_SECONDS, self._go_on)
        return web.Response(text="drained\n" if heard else "there is no Envoy to drain\n")

    def _go_on(self) -> None:
        self._task = asyncio.ensure_future(self._envoy.drain(on=False))


def _bounded(seconds: str | float) -> float:
    """Seconds that somebody asked for, within bounds. ValueError if it is no number."""
    return min(max(float(seconds), 0.0), LONGEST_SECONDS)
