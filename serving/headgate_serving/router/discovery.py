"""Hands the folder's documents to Envoy by its REST discovery, over a Unix socket. Questions wait until there is news.

Envoy asks for its clusters, its routes and the endpoints of each service, and says which version it has. Who has the
newest is kept until there is another one, so a change is there at once and nobody polls. Envoy could follow the files
by itself; but each file costs it one of the 128 inotify instances that Linux gives to all processes of a user on a
node, and an Envoy that gets none aborts.
"""

import asyncio
from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from headgate_serving.router.config.layout import HOLD_SECONDS
from headgate_serving.router.files import XdsFolder

AGAIN_SECONDS = 1.0
"""When a document is sent again that Envoy did not take."""


class Discovery:
    """The answers; `folder` tells it of changes, in the event loop's thread."""

    def __init__(self, folder: XdsFolder) -> None:
        self._folder = folder
        self._news = defaultdict[PurePosixPath, asyncio.Event](asyncio.Event)
        self._sent: dict[PurePosixPath, str] = {}
        self._over = False

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
        if has and has != self._folder.version(path) == self._sent.get(path):
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
        if kind == "endpoints" and len(names) == 1:
            return layout.endpoints(names[0])
        return {"clusters": layout.clusters, "routes": layout.routes}.get(kind)
