"""The agent's own port: health, readiness, metrics, and the drain that precedes the end of a pod."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from headgate_serving.listening import listening_socket

DRAIN_SECONDS = 5.0
LONGEST_SECONDS = 600.0
GO_ON_SECONDS = 60.0


class Drainable(Protocol):
    """Makes Envoy close its clients' connections (drain)."""

    async def drain(self, *, on: bool) -> bool:
        """Start or end it; whether Envoy heard it."""


class Web:
    """The handlers, and the server around them.

    `started` says that Envoy finds its configuration, `ready` that requests have somewhere to go.
    """

    def __init__(
        self,
        started: Callable[[], bool],
        ready: Callable[[], Awaitable[bool]],
        registry: CollectorRegistry,
        envoy: Drainable,
    ) -> None:
        self._started = started
        self._ready = ready
        self._registry = registry
        self._envoy = envoy
        self.draining = False

    async def serve(self, bind: str, port: int) -> web.AppRunner:
        """Start; the caller ends it by `cleanup`."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/startupz", self._startupz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                # Where Envoy has its own: a pod names one path for all its ports.
                web.get("/stats/prometheus", self._metrics),
                web.get("/drain", self._drain),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.SockSite(runner, listening_socket(bind, port)).start()
        return runner

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _startupz(self, _: web.Request) -> web.Response:
        if self._started():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="Envoy's configuration is not written yet\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if await self._ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="this router has had no version yet, or Envoy does not follow it yet\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _drain(self, request: web.Request) -> web.Response:
        """The preStop hook of the agent's container: each client's connection is closed with its next answer.

        Answers when `seconds` are over. A pod that doesn't end after all goes on as before: nobody can switch a router
        off by calling this.
        """
        try:
            seconds = min(max(float(request.query.get("seconds", DRAIN_SECONDS)), 0.0), LONGEST_SECONDS)
        except ValueError:
            return web.Response(status=400, text="seconds has to be a number\n")
        self.draining = True
        heard = await self._envoy.drain(on=True)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._back = asyncio.get_running_loop().call_later(GO_ON_SECONDS, self._go_on)
        return web.Response(text="drained\n" if heard else "there is no Envoy to drain\n")

    def _go_on(self) -> None:
        self.draining = False
        self._task = asyncio.ensure_future(self._envoy.drain(on=False))
