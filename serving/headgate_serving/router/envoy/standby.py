"""Listens on Envoy's port while there is no Envoy: connections wait, instead of being refused.

Kubernetes starts an Envoy that was killed anew within a second or two. It shares its port with whoever of its user
asks for that (SO_REUSEPORT), so nothing has to be handed over: when Envoy is back this listener closes, and the
connections that it holds are passed on, byte by byte, for as long as they last.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

from headgate_serving.listening import ALL_OF_IPV4, BOTH, listening_socket
from headgate_serving.router.envoy.admin import Admin

log = logging.getLogger(__name__)

MOST_HELD = 1024
"""Connections; more are refused."""

HELD_SECONDS = 3.0
"""How long they are held: who is refused can try elsewhere, and Kubernetes has taken the pod out by then."""

POLL_SECONDS = 0.02
_PIECE = 1 << 16
_LOOPBACK = {ALL_OF_IPV4: "127.0.0.1", BOTH: "127.0.0.1"}
"""Where Envoy is reached: a pod has a loopback address of IPv4 even if the cluster has none."""


class StandbyListener:
    """`bind` and `port` are Envoy's; `ending` says that Envoy goes because its pod does."""

    def __init__(self, admin_socket: Path, bind: str, port: int, ending: Callable[[], bool]) -> None:
        self._socket = admin_socket
        self._admin = Admin(admin_socket)
        self._bind = bind
        self._port = port
        self._ending = ending
        self._held = 0
        self._connections = set[asyncio.Task[object]]()

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            while True:
                await self._until_gone()
                if not self._ending():
                    await self._hold()
        finally:
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _until_gone(self) -> None:
        """Wait for an Envoy to start and to end. A connection to its admin socket ends with the process."""
        seen = False
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket)
            except OSError:
                if seen:
                    return
                await asyncio.sleep(POLL_SECONDS)
                continue
            seen = True
            with suppress(OSError):
                await reader.read()
            writer.close()

    async def _hold(self) -> None:
        loop = asyncio.get_running_loop()
        back: asyncio.Future[bool] = loop.create_future()
        there, self._held = False, 0
        try:
            with self._listening() as listening:
                log.warning("there is no Envoy; connections wait for the next one")
                try:
                    await asyncio.start_server(partial(self._accept, back), sock=listening, backlog=socket.SOMAXCONN)
                    there = await self._is_back(loop.time() + HELD_SECONDS)
                finally:
                    loop.remove_reader(listening)
        except OSError as error:
            log.warning("there is no Envoy, and its port can't be kept open: %s", error)
        finally:
            back.set_result(there)
        log.warning("%d connections waited for Envoy; it is %s", self._held, "back" if there else "still not there")

    async def _is_back(self, deadline: float) -> bool:
        loop = asyncio.get_running_loop()
        while not (there := await self._admin.started()) and loop.time() < deadline:  # noqa: ASYNC110 - asks Envoy
            await asyncio.sleep(POLL_SECONDS)
        return there

    def _listening(self) -> socket.socket:
        return listening_socket(self._bind, self._port, socket.SOMAXCONN, reuse_port=True)

    async def _accept(
        self, back: "asyncio.Future[bool]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._held += 1
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        transport = cast("asyncio.Transport", writer.transport)
        transport.pause_reading()  # what they send meanwhile is the kernel's to keep
        try:
            if self._held > MOST_HELD or not await asyncio.shield(back):
                return
            transport.resume_reading()
            theirs, ours = await asyncio.open_connection(_LOOPBACK.get(self._bind, self._bind), self._port)
            there = asyncio.create_task(_pass(reader, ours))
            try:
                await _pass(theirs, writer)
            finally:
                there.cancel()
                ours.transport.abort()
        except OSError:
            pass
        finally:
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, and its end."""
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
