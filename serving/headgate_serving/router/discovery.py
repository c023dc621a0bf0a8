"""Hands the folder's documents to Envoy by its REST discovery, over a Unix socket. Questions wait until there is news.

Envoy asks for its clusters, its routes, the endpoints of each service, its certificate and who may ask, and says which
version it has. Who has the newest is kept until there is another one, so a change is there at once and nobody polls.
Envoy could follow the files by itself; but each file costs it one of the 128 inotify instances that Linux gives to all
processes of a user on a node, and an Envoy that gets none aborts.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from headgate_serving.router.config.layout import HOLD_SECONDS
from headgate_serving.router.files import XdsFolder

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
"""When a document is sent again that Envoy did not take."""


class Discovery:
    """The answers; `folder` tells it of changes, in the event loop's thread. It tells of what Envoy does not take."""

    def __init__(self, folder: XdsFolder, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._on_refusal = on_refusal
        self._folder = folder
        self._news = defaultdict[PurePosixPath, asyncio.Event](asyncio.Event)
        self._sent: dict[PurePosixPath, str] = {}
        self._over = False
        self._refusals = dict[PurePosixPath, str]()

    async def serve(self) -> web.AppRunner:
        """Start; the caller ends it by `cleanup`."""
        app = web.Application()
        app.router.add_post("/v3/discovery:{kind}", self._discover)
        app.on_shutdown.append(self._end)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.UnixSite(runner, str(self._folder.layout.agent_socket)).start()
        return runner

    def changed(self, path: PurePosixPath) -> None:
        """Answer who waits for this document."""
        self._news.pop(path, asyncio.Event()).set()

    def _refused(self, path: PurePosixPath, version: str) -> None:
        """Envoy asks again after it was told: it goes on with what it has. Said once for a version."""
        if self._refusals.get(path) != version:
            log.error("Envoy does not take version %s of %s, and goes on with what it has", version, path.name)
            self._refusals[path] = version
            self._on_refusal()

    async def _end(self, _: web.Application) -> None:
        """Let who waits ask the next agent."""
        self._over = True
        for path in list(self._news):
            self.changed(path)

    async def _discover(self, request: web.Request) -> web.Response:
        asked: dict[str, Any] = await request.json()
        path = self._path(request.match_info["kind"], asked.get("resource_names") or [])
        if path is None:
            return web.Response(status=404)
        has = asked.get("version_info", "")
        if has and has != (version := self._folder.version(path)) == self._sent.get(path):
            self._refused(path, version)
            await asyncio.sleep(AGAIN_SECONDS)
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                while (version := self._folder.version(path)) in ("", has) and not self._over:
                    await self._news[path].wait()
        except TimeoutError:
            return web.Response(status=304)
        if self._over:
            return web.Response(status=503)
        self._sent[path] = version
        return web.Response(text=self._folder.text(path), content_type="application/json")

    def _path(self, kind: str, names: list[str]) -> PurePosixPath | None:
        layout = self._folder.layout
        named = {"endpoints": layout.endpoints, "secrets": layout.secret, "extension_configs": layout.extension}
        if kind in named and len(names) == 1:
            return named[kind](names[0])
        return {"clusters": layout.clusters, "routes": layout.routes}.get(kind)
