"""One call over HTTP/2: what came of it, and the way back, as far as the client's windows allow."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from .http2_frames import DATA, END_HEADERS, END_STREAM, FRAME, HEADERS, Headers, frame

_TOGETHER = 64 << 10  # bytes of data up to which an answer is one buffer


class Carrier(asyncio.Protocol, ABC):
    """The connection of a stream, as far as a stream has to know it."""

    @property
    @abstractmethod
    def now(self) -> float:
        """The server's time."""

    @abstractmethod
    def room(self, stream: "Stream") -> int:
        """How many bytes of data may be sent in one frame now."""

    @abstractmethod
    def spend(self, stream: "Stream", size: int) -> None:
        """That many are sent."""

    @abstractmethod
    def write(self, data: bytes | tuple[bytes, ...]) -> None:
        """To the client, if it is still there."""

    @abstractmethod
    def hold(self, stream: "Stream", size: int) -> bool:
        """So many bytes more are in memory for a stream; whether there is room for them."""

    @abstractmethod
    def release(self, stream: "Stream", size: int) -> None:
        """So many bytes of the stream's request are no longer in memory."""

    @abstractmethod
    def finished(self, stream: "Stream") -> None:
        """All of the answer is sent."""


class Stream:
    """One call: its headers, what came of its body, and the way back.

    `on_end` is called when the request is whole; before that `on_data`, where it is set, when more of it has come.
    `on_sent` is called when nothing is `unsent` any more. `gone` is called when nobody waits for the answer any more.
    `on_leave`, for a call that has no end of its own, is called when the server is about to end.
    """

    __slots__ = (
        "_connection",
        "_last",
        "_waiting",
        "announced",
        "begun",
        "beyond",
        "body",
        "ended",
        "gone",
        "headers",
        "heard",
        "held",
        "id",
        "on_data",
        "on_end",
        "on_leave",
        "on_sent",
        "open",
        "stuck",
        "unannounced",
        "window",
    )

    def __init__(self, connection: "Carrier", number: int, headers: Headers, window: int) -> None:
        self._connection = connection
        self.id = number
        self.headers = headers
        self.window = window
        self.body: list[bytes] = []
        self.held = 0
        self.beyond = 0  # bytes in memory beside those of its body: of a long head, and of what was decompressed
        self.announced: int | None = None  # bytes that the request's content-length says are still to come
        self.ended = False
        self.open = True
        self.unannounced = 0  # bytes that are processed, but not yet given back to the client's window
        self.begun = self.heard = 0.0
        self.stuck = 0.0  # since when the client's window lets nothing through
        self.on_end: Callable[[], None] | None = None
        self.on_data: Callable[[], None] | None = None
        self.on_sent: Callable[[], None] | None = None
        self.on_leave: Callable[[], None] | None = None
        self.gone: Callable[[], None] | None = None
        self._waiting: deque[bytes | memoryview] | None = None
        self._last: bytes | None = None

    def answer(self, head: bytes, data: bytes, trailers: bytes) -> None:
        """Send a whole answer: two header blocks with the data between them."""
        if not self.open:
            return
        connection, size = self._connection, len(data)
        if self._waiting is None and size <= connection.room(self):
            connection.spend(self, size)
            parts = (
                FRAME.pack(len(head) >> 8, len(head) & 255, HEADERS, END_HEADERS, self.id),
                head,
                FRAME.pack(size >> 8, size & 255, DATA, 0, self.id),
                data,
                FRAME.pack(len(trailers) >> 8, len(trailers) & 255, HEADERS, END_HEADERS | END_STREAM, self.id),
                trailers,
            )
            connection.write(b"".join(parts) if size < _TOGETHER else parts)
            connection.finished(self)
        else:
            self.begin(head)
            self.send(data)
            self.end(trailers)

    def begin(self, head: bytes) -> None:
        """Send the headers of an answer whose data comes later."""
        if self.open:
            self._waiting = deque()
            self._connection.write(frame(HEADERS, END_HEADERS, self.id, head))

    def send(self, data: bytes) -> None:
        """Send some data, as soon as the client lets us."""
        if self.open:
            assert self._waiting is not None
            self._waiting.append(data)
            self.flush()

    def end(self, trailers: bytes) -> None:
        """Send the last headers when all data is sent."""
        if self.open:
            self._last = trailers
            self.flush()

    def refuse(self, head: bytes, trailers: bytes = b"") -> None:
        """End with headers alone; with the trailers alone where an answer has begun, of which no more is sent."""
        if self.open:
            block = head + trailers if self._waiting is None else trailers
            self._waiting = None
            self._connection.write(frame(HEADERS, END_HEADERS | END_STREAM, self.id, block))
            self._connection.finished(self)

    def hold(self, size: int) -> bool:
        """Count so many more bytes that are in memory for it; whether there is room for them."""
        if not self.open:
            return False
        self.beyond += size
        return self._connection.hold(self, size)

    def release(self, size: int, beyond: int = 0) -> None:
        """So many bytes of the request are no longer in memory, though the call goes on: as many more may come.

        `beyond` are those that `hold` has counted.
        """
        if self.open:
            self.held -= size
            self._connection.release(self, size)
            if beyond:
                self.hold(-beyond)

    def flush(self) -> None:
        """Send what the windows allow."""
        connection, waiting = self._connection, self._waiting
        while waiting:
            data = waiting[0]
            room = connection.room(self)
            if room <= 0 and data:
                self.stuck = connection.now
                return
            part = data[:room]
            connection.spend(self, len(part))
            connection.write(frame(DATA, 0, self.id, part))
            if len(part) == len(data):
                waiting.popleft()
            else:
                waiting[0] = memoryview(data)[len(part) :]
        if self._last is not None:
            connection.write(frame(HEADERS, END_HEADERS | END_STREAM, self.id, self._last))
            connection.finished(self)

    @property
    def unsent(self) -> bool:
        """Whether data waits for the client's window."""
        return bool(self._waiting)
