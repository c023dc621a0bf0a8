"""Envoy's calls on the tap's socket: as much of HTTP/2 and gRPC as its client speaks to a server that only listens.

A call is a stream of messages. All calls here are the same one, so the headers are not even read; what is answered is
that there is no use in more messages. grpcio's server does the same for several times the CPU, which Envoy and the
users' requests need.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from headgate_serving.router.config.shadowing import MAX_BODY, MAX_COPIES

LARGEST_FRAME = 16_384
"""As HTTP/2 has it where nothing else was agreed on."""

LARGEST_MESSAGE = 4 * MAX_BODY
MOST_PENDING = 16 * MAX_BODY
"""Bytes of messages that have not come whole, over all calls of a connection."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD, _PREFIX = 9, 5
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_MAX_STREAMS, _INITIAL_WINDOW = 3, 4
_WINDOW, _FIRST_WINDOW = 1 << 20, 65_535

# :status 200 from HTTP/2's table, and two headers letter by letter: an answer of trailers alone.
_OVER = b"\x88" + b"".join(
    b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    for name, value in ((b"content-type", b"application/grpc"), (b"grpc-status", b"0"))
)


class Call(Protocol):
    """Who gets the messages of one call."""

    def message(self, text: bytes) -> bool:
        """One more; whether there is use in others."""

    def ended(self) -> None:
        """There will be no other, though there was use in them."""


@dataclass(slots=True)
class _Stream:
    call: Call
    pending: bytearray = field(default_factory=bytearray)
    read: int = 0
    """Bytes that Envoy may send again."""


class _Broken(Exception):
    """Nothing that Envoy would send."""


class Connection(asyncio.Protocol):
    """One connection of Envoy's. `begin` makes a call's receiver; None: there is no use in this one."""

    def __init__(self, begin: Callable[[], Call | None]) -> None:
        self._begin = begin
        self._greeted = False
        self._received = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._read = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say how much Envoy may send."""
        self._transport = cast("asyncio.Transport", transport)
        settings = ((_MAX_STREAMS, 2 * MAX_COPIES), (_INITIAL_WINDOW, _WINDOW))
        self._send(_SETTINGS, 0, 0, b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in settings))
        self._send(_WINDOW_UPDATE, 0, 0, (_WINDOW - _FIRST_WINDOW).to_bytes(4))

    def data_received(self, data: bytes) -> None:
        """Some bytes; whatever is no HTTP/2 ends the connection, and Envoy makes another one."""
        self._received += data
        try:
            self._frames()
        except _Broken:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """Of the calls that there were nothing more will come."""
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.call.ended()

    def close(self) -> None:
        """At once."""
        self._transport.abort()

    def _frames(self) -> None:
        received, at = self._received, 0
        if not self._greeted:
            if len(received) < len(_PREFACE):
                return
            if not received.startswith(_PREFACE):
                raise _Broken
            self._greeted, at = True, len(_PREFACE)
        while len(received) - at >= _HEAD:
            end = at + _HEAD + int.from_bytes(received[at : at + 3])
            if end - at - _HEAD > LARGEST_FRAME:
                raise _Broken
            if end > len(received):
                break
            number = int.from_bytes(received[at + 5 : at + _HEAD]) & 0x7FFF_FFFF
            self._frame(received[at + 3], received[at + 4], number, bytes(received[at + _HEAD : end]))
            at = end
        del received[:at]

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _DATA:
            self._data(flags, number, payload)
        elif kind == _HEADERS:
            self._headers(flags, number)
        elif kind == _RST_STREAM:
            self._gone(number)
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._send(kind, _ACK, 0, payload if kind == _PING else b"")

    def _headers(self, flags: int, number: int) -> None:
        if number not in self._streams:
            call = self._begin()
            if call is None:
                return self._over(number)
            self._streams[number] = _Stream(call)
        if flags & _END_STREAM:
            self._gone(number)
        return None

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        self._read = self._allow(0, self._read + len(payload))
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.read = self._allow(number, stream.read + len(payload))
        if flags & _PADDED:
            payload = payload[1 : len(payload) - payload[0]] if payload else b""
        stream.pending += payload
        if sum(len(each.pending) for each in self._streams.values()) > MOST_PENDING:
            raise _Broken
        if not self._messages(stream):
            del self._streams[number]
            self._over(number)
        elif flags & _END_STREAM:
            self._gone(number)

    def _messages(self, stream: _Stream) -> bool:
        """Whether there is use in more."""
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
        self._send(_WINDOW_UPDATE, 0, number, read.to_bytes(4))
        return 0

    def _gone(self, number: int) -> None:
        if stream := self._streams.pop(number, None):
            stream.call.ended()

    def _over(self, number: int) -> None:
        self._send(_HEADERS, _END_STREAM | _END_HEADERS, number, _OVER)
        self._send(_RST_STREAM, 0, number, bytes(4))

    def _send(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        self._transport.write(len(payload).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + payload)
