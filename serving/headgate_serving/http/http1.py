"""HTTP/1.1 on the event loop's own thread, with the parser of Node.js (httptools).

`worker.py` opens the listener; for each request `rest_app.py` gets an Exchange and answers it now or later. One thread
reads, computes and writes: a hand-over between threads costs more than everything else that is done for a small model.

What a client may do to us is bounded: connections, the size of a head and of a body, the time that it takes to send
them and to read the answer, and all bodies together. Of a body counts what has come, and the little that is read
next: a promise alone costs nothing, so it keeps nobody out. Requests that come before an earlier one is answered wait.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import httptools

from .bodies import Filled, Filling, Memory, next_read
from .descriptors import SPARED
from .listener import READ_WITHIN, SEND_WITHIN, SLOWEST, Limits, Listener

logger = logging.getLogger(__name__)

JSON = b"content-type: application/json\r\n"

_MAX_HEAD = 64 << 10
_MAX_HEADERS = 200
_MAX_VALUE = 8 << 10  # bytes of the values of all headers of one name, if there are several
_MAX_PATH = 8 << 10
_IDLE = 2 * 3600.0  # longer than a router keeps idle connections, so that it is never us who hangs up
_LINGER = 2.0  # seconds in which a client that was refused may go on sending before the connection is cut
_ON_ITS_WAY = 2.0  # seconds after which the first request on a new connection is no longer expected at any moment
_WITHOUT_PARSER = 64 << 10  # bytes of a body from which on it is not worth passing through the parser
_LONG_READ = 16 << 10  # bytes from which on heads and bodies are parsed one by one, so that heads can be measured
_WAITING = 512  # bytes that a request takes which waits for its turn, beside its head and body
_SMALL = 4 << 10  # bytes of a part of a body below which it is put together with others
_TOGETHER = 64 << 10  # bytes of a body up to which head and body are one buffer

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
_TOO_MUCH = "too many bytes of requests are waiting already; try again"
_STATUS = {code: f"HTTP/1.1 {code} {reason}\r\n".encode() for code, reason in _REASONS.items()}


class Answer(NamedTuple):
    """What goes back; `headers` are whole lines, without content-length."""

    status: int
    headers: bytes
    body: bytes


class Exchange:
    """One request; `answer` is called once. `gone` is called where the client leaves before that."""

    __slots__ = ("_connection", "body", "gone", "headers", "held", "keep_alive", "method", "path", "refusal")

    def __init__(self, connection: "Connection", method: str, path: str, headers: dict[bytes, bytes]) -> None:
        self._connection = connection
        self.method = method
        self.path = path
        self.headers = headers
        self.body: bytes | memoryview = b""
        self.held = 0
        self.keep_alive = False
        self.refusal: Answer | None = None
        self.gone: Callable[[], None] | None = None

    def hold(self, size: int) -> bool:
        """Count so many more bytes that are in memory for it; whether there is room for them."""
        return self._connection.hold(self, size)

    def answer(self, answer: Answer) -> None:
        """Send it, if the client is still there."""
        self._connection.answered(self, answer)


class Server(Listener["Connection"]):
    """The listener: `handle` gets each request, `error` makes an answer of a status and a message.

    Paths that begin with `spared` are answered also where there are as many connections as are taken.
    """

    def __init__(
        self,
        handle: Callable[[Exchange], None],
        error: Callable[[int, str], Answer],
        limits: Limits,
        spared: str | tuple[str, ...] = (),
    ) -> None:
        super().__init__(limits)
        self.spared = spared
        self.handle = handle
        self.error = error
        self.memory = Memory()
        self.date = b""

    def __call__(self) -> "Connection":
        """A protocol for a new connection."""
        return Connection(self)

    def tell_time(self) -> None:
        """And the date of answers."""
        super().tell_time()
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()


class Connection(Filled):
    """One client. The parser calls the methods that begin with `on_`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._reading: Exchange | None = None  # its head is complete, its body is not
        self._instead = b""  # the head of a request without its offer of another protocol
        self._parts: list[Any] = []  # bytes, and bytearrays of small parts behind the first
        self._size = 0
        self._length = -1
        self._counted = 0  # bytes that count as held for the request that is being read
        self._filling: Filling | None = None  # reads the rest of a large body
        self._waits = False  # the client, to be told to send the body of the request that is being read
        self._head = 0  # bytes that have come of a head
        self._begun = 0.0  # when the request that is being read began; 0 between requests
        self._heard = 0.0
        self._current: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._blocked = 0.0
        self._finished = 0.0  # when the client said that it sends no more
        self._deaf = False
        self._spare = False  # beyond the limit: it gets one answer, if that is about health

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; where there are too many, only for a question about health, or not at all."""
        server = self._server
        self._transport = cast("asyncio.Transport", transport)
        server.connections.add(self)
        self._heard = server.now
        beyond = server.beyond()
        if beyond > 2 * SPARED:
            self._transport.abort()
        elif beyond > SPARED:
            self._refuse_connection()
        self._spare = beyond > 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything, and whoever works on an answer may stop."""
        self._server.connections.discard(self)
        self._deaf = True
        self._forget_body()
        for exchange in (self._current, *self._queue):
            if exchange:
                self._server.held -= exchange.held
                exchange.held = 0
                gone, exchange.gone = exchange.gone, None  # as in `answered`
                if gone:
                    gone()
        self._current = self._reading = self._parser = None  # the parser holds us
        self._queue.clear()

    def data_received(self, data: bytes) -> None:
        """Parse; the rest of a large body passes the parser by."""
        if self._deaf:
            return
        self._heard = self._server.now
        if len(data) > _LONG_READ:
            self._parse_one_by_one(data)
        else:
            self._head += len(data)
            self._parse(data)
        if self._head and not self._deaf:
            self._head_goes_on()
        elif self._reading and self._length - self._size >= _WITHOUT_PARSER and not self._deaf:
            self._fill()

    def eof_received(self) -> bool:
        """A client that has sent all may still read, or may have left: it looks the same. It gets a moment's time."""
        last = self._queue[-1] if self._queue else self._current
        if last is None or not self._transport.can_write_eof():  # over TLS there is no such half
            return False
        last.keep_alive = False
        self._finished = self._server.now
        return True

    def pause_writing(self) -> None:
        """The client does not read."""
        self._blocked = self._server.now
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._blocked = 0.0
        if self._queue:
            self._proceed()
        else:
            self._transport.resume_reading()

    def on_message_begin(self) -> None:
        """A request line begins."""
        self._begun = self._server.now
        self._url = b""
        self._parts = []

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those with one name are one list (RFC 9110, 5.3)."""
        name = name.lower()
        headers = self._headers
        if name in headers:
            value = b"%b, %b" % (headers[name], value)
            if len(value) > _MAX_VALUE and not self._deaf:
                self._refuse(431, f"headers of one name have more than {_MAX_VALUE} bytes, the most that is taken")
        headers[name] = value

    def on_headers_complete(self) -> None:
        """Decide from the head whether the body is wanted."""
        if self._deaf:
            return
        server, headers = self._server, self._headers
        method = self._parser.get_method().decode("ascii")
        if b"upgrade" in headers and self._parser.should_upgrade() and method != "CONNECT":
            self._instead, self._headers = _without_offer(method, self._url, headers), {}
            return
        exchange = Exchange(self, method, _path(self._url), headers)
        exchange.keep_alive = self._parser.should_keep_alive()
        if b"connection" in headers and self._parser.get_http_version() == "1.0":
            exchange.keep_alive = False  # it would have to be told, in its own way
        self._reading, self._head, self._size = exchange, 0, 0
        server.held -= self._counted  # what had come of the head
        self._counted = 0
        self._headers = {}  # for trailers, which nobody looks at
        length = headers.get(b"content-length")
        self._length = -1 if length is None else int(length)
        if self._spare and not self._is_spared(exchange):
            self._refuse_connection()
        elif len(headers) > _MAX_HEADERS or len(self._url) > _MAX_PATH:
            self._refuse(431, f"more than {_MAX_HEADERS} headers, or a path of more than {_MAX_PATH} bytes")
        elif length is None and b"transfer-encoding" in headers and len(_list(headers[b"transfer-encoding"])) > 1:
            self._refuse(501, "Transfer-Encoding can be chunked, and nothing beside it")
        elif self._length > server.limits.body:
            self._refuse_size()
        elif not server.has_room(self._length, self._length):
            self._refuse_load()
        else:
            self._count_body()
            self._waits = b"expect" in headers and self._waits_for_continue(headers)
            self._let_continue()

    def _let_continue(self) -> None:
        """Tell a client that waits for it to send the body, when what came before is answered."""
        if self._waits and self._reading and not (self._current or self._queue):
            self._waits = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _waits_for_continue(self, headers: dict[bytes, bytes]) -> bool:
        """Whether the client sends the body when it is told to; one of HTTP/1.0 knows no such thing (RFC 9110)."""
        return b"100-continue" in _list(headers[b"expect"]) and self._parser.get_http_version() != "1.0"

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._deaf:
            return
        self._head, self._waits = 0, False
        if self._parts:
            self._keep_too(body)
        else:
            self._parts.append(body)
        self._size += len(body)
        if self._length < 0 and self._size > self._server.limits.body:  # it comes in chunks, and nobody knows how many
            self._refuse_size()
        elif self._counted != self._length:
            self._count_body()

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange = self._reading
        if self._deaf or exchange is None:
            return
        parts = self._parts
        exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        exchange.held = self._counted
        self._parts, self._size, self._counted, self._begun, self._reading = [], 0, 0, 0.0, None
        self._next(exchange)

    def hold(self, exchange: Exchange, size: int) -> bool:
        """Count more for a request, until it is answered."""
        server = self._server
        server.held += size
        exchange.held += size
        return server.has_room(0, exchange.held)

    def answered(self, exchange: Exchange, answer: Answer) -> None:
        """Write, and go on with the next request."""
        server = self._server
        server.held -= exchange.held
        exchange.held = 0
        exchange.gone = None  # or the two would hold each other, body and all, until the next collection
        if exchange is not self._current:  # the client is gone
            return
        keep = exchange.keep_alive and not server.draining
        self._write(answer, keep, with_body=exchange.method != "HEAD")
        self._current = None
        if not keep:
            self._hang_up()
        elif self._queue:
            asyncio.get_running_loop().call_soon(self._proceed)
        else:
            self._let_continue()

    def look_at_the_clock(self) -> None:
        """Called every second: has the client taken too long for something?"""
        now = self._server.now
        unread = self._blocked and now - self._blocked > READ_WITHIN
        left = self._finished and self._current and now - self._finished > _LINGER
        if unread or left:
            self._transport.abort()
        elif self._deaf or self._current:
            return
        elif self._spare and now - self._heard > _ON_ITS_WAY:
            self.close()
        elif self._begun:
            if now - self._heard > SEND_WITHIN or now - self._begun > SEND_WITHIN + self._size / SLOWEST:
                self._refuse(408, f"the request did not come within {SEND_WITHIN:.0f} s")
        elif now - self._heard > _IDLE:
            self.close()

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or on its way on a connection that is new."""
        if self._current or self._begun or self._transport.get_write_buffer_size():
            return True
        return not self._url and self._server.now - self._heard < _ON_ITS_WAY

    def close(self) -> None:
        """Hang up once what is written has been sent."""
        self._deaf = True
        self._transport.close()

    def _next(self, exchange: Exchange) -> None:
        if self._current or self._queue or self._blocked:
            self._queue.append(exchange)
            self._transport.pause_reading()
            if not self.hold(exchange, _WAITING + _size_of(exchange.headers)) and not exchange.refusal:
                self._deaf = True
                exchange.keep_alive = False
                exchange.refusal = self._server.error(429, _TOO_MUCH)
        else:
            self._take_up(exchange)

    def _proceed(self) -> None:
        """Take up what waits, if nothing is before it and the client reads its answers."""
        if self._queue and not self._current and not self._blocked:
            next_one = self._queue.popleft()
            if not self._queue:
                self._transport.resume_reading()
            self._take_up(next_one)

    def _take_up(self, exchange: Exchange) -> None:
        self._current = exchange
        if exchange.refusal:
            exchange.answer(exchange.refusal)
        else:
            self._server.handle(exchange)

    def _parse_one_by_one(self, data: bytes) -> None:
        """Feed the parser with no more than one head or body at a time.

        After a body in chunks up to _LONG_READ bytes of the next head may be fed with it, which are not measured.
        """
        at, size, view = 0, len(data), memoryview(data)
        while at < size and not self._deaf and self._head <= _MAX_HEAD:
            if self._reading is None:
                blank = data.find(b"\r\n\r\n", at)
                most = _MAX_HEAD + 1 - self._head
                end = min(at + most, blank + 4 if blank >= 0 else size)
            else:
                end = at + (self._length - self._size if self._length >= 0 else _LONG_READ)
            piece = view[at:end]
            self._head += len(piece)
            self._parse(piece)
            at = end

    def _head_goes_on(self) -> None:
        """A head, or the trailers of a body, of which more has to come: it must not be too large, and counts."""
        if self._head > _MAX_HEAD:
            self._refuse(431, f"the request's head is larger than {_MAX_HEAD} bytes, the most that is taken")
        elif len(self._headers) > _MAX_HEADERS:
            self._refuse(431, f"more than {_MAX_HEADERS} headers")
        elif self._begun and not self._reading:
            self._count(self._head - self._counted)
            if self._server.held > self._server.limits.held:
                self._refuse_load()

    def _count(self, size: int) -> None:
        """So many bytes more are held, or promised, for the request that is being read."""
        self._counted += size
        self._server.held += size

    def _count_body(self) -> None:
        """What has come of the body counts, and what may come in the next moment; refuse it where that is too much."""
        length = self._size if self._length < 0 else self._length
        more = min(length, self._size + next_read(self._size, length)) - self._counted
        if more > 0:
            self._count(more)
            if not self._server.has_room(0, self._size):
                self._refuse_load()

    def _forget_body(self) -> None:
        """What has come of the request that is being read is not needed."""
        self._count(-self._counted)
        self._parts, self._size = [], 0
        if self._filling:
            self._filling.give_up()
            self._filling = None

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed the parser. At an offer of another protocol it stops; a new one goes on as if there were none."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offered:
                self._parser = httptools.HttpRequestParser(self)
                data = self._instead + data[offered.args[0] :]
                self._instead = b""
            except httptools.HttpParserError as error:
                if not self._deaf:
                    self._refuse(400, f"the request is no valid HTTP/1.1: {error}")
                return
            else:
                return

    def _keep_too(self, body: bytes) -> None:
        """One more part; small ones are put together, for each object takes more than its bytes."""
        if len(body) >= _SMALL:
            self._parts.append(body)
        elif isinstance(self._parts[-1], bytearray):
            self._parts[-1] += body
        else:
            self._parts.append(bytearray(body))

    def _fill(self) -> None:
        """Read the rest of the body past the parser."""
        try:
            missing = self._body_in_one_piece()
        except OSError:  # a system that gives no more addresses than it has memory
            self._refuse_load()
        else:
            self._filling = Filling(self, self._transport, missing, self._length)

    def _body_in_one_piece(self) -> memoryview:
        """Memory for the whole body, with what has come of it; what is still missing is returned."""
        assert self._reading
        length = self._length
        whole = self._server.memory.take(length, self._reading.headers.get(b"inference-header-content-length", b""))
        at = 0
        for part in self._parts:
            whole[at : at + len(part)] = part
            at += len(part)
        self._parts = [whole]
        return whole[at:]

    def filled(self, size: int) -> None:
        """So many bytes more of a large body have come."""
        self._heard = self._server.now
        self._size += size
        self._count_body()

    def whole(self) -> None:
        """All of a large body has come."""
        self._filling = None
        self._parser = httptools.HttpRequestParser(self)  # the old one still waits for the body
        self.on_message_complete()

    def _is_spared(self, exchange: Exchange) -> bool:
        """Whether it is answered though there are too many connections; then it is the last one."""
        exchange.keep_alive = False
        return exchange.path.startswith(self._server.spared)

    def _refuse_connection(self) -> None:
        most = self._server.limits.connections
        self._refuse(503, f"there are {most} connections already, the most that are taken")

    def _refuse_size(self) -> None:
        self._refuse(413, f"the body has more than {self._server.limits.body} bytes, the most that is taken")

    def _refuse_load(self) -> None:
        self._refuse(429, _TOO_MUCH)

    def _refuse(self, status: int, message: str) -> None:
        """Answer, in its turn, and hear no more from this client."""
        exchange = self._reading or Exchange(self, "", "", {})
        self._reading, self._deaf, self._begun = None, True, 0.0
        self._forget_body()
        exchange.keep_alive = False
        exchange.refusal = self._server.error(status, message)
        self._next(exchange)

    def _write(self, answer: Answer, keep: bool, *, with_body: bool) -> None:
        status, headers, body = answer
        head = b"%b%b%b%bcontent-length: %d\r\n\r\n" % (
            _STATUS[status],
            headers,
            self._server.date,
            b"" if keep else b"connection: close\r\n",
            len(body),
        )
        if not with_body:
            self._transport.write(head)
        elif len(body) < _TOGETHER:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])

    def _hang_up(self) -> None:
        """Close; who was refused while it was sending first gets the time to read why."""
        if not self._deaf:
            self.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()  # and ignore: closing with unread data would take the answer back
        asyncio.get_running_loop().call_later(_LINGER, self._transport.close)


def _without_offer(method: str, url: bytes, headers: dict[bytes, bytes]) -> bytes:
    """The head of a request as it would be if the client knew nothing but HTTP/1.1."""
    if b"close" in _list(headers.pop(b"connection")):
        headers[b"connection"] = b"close"
    lines = [b"%b: %b\r\n" % (name, value) for name, value in headers.items() if name != b"upgrade"]
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode(), url, b"".join(lines))


def _list(value: bytes) -> list[bytes]:
    """The elements of a header that is a list of names."""
    return [name for part in value.lower().split(b",") if (name := part.strip(b" \t"))]


def _size_of(headers: dict[bytes, bytes]) -> int:
    """Bytes that they take, about."""
    return sum(len(name) + len(value) for name, value in headers.items())


def _path(url: bytes) -> str:
    """The path of a target, without its query."""
    if not url.startswith(b"/"):
        try:
            url = httptools.parse_url(url).path or b"/"
        except httptools.HttpParserInvalidURLError:
            return "/"
    path = url.partition(b"?")[0].decode("latin-1")
    return unquote(path) if "%" in path else path
