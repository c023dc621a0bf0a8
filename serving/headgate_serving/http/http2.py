"""HTTP/2 as a gRPC server needs it (RFC 9113), on the event loop's own thread; header compression is hpack's.

`worker.py` opens the listener; `grpc_app.py` gets a Stream for each call and answers it now or later. General libraries
spend more on a request than the model and the protocol do together: here the headers of a client that repeats itself
are looked up by their compressed bytes, and what is sent back is ready-made but for the data.

What a client may do to us is bounded as in `http1.py`, and by the limits that HTTP/2 has learned the hard way: streams
at a time, CONTINUATION frames, resets and pings without work between them.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import hpack

from .http2_frames import (
    ACK,
    CALM,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW,
    INTERNAL_ERROR,
    LONG,
    MAX_FRAME,
    MAX_HEADER_LIST,
    MAX_STREAMS,
    MAY_PUSH,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Headers,
    HeaderTable,
    ProtocolError,
    frame,
    unpadded,
)
from .http2_heads import Pairs, fault_of_head, fault_of_trailers
from .http2_streams import Carrier, Stream
from .listener import READ_WITHIN, SEND_WITHIN, SLOWEST, Limits, Listener

logger = logging.getLogger(__name__)

_LARGEST = (1 << 31) - 1
_STREAMS = 1000
_OUR_FRAME = 1 << 18  # the largest frame that we take
_MAX_HEAD = 64 << 10
_PARTIAL = 64 << 20  # bytes of unfinished frames and heads of all connections
_KNOWN_BLOCKS, _KNOWN_LENGTH = 64, 2048
_LAST_CALLS = 2.0  # seconds in which a client that was asked to leave may say that it has heard of it
_LINGER = 2.0  # seconds in which a client may hang up by itself, with all that it has still to read
_SETTLED = 1.5  # seconds: who has to leave a new connection at once takes it for a failed attempt to connect
_HEARD = b"goodbye?"  # the PING behind the first GOAWAY
_NUISANCE = 2000  # resets, pings, settings and empty frames in a second before it is an attack
_CUT_SHORT = 16  # streams that are remembered because their client may not know yet that we have closed them


class Server(Listener["Connection"]):
    """The listener: `opened` gets each new stream, `too_large` one that has sent more than is taken."""

    def __init__(
        self, opened: Callable[[Stream], None], too_large: Callable[[Stream, str], None], limits: Limits
    ) -> None:
        super().__init__(limits)
        self.opened = opened
        self.too_large = too_large
        self.partial = 0  # bytes of frames and heads that have not come to their end, of all connections
        self.window = min(_LARGEST, limits.body + (1 << 20))  # bytes of one stream that may be on their way

    def __call__(self) -> "Connection":
        """A protocol for a new connection."""
        return Connection(self)

    def drain(self) -> None:
        """Ask all clients to open no more streams here; those that still come are asked when the clock is looked at."""
        super().drain()
        for connection in list(self.connections):
            connection.leave()

    def wind_up(self) -> None:
        """Ask all clients to leave, and end the calls that go on until somebody ends them."""
        super().wind_up()
        for connection in list(self.connections):
            connection.leave()
            connection.wind_up()


class Connection(Carrier):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._rest = b""
        self._begun = False
        self._streams: dict[int, Stream] = {}
        self._last = 0  # the highest stream that the client has opened
        self._due: int | None = None  # the only kind of frame that may come next
        self._cut_short: dict[int, None] = {}  # closed by us before the client had ended them, the oldest first
        self._forgotten = 0  # the highest of those that are no longer remembered
        self._table = HeaderTable()
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
        self._asked = 0.0  # when the client was asked to open no more streams
        self._leaving = False  # it has heard of it, or has no more time to: what it opens now is not taken
        self._parting = 0.0  # since when nothing is left to do but to let the client read the rest
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take: whole bodies without waiting for our permission; memory is bounded by what is held."""
        self._transport = cast("asyncio.Transport", transport)
        server = self._server
        server.connections.add(self)
        settings = [
            (MAX_STREAMS, _STREAMS),
            (INITIAL_WINDOW, server.window),
            (MAX_FRAME, _OUR_FRAME),
            (MAX_HEADER_LIST, _MAX_HEAD),
        ]
        self.write(
            frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*one) for one in settings))
            + frame(WINDOW_UPDATE, 0, 0, LONG.pack(_LARGEST - 65_535))
        )
        if server.beyond() > 0:
            self.go_away(CALM)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for answers any more."""
        self._closed = True
        self._server.connections.discard(self)
        self._server.partial -= len(self._rest) + len(self._block)
        self._rest = self._block = b""
        for stream in list(self._streams.values()):
            self._abandon(stream)

    def data_received(self, data: bytes) -> None:
        """Take whole frames; what is left waits for more."""
        if self._closed or self._parting:
            return
        if self._rest:
            self._server.partial -= len(self._rest)
            data = self._rest + data
            self._rest = b""
        try:
            at = self._preface(data) if not self._begun else 0
            if self._begun:
                self._frames(data, at)
            if self._rest:
                self._keep(len(self._rest))
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
        if self._closed or self._parting:
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

    def hold(self, stream: Stream, size: int) -> bool:
        """So many bytes more are in memory; whether there is room for them."""
        server = self._server
        server.held += size
        return server.has_room(0, stream.held + stream.beyond)

    def _keep(self, size: int) -> None:
        """The same, for parts of frames and of heads, which belong to no stream yet."""
        self._server.partial += size
        if self._server.partial > _PARTIAL:
            raise ProtocolError(CALM, "too many bytes of unfinished frames are in memory")

    def release(self, stream: Stream, size: int) -> None:
        """So many bytes are no longer in memory."""
        self._server.held -= size
        self._give_back(stream, size)

    def finished(self, stream: Stream) -> None:
        """All of the answer is sent."""
        stream.open = False
        self._release(stream)
        if not stream.ended and not self._closed:  # the rest of the request is not wanted
            self._close_stream(stream.id, NO_ERROR, ended=False)
        self._part_if_done()

    def leave(self) -> None:
        """Ask the client to open no more streams here. What it opens before it has heard of that is taken (6.8)."""
        if not self._asked and not self._leaving:
            self._asked = self._server.now
            self.write(frame(GOAWAY, 0, 0, LONG.pack(_LARGEST) + LONG.pack(NO_ERROR)) + frame(PING, 0, 0, _HEARD))

    def wind_up(self) -> None:
        """End the calls that go on until somebody ends them."""
        for stream in list(self._streams.values()):
            if stream.on_leave:
                self._call(stream, stream.on_leave)

    def go_away(self, code: int, message: str = "") -> None:
        """Take no new streams; those that are there may finish."""
        if not self._leaving or code != NO_ERROR:
            self._leaving = True
            self.write(frame(GOAWAY, 0, 0, LONG.pack(self._last) + LONG.pack(code) + message.encode()[:200]))

    @property
    def busy(self) -> bool:
        """Whether something that was answered is not sent yet, or the client may not know yet that it has to leave."""
        if self._transport.get_write_buffer_size() or self._parting or (self._asked and not self._leaving):
            return True
        return any(one.unsent for one in self._streams.values())

    def close(self) -> None:
        """Hang up once what is written has been sent."""
        if not self._closed:
            self._closed = True
            self._transport.close()

    def _part_if_done(self) -> None:
        """Let a client that has left hang up: were it us while it still says something, it could lose an answer."""
        if self._leaving and not self._streams and not self._parting and not self._closed:
            self._parting = self._server.now
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def look_at_the_clock(self) -> None:
        """Called every second: has the client taken too long for something?"""
        now = self._server.now
        self._nuisance = 0
        patience = READ_WITHIN if self._transport.get_write_buffer_size() else _LINGER
        if (self._blocked and now - self._blocked > READ_WITHIN) or (self._parting and now - self._parting > patience):
            self._transport.abort()
            return
        if self._server.draining and (self._last or now - self._heard > _SETTLED):
            self.leave()
        if self._asked and not self._leaving and now - self._asked > _LAST_CALLS:
            self.go_away(NO_ERROR)
        if (self._rest or self._block_of or not self._begun) and now - self._heard > SEND_WITHIN:
            self.go_away(NO_ERROR, "a frame did not come to its end")
            self.close()
            return
        for stream in list(self._streams.values()):
            late = now - stream.begun > SEND_WITHIN + stream.held / SLOWEST or now - stream.heard > SEND_WITHIN
            if (stream.on_data is None and not stream.ended and late) or (
                stream.unsent and now - stream.stuck > READ_WITHIN
            ):
                self._reset(stream, CANCEL)
        self._part_if_done()

    def _preface(self, data: bytes) -> int:
        if len(data) >= len(PREFACE) and data.startswith(PREFACE):
            self._begun, self._due = True, SETTINGS
            return len(PREFACE)
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self.close()
            return 0
        self._rest = data
        return 0

    def _frames(self, data: bytes, at: int) -> None:
        size = len(data)
        while size - at >= 9:
            high, low, kind, flags, number = FRAME.unpack_from(data, at)
            length = high << 8 | low
            if length > _OUR_FRAME:
                raise ProtocolError(FRAME_SIZE_ERROR, f"a frame of {length} bytes; {_OUR_FRAME} are taken")
            end = at + 9 + length
            if end > size:
                break
            self._take(kind, flags, number & _LARGEST, data[at + 9 : end])
            at = end
            if self._closed or self._parting:
                return
        self._rest = data[at:] if at else data
        if at:
            self._heard = self._server.now

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._due is not None:
            self._check_due(kind)
        if kind == DATA:
            self._data(flags, number, payload)
        elif kind == HEADERS:
            self._headers(flags, number, payload)
        elif kind == WINDOW_UPDATE:
            self._more_window(number, payload)
        elif kind == SETTINGS:
            self._settings(flags, number, payload)
        elif kind == PING:
            self._ping(flags, number, payload)
        elif kind == RST_STREAM:
            self._was_reset(number, payload)
        elif kind == CONTINUATION:
            self._continuation(flags, number, payload)
        else:
            self._take_what_asks_for_nothing(kind, number, payload)

    def _check_due(self, kind: int) -> None:
        if kind != self._due:
            name = "CONTINUATION" if self._due == CONTINUATION else "SETTINGS"
            raise ProtocolError(PROTOCOL_ERROR, f"a frame of type {kind} came where {name} was due")
        self._due = None

    def _take_what_asks_for_nothing(self, kind: int, number: int, payload: bytes) -> None:
        if kind == PUSH_PROMISE:
            raise ProtocolError(PROTOCOL_ERROR, "a client can't push")
        if kind == PRIORITY:
            if not number:
                raise ProtocolError(PROTOCOL_ERROR, "PRIORITY of stream 0, which has none")
            if len(payload) != 5:
                raise ProtocolError(FRAME_SIZE_ERROR, f"PRIORITY has 5 bytes, this one {len(payload)}")
        elif kind == GOAWAY:
            if number:
                raise ProtocolError(PROTOCOL_ERROR, f"GOAWAY on stream {number}; it belongs to the connection")
            if len(payload) < 8:
                raise ProtocolError(FRAME_SIZE_ERROR, f"GOAWAY has 8 bytes or more, this one {len(payload)}")
        self._count_nuisance()

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        server, size = self._server, len(payload)
        self._unacknowledged += size
        if self._unacknowledged > 1 << 29:
            self.write(frame(WINDOW_UPDATE, 0, 0, LONG.pack(self._unacknowledged)))
            self._unacknowledged = 0
        if flags & PADDED:
            payload = unpadded(payload)
        if not payload and not flags & END_STREAM:
            self._count_nuisance()
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            self._take_of_closed(number, "DATA", ends=bool(flags & END_STREAM))
            return
        if size != len(payload):
            self._give_back(stream, size - len(payload))
        if stream.announced is not None:
            stream.announced -= len(payload)
        if payload:
            stream.body.append(payload)
            stream.held += len(payload)
            server.held += len(payload)
            stream.heard = server.now
            stream.ended = bool(flags & END_STREAM)
            most = server.window if stream.on_data else server.limits.body + 5
            if stream.held > most or not server.has_room(0, stream.held):
                which = "this one has" if stream.held > most else "all of them together have"
                server.too_large(stream, f"too many bytes of requests are in memory: {which} more than is taken")
                return
        if flags & END_STREAM:
            self._request_ends(stream)
        elif stream.on_data:
            self._call(stream, stream.on_data)

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                raise ProtocolError(FRAME_SIZE_ERROR, "HEADERS without the priority that it announces")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._open(number, payload, ends=bool(flags & END_STREAM))
        else:
            self._block, self._block_of, self._block_ends = payload, number, bool(flags & END_STREAM)
            self._due = CONTINUATION
            self._keep(len(payload))

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if number != self._block_of or not number:
            raise ProtocolError(PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block += payload
        self._keep(len(payload))
        self._count_nuisance()
        if len(self._block) > _MAX_HEAD:
            raise ProtocolError(CALM, f"headers of more than {_MAX_HEAD} bytes")
        if flags & END_HEADERS:
            block, self._block, self._block_of = self._block, b"", 0
            self._server.partial -= len(block)
            self._open(number, block, ends=self._block_ends)
        else:
            self._due = CONTINUATION

    def _open(self, number: int, block: bytes, *, ends: bool) -> None:
        headers, fault = self._known.get(block), ""
        if number <= self._last:
            self._take_trailers(number, "a request's head" if headers else fault_of_trailers(self._pairs(block)), ends)
            return
        if headers is None:
            headers, fault = self._decoded(block)
        if number % 2 == 0:
            raise ProtocolError(PROTOCOL_ERROR, "a client's streams have odd numbers")
        if self._leaving:
            return
        self._last = number
        if fault or len(self._streams) >= _STREAMS:
            self._count_nuisance()
            self._close_stream(number, PROTOCOL_ERROR if fault else REFUSED_STREAM, ended=ends)
            return
        stream = Stream(self, number, headers, self._stream_window)
        stream.begun = stream.heard = self._server.now
        stream.ended = ends
        if b"content-length" in headers:
            stream.announced = int(headers[b"content-length"])
        self._streams[number] = stream
        if self._server.deserted:
            self.leave()
        if len(block) > _KNOWN_LENGTH and not stream.hold(len(block)):
            self._server.too_large(stream, "too many bytes of requests are in memory; try again")
            return
        self._call(stream, lambda: self._server.opened(stream))
        if ends and stream.open:
            self._request_ends(stream)
        self._dismiss_the_last(stream)

    def _pairs(self, block: bytes) -> Pairs:
        """The fields of a head or of trailers. A block that changes the table changes what others mean."""
        before = self._table.state
        try:
            pairs = cast("Pairs", self._decoder.decode(block, raw=True))
        except hpack.HPACKError as error:
            raise ProtocolError(COMPRESSION_ERROR, f"headers that can't be decompressed: {error}") from error
        if self._table.state != before:
            self._known.clear()
        return pairs

    def _decoded(self, block: bytes) -> tuple[Headers, str]:
        """A request's headers, and what is wrong with them."""
        before = self._table.state
        pairs = self._pairs(block)
        headers = dict(pairs)
        fault = fault_of_head(pairs, headers)
        unchanged = self._table.state == before
        if unchanged and not fault and len(self._known) < _KNOWN_BLOCKS and len(block) <= _KNOWN_LENGTH:
            self._known[block] = headers
        return headers, fault

    def _take_trailers(self, number: int, fault: str, ends: bool) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            self._take_of_closed(number, "HEADERS", ends=ends)
        elif not ends:
            raise ProtocolError(PROTOCOL_ERROR, f"a second head of stream {number}")
        elif fault:
            stream.ended = True
            self._stream_error(stream, PROTOCOL_ERROR)
        else:
            self._request_ends(stream)

    def _request_ends(self, stream: Stream) -> None:
        stream.ended = True
        if stream.announced:  # more bytes, or fewer, than its content-length says
            self._stream_error(stream, PROTOCOL_ERROR)
            return
        if stream.on_end:
            self._call(stream, stream.on_end)
        self._dismiss_the_last(stream)

    def _dismiss_the_last(self, stream: Stream) -> None:
        """A call without an end of its own that began after all others of its kind were ended."""
        if self._server.deserted and stream.open and stream.on_leave:
            self._call(stream, stream.on_leave)

    def _call(self, stream: Stream, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception:
            logger.exception("unhandled error in a gRPC call")
            self._reset(stream, INTERNAL_ERROR)

    def _more_window(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        more = LONG.unpack(payload)[0] & _LARGEST
        if more == 0:
            raise ProtocolError(PROTOCOL_ERROR, "WINDOW_UPDATE by 0 bytes")
        if number == 0:
            self._window += more
            if self._window > _LARGEST:
                raise ProtocolError(FLOW_CONTROL_ERROR, "a window of that size can't be")
            self._flush_all()
            return
        found = self._streams.get(number)
        if found is None:
            self._check_known(number, "WINDOW_UPDATE")
            return
        found.window += more
        if found.window > _LARGEST:
            self._stream_error(found, FLOW_CONTROL_ERROR)
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
            self.write(frame(WINDOW_UPDATE, 0, stream.id, LONG.pack(stream.unannounced)))
            stream.unannounced = 0

    def _check_known(self, number: int, what: str) -> None:
        """A stream that is not there was answered or reset meanwhile, or came after we said that we are leaving."""
        if number % 2 == 0 or (number > self._last and not self._leaving):
            raise ProtocolError(PROTOCOL_ERROR, f"{what} of stream {number}, which was never opened")

    def _take_of_closed(self, number: int, what: str, *, ends: bool) -> None:
        """Drop what a client sends before it knows that we have closed the stream; after its own end it is an error."""
        self._check_known(number, what)
        if number in self._cut_short:
            if ends:
                del self._cut_short[number]
        elif number in self._streams or self._forgotten < number <= self._last:
            raise ProtocolError(STREAM_CLOSED, f"{what} of stream {number} after the client has ended it")

    def _close_stream(self, number: int, code: int, *, ended: bool) -> None:
        """Reset it. What the client has sent by then has still to be taken, unless that has `ended`."""
        self.write(frame(RST_STREAM, 0, number, LONG.pack(code)))
        if ended:
            return
        self._cut_short[number] = None
        if len(self._cut_short) > _CUT_SHORT:
            oldest = next(iter(self._cut_short))
            del self._cut_short[oldest]
            self._forgotten = max(self._forgotten, oldest)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) % 6:
            raise ProtocolError(FRAME_SIZE_ERROR if not number else PROTOCOL_ERROR, "SETTINGS that are none")
        if flags & ACK:
            if payload:
                raise ProtocolError(FRAME_SIZE_ERROR, "SETTINGS that acknowledge ours have no bytes")
            return
        self._count_nuisance()
        for key, value in SETTING.iter_unpack(payload):
            self._setting(key, value)
        self.write(frame(SETTINGS, ACK, 0))
        self._flush_all()

    def _setting(self, key: int, value: int) -> None:
        if key == INITIAL_WINDOW:
            more, self._stream_window = value - self._stream_window, value
            for stream in self._streams.values():
                stream.window += more
            if max([value, *(stream.window for stream in self._streams.values())]) > _LARGEST:
                raise ProtocolError(FLOW_CONTROL_ERROR, "a window of that size can't be")
        elif key == MAX_FRAME:
            if not 16_384 <= value < 1 << 24:
                raise ProtocolError(PROTOCOL_ERROR, "frames of that size can't be")
            self._frame_size = value
        elif key == MAY_PUSH and value > 1:
            raise ProtocolError(PROTOCOL_ERROR, f"ENABLE_PUSH is 0 or 1, not {value}")

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) != 8:
            raise ProtocolError(FRAME_SIZE_ERROR if not number else PROTOCOL_ERROR, "a PING has 8 bytes and no stream")
        if not flags & ACK:
            self._count_nuisance()
            self.write(frame(PING, ACK, 0, payload))
        elif payload == _HEARD and self._asked:
            self.go_away(NO_ERROR)
            self._part_if_done()

    def _was_reset(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        stream = self._streams.get(number)
        if stream is None:
            self._check_known(number, "RST_STREAM")
            self._cut_short.pop(number, None)  # it knows by now
            return
        self._count_nuisance()
        self._abandon(stream)

    def _stream_error(self, stream: Stream, code: int) -> None:
        """End a stream whose client breaks the rules: as much work for nothing as if it had reset the stream itself."""
        self._count_nuisance()
        self._reset(stream, code)

    def _reset(self, stream: Stream, code: int) -> None:
        self._close_stream(stream.id, code, ended=stream.ended)
        self._abandon(stream)

    def _abandon(self, stream: Stream) -> None:
        stream.open = False
        gone = stream.gone
        self._release(stream)
        if gone:
            gone()

    def _release(self, stream: Stream) -> None:
        self._server.held -= stream.held + stream.beyond
        stream.held = stream.beyond = 0
        stream.body = []
        # whoever these belong to holds the stream
        stream.on_end = stream.on_data = stream.on_sent = stream.on_leave = stream.gone = None
        self._streams.pop(stream.id, None)

    def _count_nuisance(self) -> None:
        self._nuisance += 1
        if self._nuisance > _NUISANCE:
            raise ProtocolError(CALM, "too many frames that ask for nothing")
