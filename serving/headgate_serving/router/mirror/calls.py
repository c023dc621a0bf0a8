"""Envoy's calls on the tap's socket: as much of HTTP/2 and gRPC as its client speaks to a server that only listens.

A call is a stream of messages. There is one method, so request headers are not read. The only answer is the end of the
call, when no more messages are needed. `grpcio`'s server does the same for several times the CPU, which Envoy and the
users' requests need.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from headgate_serving.codec.http_message import MAX_BODY
from headgate_serving.http.http2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    HEADERS,
    INITIAL_WINDOW,
    MAX_STREAMS,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    header_block,
)
from headgate_serving.router.envoy.config.copying import MAX_COPIES

LARGEST_FRAME = 16_384
"""As HTTP/2 has it where nothing else was agreed on."""

LARGEST_MESSAGE = 4 * MAX_BODY
MOST_PENDING = 16 * MAX_BODY
"""Bytes of messages that have not come whole, over all calls of a connection."""

_PREFIX = 5
"""Bytes before each message of gRPC."""

_WINDOW, _FIRST_WINDOW = 1 << 20, 65_535

# An answer of trailers alone.
_OVER = header_block((b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", b"0"))


class Call(Protocol):
    """Receives the messages of one call."""

    def message(self, text: bytes) -> bool:
        """Handle a message; whether more are wanted."""

    def ended(self) -> None:
        """The call has ended before all wanted messages came."""


@dataclass(slots=True)
class _Stream:
    call: Call
    pending: bytearray = field(default_factory=bytearray)
    read: int = 0
    """Bytes that Envoy may send again."""


class _Broken(Exception):
    """The bytes are no HTTP/2, or above a limit."""


class Connection(asyncio.Protocol):
    """One connection of Envoy's. `begin` makes a call's receiver; None: there is no use in this one.

    What has come is read when `soon` calls back.
    """

    def __init__(self, begin: Callable[[], Call | None], soon: Callable[[Callable[[], None]], object]) -> None:
        self._begin = begin
        self._soon = soon
        self._greeted = False
        self._received = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._read = 0
        self._to_read = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send SETTINGS and the connection's window."""
        self._transport = cast("asyncio.Transport", transport)
        settings = ((MAX_STREAMS, 2 * MAX_COPIES), (INITIAL_WINDOW, _WINDOW))
        self._send(SETTINGS, 0, 0, b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in settings))
        self._send(WINDOW_UPDATE, 0, 0, (_WINDOW - _FIRST_WINDOW).to_bytes(4))

    def data_received(self, data: bytes) -> None:
        """Keep the bytes until they are read; flow control bounds them to a window."""
        self._received += data
        if not self._to_read:
            self._to_read = True
            self._soon(self._read_all)

    def connection_lost(self, _: Exception | None) -> None:
        """End all open calls."""
        self._received.clear()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.call.ended()

    def _read_all(self) -> None:
        """Whatever is no HTTP/2 ends the connection, and Envoy makes another one."""
        self._to_read = False
        try:
            self._frames()
        except _Broken:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection immediately."""
        self._transport.abort()

    def _frames(self) -> None:
        received, at = self._received, 0
        if not self._greeted:
            if len(received) < len(PREFACE):
                return
            if not received.startswith(PREFACE):
                raise _Broken
            self._greeted, at = True, len(PREFACE)
        while len(received) - at >= FRAME.size:
            end = at + FRAME.size + int.from_bytes(received[at : at + 3])
            if end - at - FRAME.size > LARGEST_FRAME:
                raise _Broken
            if end > len(received):
                break
            number = int.from_bytes(received[at + 5 : at + FRAME.size]) & 0x7FFF_FFFF
            self._frame(received[at + 3], received[at + 4], number, bytes(received[at + FRAME.size : end]))
            at = end
        del received[:at]

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == DATA:
            self._data(flags, number, payload)
        elif kind == HEADERS:
            self._headers(flags, number)
        elif kind == RST_STREAM:
            self._gone(number)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._send(kind, ACK, 0, payload if kind == PING else b"")

    def _headers(self, flags: int, number: int) -> None:
        if number not in self._streams:
            call = self._begin()
            if call is None:
                return self._over(number)
            self._streams[number] = _Stream(call)
        if flags & END_STREAM:
            self._gone(number)
        return None

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        self._read = self._allow(0, self._read + len(payload))
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.read = self._allow(number, stream.read + len(payload))
        if flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]] if payload else b""
        stream.pending += payload
        if sum(len(each.pending) for each in self._streams.values()) > MOST_PENDING:
            raise _Broken
        if not self._messages(stream):
            del self._streams[number]
            self._over(number)
        elif flags & END_STREAM:
            self._gone(number)

    def _messages(self, stream: _Stream) -> bool:
        """Hand on whole messages; whether more are wanted."""
        pending = stream.pending
        while len(pending) >= _PREFIX:
            end = _PREFIX + int.from_bytes(pending[1:_PREFIX])
            if pending[0] or end > LARGEST_MESSAGE:
                stream.call.ended()
                return False
            if end > len(pending):
                break
            text = bytes(pending[_PREFIX:end])
            del pending[:end]
            if not stream.call.message(text):
                return False
        return True

    def _allow(self, number: int, read: int) -> int:
        """Let Envoy send again what was read, when it is worth a frame; what is still not allowed."""
        if read < _WINDOW // 2:
            return read
        self._send(WINDOW_UPDATE, 0, number, read.to_bytes(4))
        return 0

    def _gone(self, number: int) -> None:
        if stream := self._streams.pop(number, None):
            stream.call.ended()

    def _over(self, number: int) -> None:
        self._send(HEADERS, END_STREAM | END_HEADERS, number, _OVER)
        self._send(RST_STREAM, 0, number, bytes(4))

    def _send(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        self._transport.write(frame(kind, flags, number, payload))
