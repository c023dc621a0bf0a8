"""HTTP as a sane client does it: connections are kept, taken in turn, and replaced every few seconds.

A Kubernetes Service balances connections and not requests: a client that keeps a single one for ever talks to a
single router pod. `load.py` sends through a `Pool`. Nothing is sent twice: what a connection drops is lost, and says
so with `Dropped`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h11

READ = 65536


class Dropped(Exception):
    """No answer came: connection refused, reset, closed half-way, or no HTTP."""


@dataclass(frozen=True)
class Response:
    """A whole answer; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Connection:
    """One TCP connection, used for one request at a time until `until`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    until: float
    state: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    @property
    def usable(self) -> bool:
        """Whether another request may go over it: the other side has not closed it, nor said that it will."""
        return self.state.our_state is h11.IDLE and not self.reader.at_eof() and not self.writer.is_closing()

    async def send(self, head: h11.Request, body: bytes) -> Response:
        """One request and its answer."""
        pieces = [self.state.send(head), self.state.send(h11.Data(data=body)), self.state.send(h11.EndOfMessage())]
        self.writer.write(b"".join(piece for piece in pieces if piece))
        await self.writer.drain()
        status, headers, content = 0, {}, []
        while True:
            event = self.state.next_event()
            if event is h11.NEED_DATA:
                self.state.receive_data(await self.reader.read(READ))
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode().lower(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                content.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.InformationalResponse):
                raise Dropped("the connection was closed before the answer")
        if self.state.our_state is h11.DONE and self.state.their_state is h11.DONE:
            self.state.start_next_cycle()
        return Response(status, headers, b"".join(content))

    def close(self) -> None:
        """Without waiting for the other side."""
        self.writer.close()


class Pool:
    """Connections to one place, the one that has rested longest first; one is opened where none is free."""

    def __init__(self, host: str, port: int, clock: Callable[[], float], keep: int = 8, max_age: float = 10.0) -> None:
        self._place = (host, port)
        self._clock = clock
        self._keep = keep
        self._max_age = max_age
        self._resting: deque[Connection] = deque()
        self.opened = 0

    async def post(self, path: str, body: bytes) -> Response:
        """Send a body; Dropped if there is no answer to it."""
        head = h11.Request(
            method="POST",
            target=path,
            headers=[
                ("Host", self._place[0]),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
            ],
        )
        connection = None
        try:
            connection = self._rested() or await self._open()
            response = await connection.send(head, body)
        except (OSError, h11.ProtocolError) as error:
            raise Dropped(str(error) or type(error).__name__) from error
        finally:
            # Also when the caller gave up waiting, and an answer may still be on its way.
            if connection:
                self._put_back(connection)
        return response

    def close(self) -> None:
        """Close what rests."""
        while self._resting:
            self._resting.popleft().close()

    def _rested(self) -> Connection | None:
        # A pool that is not full yet opens connections first, so that they are there to choose from.
        while len(self._resting) >= self._keep:
            connection = self._resting.popleft()
            if connection.usable and self._clock() < connection.until:
                return connection
            connection.close()
        return None

    async def _open(self) -> Connection:
        self.opened += 1
        reader, writer = await asyncio.open_connection(*self._place)
        # Not all of a pool at once: each lives a little longer than the one before.
        age = self._max_age * (1 + self.opened % self._keep / self._keep)
        return Connection(reader, writer, self._clock() + age)

    def _put_back(self, connection: Connection) -> None:
        if connection.usable and len(self._resting) < self._keep:
            self._resting.append(connection)
        else:
            connection.close()
