"""The agent's own port: health, readiness, metrics. Whoever reaches it may read, and change nothing."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from headgate_serving.listening import listening_socket


class Web:
    """The handlers, and the server around them.

    `started` says that Envoy finds its configuration, `ready` that requests have somewhere to go.
    """

    def __init__(
        self,
        started: Callable[[], bool],
        ready: Callable[[], Awaitable[bool]],
        registry: CollectorRegistry,
    ) -> None:
        self._started = started
        self._ready = ready
        self._registry = registry

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
