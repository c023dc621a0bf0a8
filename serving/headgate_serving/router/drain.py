"""The drain before the end of a router's pod: each client's connection is closed with its next answer.

The preStop hook of the agent's container asks for it (`drain_hook`), by a Unix socket in the folder that the agent
shares with Envoy: from outside of the pod nobody can.
"""

import asyncio
from pathlib import PurePosixPath
from typing import Protocol

from aiohttp import web

LONGEST_SECONDS = 600.0
GO_ON_SECONDS = 60.0
"""How long after a drain a pod that does not end after all goes on as before."""

MOST_WAITING = 4
"""Who waits for the end of a drain at a time; the kubelet asks once, and again after its own restart."""


class Drainable(Protocol):
    """Makes Envoy close its clients' connections (drain)."""

    async def drain(self, *, on: bool) -> bool:
        """Start or end it; whether Envoy heard it."""


class Drain:
    """One drain at a time: its time is that of who asked first, and who asks meanwhile waits for the same end."""

    def __init__(self, envoy: Drainable) -> None:
        self.on = False
        """Whether the pod ends, as far as is known."""
        self._envoy = envoy
        self._over = asyncio.Event()
        self._over.set()
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0

    async def serve(self, socket: PurePosixPath) -> web.AppRunner:
        """Listen at a Unix socket; the caller ends it by `close` and `cleanup`."""
        app = web.Application()
        app.router.add_post("/drain", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        return runner

    async def close(self) -> None:
        """Forget the drain that runs; Envoy stays as it is."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.Response:
        """When the drain is over. 400 without a number of seconds, 503 where too many wait already."""
        try:
            seconds = float(request.query["seconds"])
        except (KeyError, ValueError):
            return web.Response(status=400, text="the query has to have seconds, as a number\n")
        if not 0 <= seconds <= LONGEST_SECONDS:
            return web.Response(status=400, text=f"seconds has to be 0 to {LONGEST_SECONDS:g}, not {seconds:g}\n")
        if self._waiting >= MOST_WAITING:
            return web.Response(status=503, text=f"{MOST_WAITING} wait for the end of this drain already\n")
        self._waiting += 1
        try:
            await self.wait(seconds)
        finally:
            self._waiting -= 1
        return web.Response(text="drained\n")

    async def wait(self, seconds: float) -> None:
        """Begin a drain of so many seconds or, where one runs, wait for its end."""
        if self._over.is_set():
            self._over.clear()
            await self.close()
            self._task = asyncio.create_task(self._run(seconds))
        await self._over.wait()

    async def _run(self, seconds: float) -> None:
        self.on = True
        try:
            await self._envoy.drain(on=True)
            await asyncio.sleep(seconds)
        finally:
            self._over.set()
        await asyncio.sleep(GO_ON_SECONDS)
        await self._envoy.drain(on=False)
        self.on = False
