"""HTTP/2 as a gRPC server needs it (RFC 9113), on the event loop's own thread; header compression is hpack's.

`worker.py` opens the listener; `grpc.py` gets a Stream for each call and answers it now or later. General libraries
spend more on a request than the model and the protocol do together: here the headers of a client that repeats itself
are looked up by their compressed bytes, and what is sent back is ready-made but for the data.

What a client may do to us is bounded as in `http1.py`, and by the limits that HTTP/2 has learned the hard way: streams
at a time, CONTINUATION frames, resets and pings without work between them.
"""

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

import hpack
import hpack.table

from .http1 import READ_WITHIN, SEND_WITHIN, SLOWEST, Limits

logger = logging.getLogger(__name__)

Headers = dict[bytes, bytes]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    range(10)
)
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_NO_ERROR, _PROTOCOL_ERROR, _INTERNAL_ERROR, _FLOW_CONTROL_ERROR = 0, 1, 2, 3
_STREAM_CLOSED, _FRAME_SIZE_ERROR, _REFUSED_STREAM, _CANCEL, _COMPRESSION_ERROR, _CALM = 5, 6, 7, 8, 9, 11
_HEADER_TABLE_SIZE, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME, _MAX_HEADER_LIST = 1, 3, 4, 5, 6

_FRAME = struct.Struct(">HBBBI")  # length (2 + 1 bytes), type, flags, stream
_LONG = struct.Struct(">I")
_SETTING = struct.Struct(">HI")
_LARGEST = (1 << 31) - 1
_STREAMS = 1000
_OUR_FRAME = 1 << 18  # the largest frame that we take
_MAX_HEAD = 64 << 10
_KNOWN_BLOCKS, _KNOWN_LENGTH = 64, 2048
_NUISANCE = 2000  # resets, pings, settings and empty frames in a second before it is an attack
_TOGETHER = 64 << 10


class ProtocolError(Exception):
    """The connection can't go on; `code` is HTTP/2's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def header_block(*headers: tuple[bytes, bytes]) -> bytes:
    """Headers as a compressed block that leaves the client's table as it is (RFC 7541, 6.2.2)."""
    block = bytearray()
    for name, value in headers:
        if name == b":status" and value == b"200":
            block.append(0x88)
            continue
        block.append(0)
        for text in (name, value):
            block += _integer(len(text), 7)
            block += text
    return bytes(block)


def _integer(number: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if number < most:
        return bytes([number])
    out = bytearray([most])
    number -= most
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return _FRAME.pack(size >> 8, size & 255, kind, flags, stream) + payload


class Stream:
    """One call: its headers, what came of its body, and the way back.

    `on_end` is called when the request is whole; before that `on_data`, where it is set, when more of it has come.
    `on_sent` is called when nothing is `unsent` any more. `gone` is called when nobody waits for the answer any more.
    """

    __slots__ = (
        "_connection",
        "_last",
        "_waiting",
        "begun",
        "body",
        "ended",
        "gone",
        "headers",
        "heard",
        "held",
        "id",
        "on_data",
        "on_end",
        "on_sent",
        "open",
        "stuck",
        "unannounced",
        "window",
    )

    def __init__(self, connection: "Connection", number: int, headers: Headers, window: int) -> None:
        self._connection = connection
        self.id = number
        self.headers = headers
        self.window = window
        self.body: list[bytes] = []
        self.held = 0
        self.ended = False
        self.open = True
        self.unannounced = 0  # bytes that are processed, but not yet given back to the client's window
        self.begun = self.heard = 0.0
        self.stuck = 0.0  # since when the client's window lets nothing through
        self.on_end: Callable[[], None] | None = None
        self.on_data: Callable[[], None] | None = None
        self.on_sent: Callable[[], None] | None = None
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
                _FRAME.pack(len(head) >> 8, len(head) & 255, _HEADERS, _END_HEADERS, self.id),
                head,
                _FRAME.pack(size >> 8, size & 255, _DATA, 0, self.id),
                data,
                _FRAME.pack(len(trailers) >> 8, len(trailers) & 255, _HEADERS, _END_HEADERS | _END_STREAM, self.id),
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
            self._connection.write(frame(_HEADERS, _END_HEADERS, self.id, head))

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
            self._connection.write(frame(_HEADERS, _END_HEADERS | _END_STREAM, self.id, block))
            self._connection.finished(self)

    def release(self, size: int) -> None:
        """So many bytes of the request are no longer in memory, though the call goes on: as many more may come."""
        if self.open:
            self.held -= size
            self._connection.release(self, size)

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
            connection.write(frame(_DATA, 0, self.id, part))
            if len(part) == len(data):
                waiting.popleft()
            else:
                waiting[0] = memoryview(data)[len(part) :]
        if self._last is not None:
            connection.write(frame(_HEADERS, _END_HEADERS | _END_STREAM, self.id, self._last))
            connection.finished(self)

    @property
    def unsent(self) -> bool:
        """Whether data waits for the client's window."""
        return bool(self._waiting)


class Server:
    """All connections of one listener, and what they share. `opened` is called with each new stream."""

    def __init__(
        self, opened: Callable[[Stream], None], too_large: Callable[[Stream, str], None], limits: Limits
    ) -> None:
        self.opened = opened
        self.too_large = too_large
        self.limits = limits
        self.window = min(_LARGEST, limits.body + (1 << 20))  # bytes of one stream that may be on their way
        self.held = 0
        self.now = 0.0
        self.draining = False
        self.connections: set[Connection] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def __call__(self) -> "Connection":
        """A protocol for a new connection."""
        return Connection(self)

    def start(self) -> None:
        """Watch the clock."""
        self.now = asyncio.get_running_loop().time()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def drain(self) -> None:
        """Ask all clients to open no more streams here."""
        self.draining = True
        for connection in list(self.connections):
            connection.go_away(_NO_ERROR)

    def close(self) -> None:
        """Close all connections as they are."""
        if self._sweeper:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.close()

    @property
    def busy(self) -> bool:
        """Whether a client would lose something if all connections were closed now."""
        return any(connection.busy for connection in self.connections)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.now = asyncio.get_running_loop().time()
            for connection in list(self.connections):
                connection.look_at_the_clock()


class _Table(hpack.table.HeaderTable):
    """Counts its changes: as long as there are none, a block means what it meant before."""

    additions = 0

    def add(self, name: bytes, value: bytes) -> None:
        """One more entry."""
        self.additions += 1
        super().add(name, value)

    @property
    def state(self) -> tuple[int, int, int]:
        """Another one after each change: an entry more, another size, or entries that a size in between drove out."""
        return self.additions, self.maxsize, len(self.dynamic_entries)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._rest = b""
        self._begun = False
        self._streams: dict[int, Stream] = {}
        self._last = 0  # the highest stream that the client has opened
        self._table = _Table()
        self._decoder = hpack.Decoder(_MAX_HEAD)
        self._decoder.header_table = self._table
        self._known: dict[bytes, Headers] = {}
        self._block = b""  # of a stream whose headers go on in CONTINUATION frames
        self._block_of = 0
        self._block_ends = False
        self._window = 65_535  # what we may send
        self._stream_window = 65_535
        self._frame_size = 16_384
        self._unacknowledged = 0
        self._heard = server.now  # when the last whole frame came
        self._nuisance = 0
        self._blocked = 0.0
        self._leaving = False
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take: whole bodies without waiting for our permission; memory is bounded by what is held."""
        self._transport = cast("asyncio.Transport", transport)
        server = self._server
        server.connections.add(self)
        settings = [
            (_MAX_STREAMS, _STREAMS),
            (_INITIAL_WINDOW, server.window),
            (_MAX_FRAME, _OUR_FRAME),
            (_MAX_HEADER_LIST, _MAX_HEAD),
        ]
        self.write(
            frame(_SETTINGS, 0, 0, b"".join(_SETTING.pack(*one) for one in settings))
            + frame(_WINDOW_UPDATE, 0, 0, _LONG.pack(_LARGEST - 65_535))
        )
        if len(server.connections) > server.limits.connections:
            self.go_away(_CALM)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for answers any more."""
        self._closed = True
        self._server.connections.discard(self)
        for stream in list(self._streams.values()):
            self._abandon(stream)

    def data_received(self, data: bytes) -> None:
        """Take whole frames; what is left waits for more."""
        if self._closed:
            return
        if self._rest:
            data = self._rest + data
            self._rest = b""
        try:
            at = self._preface(data) if not self._begun else 0
            if self._begun:
                self._frames(data, at)
        except ProtocolError as error:
            self.go_away(error.code, str(error))
            self.close()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._blocked = self._server.now
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._blocked = 0.0
        self._transport.resume_reading()

    def write(self, data: bytes | tuple[bytes, ...]) -> None:
        """To the client, if it is still there."""
        if self._closed:
            return
        if isinstance(data, tuple):
            self._transport.writelines(data)
        else:
            self._transport.write(data)

    def room(self, stream: Stream) -> int:
        """How many bytes of data may be sent in one frame now."""
        return min(self._window, stream.window, self._frame_size)

    def spend(self, stream: Stream, size: int) -> None:
        """That many are sent."""
        self._window -= size
        stream.window -= size

    @property
    def now(self) -> float:
        """The server's time."""
        return self._server.now

    def release(self, stream: Stream, size: int) -> None:
        """So many bytes are no longer in memory."""
        self._server.held -= size
        self._give_back(stream, size)

    def finished(self, stream: Stream) -> None:
        """All of the answer is sent."""
        stream.open = False
        self._release(stream)
        if not stream.ended and not self._closed:  # the rest of the request is not wanted
            self.write(frame(_RST_STREAM, 0, stream.id, _LONG.pack(_NO_ERROR)))
        if self._leaving and not self._streams:
            self.close()

    def go_away(self, code: int, message: str = "") -> None:
        """Take no new streams; those that are there may finish."""
        if not self._leaving:
            self._leaving = True
            self.write(frame(_GOAWAY, 0, 0, _LONG.pack(self._last) + _LONG.pack(code) + message.encode()[:200]))

    @property
    def busy(self) -> bool:
        """Whether something that was answered is not sent yet."""
        return bool(self._transport.get_write_buffer_size()) or any(one.unsent for one in self._streams.values())

    def close(self) -> None:
        """Hang up once what is written has been sent."""
        if not self._closed:
            self._closed = True
            self._transport.close()

    def look_at_the_clock(self) -> None:
        """Called every second: has the client taken too long for something?"""
        now = self._server.now
        self._nuisance = 0
        if self._blocked and now - self._blocked > READ_WITHIN:
            self._transport.abort()
            return
        if (self._rest or self._block_of or not self._begun) and now - self._heard > SEND_WITHIN:
            self.go_away(_NO_ERROR, "a frame did not come to its end")
            self.close()
            return
        for stream in list(self._streams.values()):
            late = now - stream.begun > SEND_WITHIN + stream.held / SLOWEST or now - stream.heard > SEND_WITHIN
            if (stream.on_data is None and not stream.ended and late) or (
                stream.unsent and now - stream.stuck > READ_WITHIN
            ):
                self._reset(stream, _CANCEL)
        if self._server.draining and not self._streams:
            self.close()

    def _preface(self, data: bytes) -> int:
        if len(data) >= len(_PREFACE) and data.startswith(_PREFACE):
            self._begun = True
            return len(_PREFACE)
        if not _PREFACE.startswith(data[: len(_PREFACE)]):
            self.close()
            return 0
        self._rest = data
        return 0

    def _frames(self, data: bytes, at: int) -> None:
        size = len(data)
        while size - at >= 9:
            high, low, kind, flags, number = _FRAME.unpack_from(data, at)
            length = high << 8 | low
            if length > _OUR_FRAME:
                raise ProtocolError(_FRAME_SIZE_ERROR, f"a frame of {length} bytes; {_OUR_FRAME} are taken")
            end = at + 9 + length
            if end > size:
                break
            self._take(kind, flags, number & _LARGEST, data[at + 9 : end])
            at = end
            if self._closed:
                return
        self._rest = data[at:] if at else data
        if at:
            self._heard = self._server.now

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block_of and kind != _CONTINUATION:
            raise ProtocolError(_PROTOCOL_ERROR, "CONTINUATION was due")
        if kind == _DATA:
            self._data(flags, number, payload)
        elif kind == _HEADERS:
            self._headers(flags, number, payload)
        elif kind == _WINDOW_UPDATE:
            self._more_window(number, payload)
        elif kind == _SETTINGS:
            self._settings(flags, number, payload)
        elif kind == _PING:
            self._ping(flags, number, payload)
        elif kind == _RST_STREAM:
            self._was_reset(number, payload)
        elif kind == _CONTINUATION:
            self._continuation(flags, number, payload)
        elif kind == _PUSH_PROMISE:
            raise ProtocolError(_PROTOCOL_ERROR, "a client can't push")
        elif kind == _PRIORITY or kind > _CONTINUATION:
            self._count_nuisance()

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        server, size = self._server, len(payload)
        self._unacknowledged += size
        if self._unacknowledged > 1 << 29:
            self.write(frame(_WINDOW_UPDATE, 0, 0, _LONG.pack(self._unacknowledged)))
            self._unacknowledged = 0
        stream = self._streams.get(number)
        if stream is None:
            self._check_known(number, "DATA")
            return
        if stream.ended:
            raise ProtocolError(_STREAM_CLOSED, f"DATA on stream {number} after its end")
        if flags & _PADDED:
            payload = _unpadded(payload)
            self._give_back(stream, size - len(payload))
        if payload:
            stream.body.append(payload)
            stream.held += len(payload)
            server.held += len(payload)
            stream.heard = server.now
            most = server.window if stream.on_data else server.limits.body + 5
            if stream.held > most or server.held > server.limits.held:
                which = "this one has" if stream.held > most else "all of them together have"
                server.too_large(stream, f"too many bytes of requests are in memory: {which} more than is taken")
                return
        elif not flags & _END_STREAM:
            self._count_nuisance()
        if flags & _END_STREAM:
            self._request_ends(stream)
        elif stream.on_data:
            self._call(stream, stream.on_data)

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & _PADDED:
            payload = _unpadded(payload)
        if flags & _HAS_PRIORITY:
            if len(payload) < 5:
                raise ProtocolError(_FRAME_SIZE_ERROR, "HEADERS without the priority that it announces")
            payload = payload[5:]
        if flags & _END_HEADERS:
            self._open(number, payload, ends=bool(flags & _END_STREAM))
        else:
            self._block, self._block_of, self._block_ends = payload, number, bool(flags & _END_STREAM)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if number != self._block_of or not number:
            raise ProtocolError(_PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block += payload
        self._count_nuisance()
        if len(self._block) > _MAX_HEAD:
            raise ProtocolError(_CALM, f"headers of more than {_MAX_HEAD} bytes")
        if flags & _END_HEADERS:
            self._block_of = 0
            self._open(number, self._block, ends=self._block_ends)

    def _open(self, number: int, block: bytes, *, ends: bool) -> None:
        headers = self._known.get(block) or self._decoded(block)
        stream = self._streams.get(number)
        if stream:
            if not ends or stream.ended:
                raise ProtocolError(_PROTOCOL_ERROR, f"a second head of stream {number}")
            self._request_ends(stream)
            return
        if number <= self._last:
            if number % 2 == 0:
                raise ProtocolError(_PROTOCOL_ERROR, "a client's streams have odd numbers")
            return  # trailers of one that was answered meanwhile
        if number % 2 == 0:
            raise ProtocolError(_PROTOCOL_ERROR, "a client's streams have odd numbers")
        if self._leaving:
            return
        self._last = number
        if len(self._streams) >= _STREAMS:
            self._count_nuisance()
            self.write(frame(_RST_STREAM, 0, number, _LONG.pack(_REFUSED_STREAM)))
            return
        stream = Stream(self, number, headers, self._stream_window)
        stream.begun = stream.heard = self._server.now
        self._streams[number] = stream
        self._call(stream, lambda: self._server.opened(stream))
        if ends and stream.open:
            self._request_ends(stream)

    def _decoded(self, block: bytes) -> Headers:
        before = self._table.state
        try:
            pairs = self._decoder.decode(block, raw=True)
        except hpack.HPACKError as error:
            raise ProtocolError(_COMPRESSION_ERROR, f"headers that can't be decompressed: {error}") from error
        headers = {bytes(name): bytes(value) for name, value in pairs}
        if self._table.state != before:
            self._known.clear()
        elif len(self._known) < _KNOWN_BLOCKS and len(block) <= _KNOWN_LENGTH:
            self._known[block] = headers
        return headers

    def _request_ends(self, stream: Stream) -> None:
        stream.ended = True
        if stream.on_end:
            self._call(stream, stream.on_end)

    def _call(self, stream: Stream, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception:
            logger.exception("a call failed in a way that nobody thought of")
            self._reset(stream, _INTERNAL_ERROR)

    def _more_window(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(_FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        more = _LONG.unpack(payload)[0] & _LARGEST
        if number == 0:
            self._window += more
            if more == 0 or self._window > _LARGEST:
                raise ProtocolError(_FLOW_CONTROL_ERROR, "a window of that size can't be")
            self._flush_all()
            return
        found = self._streams.get(number)
        if found is None:
            self._check_known(number, "WINDOW_UPDATE")
            return
        found.window += more
        if more == 0 or found.window > _LARGEST:
            self._reset(found, _FLOW_CONTROL_ERROR)
        elif found.unsent:
            self._flush(found)

    def _flush_all(self) -> None:
        for stream in [one for one in self._streams.values() if one.unsent]:
            self._flush(stream)

    def _flush(self, stream: Stream) -> None:
        stream.flush()
        if stream.on_sent and stream.open and not stream.unsent:
            self._call(stream, stream.on_sent)

    def _give_back(self, stream: Stream, size: int) -> None:
        """Let the client send as many bytes more, once it is worth a frame."""
        stream.unannounced += size
        if stream.unannounced > self._server.window // 2 and not stream.ended:
            self.write(frame(_WINDOW_UPDATE, 0, stream.id, _LONG.pack(stream.unannounced)))
            stream.unannounced = 0

    def _check_known(self, number: int, what: str) -> None:
        """A stream that is not there was answered or reset meanwhile, or came after we said that we are leaving."""
        if number == 0 or (number > self._last and not self._leaving):
            raise ProtocolError(_PROTOCOL_ERROR, f"{what} of stream {number}, which was never opened")

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) % 6:
            raise ProtocolError(_FRAME_SIZE_ERROR if not number else _PROTOCOL_ERROR, "SETTINGS that are none")
        if flags & _ACK:
            return
        self._count_nuisance()
        for key, value in _SETTING.iter_unpack(payload):
            if key == _INITIAL_WINDOW:
                if value > _LARGEST:
                    raise ProtocolError(_FLOW_CONTROL_ERROR, "a window of that size can't be")
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif key == _MAX_FRAME:
                if not 16_384 <= value < 1 << 24:
                    raise ProtocolError(_PROTOCOL_ERROR, "frames of that size can't be")
                self._frame_size = value
        self.write(frame(_SETTINGS, _ACK, 0))
        self._flush_all()

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) != 8:
            raise ProtocolError(
                _FRAME_SIZE_ERROR if not number else _PROTOCOL_ERROR, "a PING has 8 bytes and no stream"
            )
        if not flags & _ACK:
            self._count_nuisance()
            self.write(frame(_PING, _ACK, 0, payload))

    def _was_reset(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(_FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        stream = self._streams.get(number)
        if stream is None:
            self._check_known(number, "RST_STREAM")
            return
        self._count_nuisance()
        self._abandon(stream)

    def _reset(self, stream: Stream, code: int) -> None:
        self.write(frame(_RST_STREAM, 0, stream.id, _LONG.pack(code)))
        self._abandon(stream)

    def _abandon(self, stream: Stream) -> None:
        stream.open = False
        gone = stream.gone
        self._release(stream)
        if gone:
            gone()

    def _release(self, stream: Stream) -> None:
        self._server.held -= stream.held
        stream.held = 0
        stream.body = []
        stream.on_end = stream.on_data = stream.gone = None  # whoever they belong to holds the stream
        self._streams.pop(stream.id, None)

    def _count_nuisance(self) -> None:
        self._nuisance += 1
        if self._nuisance > _NUISANCE:
            raise ProtocolError(_CALM, "too many frames that ask for nothing")


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(_PROTOCOL_ERROR, "more padding than there are bytes")
    return payload[1 : len(payload) - payload[0]]
