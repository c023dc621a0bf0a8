"""Small model servers that answer, fail, break off or hang, as a test wants them to."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from headgate_serving.router.policy.endpoints import Endpoint

Behaviour = Literal[
    "ok",
    "error",
    "reset",
    "hang",
    "slow",
    "refused",
    "bad request",
    "overloaded",
    "cut",
    "stuck",
    "garbage",
    "large",
    "invalid",
    "large invalid",
]

T = TypeVar("T")
LARGE = 20 << 20
"""More than Envoy keeps of an answer."""


@dataclass
class Upstream:
    """One pod of a revision."""

    name: str
    behaviour: Behaviour = "ok"
    port: int = 0
    requests: int = 0
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    """Of the last request."""
    tls: ssl.SSLContext | None = None
    identity: str = ""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, f"{self.name}-pod", identity=self.identity)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests += 1
                self.headers = headers
                if not await self.answer(writer):
                    break
        writer.close()

    async def answer(self, writer: asyncio.StreamWriter) -> bool:
        match self.behaviour:
            case "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
                return False
            case "hang":
                await asyncio.sleep(3600)
            case "slow":
                await asyncio.sleep(self.delay)
            case "cut" | "stuck":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it")
                await writer.drain()
                await asyncio.sleep(3600 if self.behaviour == "stuck" else 0.01)
                writer.transport.abort()
                return False
            case "garbage":
                writer.write(b"\0\1 this is no HTTP\r\n\r\n")
                await writer.drain()
                return False
        status = {
            "error": b"500 Internal Server Error",
            "bad request": b"400 Bad Request",
            "overloaded": b"429 Too Many Requests",
        }.get(self.behaviour, b"200 OK")
        body = self.name.encode() * (LARGE // len(self.name) if self.behaviour.startswith("large") else 1)
        marks = b"x-headgate-invalid: true\r\n" if self.behaviour.endswith("invalid") else b""
        writer.write(b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (status, marks, len(body), body))
        await writer.drain()
        return True


@asynccontextmanager
async def serving(*upstreams: Upstream) -> AsyncIterator[None]:
    """Each on a port of its own, until the end of the block."""
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def starter(upstream: Upstream) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections[asyncio.ensure_future(upstream.handle(reader, writer))] = writer

        return start

    servers = []
    for upstream in upstreams:
        server = await asyncio.start_server(starter(upstream), "127.0.0.1", 0, ssl=upstream.tls)
        upstream.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for task, writer in connections.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*connections, return_exceptions=True)


async def many(ask: Callable[[], Awaitable[T]], number: int, at_a_time: int) -> list[T]:
    """What comes of asking so often, so many at a time."""
    left = iter(range(number))

    async def work() -> list[T]:
        return [await ask() for _ in left]

    return [answer for answers in await asyncio.gather(*(work() for _ in range(at_a_time))) for answer in answers]
