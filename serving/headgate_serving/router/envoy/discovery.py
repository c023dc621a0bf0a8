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
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from headgate_serving.router.envoy.config.layout import HOLD_SECONDS
from headgate_serving.router.envoy.files import XdsFolder

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""When a document is sent again that Envoy did not take."""

FIRST_REFUSED_AFTER = 3
"""An Envoy that has nothing yet says nothing when it refuses: it asks again and again. One that has just started asks
for what another one got, but once."""


class Discovery:
    """The answers; `folder` tells it of changes, in the event loop's thread. It tells of what Envoy does not take."""

    def __init__(self, folder: XdsFolder, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._on_refusal = on_refusal
        self._folder = folder
        self._news = defaultdict[PurePosixPath, asyncio.Event](asyncio.Event)
        self._sent: dict[PurePosixPath, str] = {}
        self._over = False
        self._refusals = dict[PurePosixPath, str]()
        self._asked_first = defaultdict[PurePosixPath, list[float]](list)

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

    def refuses(self, path: PurePosixPath) -> bool:
        """Whether Envoy does not take this document as it is now."""
        return bool(version := self._folder.version(path)) and self._refusals.get(path) == version

    def _asks_again(self, path: PurePosixPath, has: str) -> bool:
        """Whether it has been told, by the version that it has, and did not take it."""
        version = self._folder.version(path)
        if not version or version != self._sent.get(path) or version == has:
            return False
        if has or self._refusals.get(path) == version:
            return True
        if path not in (self._folder.layout.clusters, self._folder.layout.routes):
            return False  # a cluster that is replaced asks for its pods anew
        now = asyncio.get_running_loop().time()
        times = self._asked_first[path] = [at for at in self._asked_first[path] if now - at < RETRY_SECONDS] + [now]
        return len(times) >= FIRST_REFUSED_AFTER

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
        if self._asks_again(path, has):
            self._refused(path, self._folder.version(path))
            # What comes instead is sent at once.
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._news[path].wait()
        elif has and has == self._refusals.get(path):
            del self._refusals[path]
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                while (version := self._folder.version(path)) in ("", has) and not self._over:
                    await self._news[path].wait()
        except TimeoutError:
            return web.Response(status=304)
        if self._over or request.transport is None or request.transport.is_closing():
            return web.Response(status=503)  # the Envoy that asked may be gone, and another one there that has nothing
        self._sent[path] = version
        return web.Response(text=self._folder.text(path), content_type="application/json")

    def _path(self, kind: str, names: list[str]) -> PurePosixPath | None:
        layout = self._folder.layout
        named = {"endpoints": layout.endpoints, "secrets": layout.secret, "extension_configs": layout.extension}
        if kind in named and len(names) == 1:
            return named[kind](names[0])
        return {"clusters": layout.clusters, "routes": layout.routes}.get(kind)
