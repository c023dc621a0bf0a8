"""gRPC over a stream of HTTP/2: messages out of its body, and how a call ends."""

import time
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from headgate.api import contract

from ..codec.accounting import Hold, counted
from ..codec.compression import decompressing
from ..errors import BodyTooLarge, MalformedRequest, RequestError
from ..http.http2_frames import header_block
from ..http.http2_streams import Stream
from ..turns import at_once
from .inference import STATUS, UNAVAILABLE

SHORT = 64 << 10
"""Bytes of a message that asks for no inference: it is read at once, whatever it becomes."""

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TYPE = (b"content-type", b"application/grpc")
_PRINTABLE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"  # what need not be escaped in a grpc-message: all but %
_LONGEST = 2000
_MOST_FIELDS = 4096
_FIXED = {1: 8, 3: 0, 4: 0, 5: 4}  # bytes of a field by its type: numbers of 64 and 32 bits, ends of groups
_WITH_LENGTH = 2
_PREFIX = 5  # bytes before a message: a flag and the message's length

_BEGIN = ((b":status", b"200"), _TYPE, (b"grpc-accept-encoding", b"identity,deflate,gzip"))
HEAD = header_block(*_BEGIN)
_UNSURE, _INVALID = ((mark.encode(), b"true") for mark in (contract.LOW_CONFIDENCE_HEADER, contract.INVALID_HEADER))
MARKED = {
    (unsure, invalid): header_block(*_BEGIN, *[_UNSURE] * unsure, *[_INVALID] * invalid)
    for unsure in (False, True)
    for invalid in (False, True)
}
"""How an answer begins that the model is not sure of, and one in which a number is NaN or infinite."""
GOOD = header_block((b"grpc-status", b"0"))
_REFUSAL = header_block((b":status", b"200"), _TYPE)


class Size(NamedTuple):
    """Bytes of a message: as it came, and beside them as it was decompressed. For `Stream.release`."""

    body: int
    beyond: int


class Message(NamedTuple):
    """One of a stream, as it came. `packed` says that it is compressed."""

    data: bytes
    packed: bool

    @property
    def size(self) -> Size:
        """Bytes that it took in the stream's body."""
        return Size(_PREFIX + len(self.data), 0)


class Reader:
    """Messages out of a stream's body: each has a flag, its length, and its bytes."""

    def __init__(self, stream: Stream, max_body: int) -> None:
        self._stream = stream
        self._max_body = max_body
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = _PREFIX

    def only(self) -> bytes:
        """The message of a call that has one, at once: for those that are short."""
        return at_once(self.only_in_pieces())

    def only_in_pieces(self) -> Generator[None, None, bytes]:
        """The message of a call that has one."""
        body = self._stream.body
        first = body[0] if body else b""
        if first[:1] == b"\0" and int.from_bytes(first[1:_PREFIX], "big") == sum(map(len, body)) - _PREFIX:
            self._stream.body = []
            return b"".join((memoryview(first)[_PREFIX:], *body[1:]))
        messages = list(self.messages())
        if self._size or len(messages) != 1:
            what = "a part of one" if self._size else str(len(messages))
            raise MalformedRequest("binary", f"the call has one message, got {what}")
        return (yield from self.plain(messages[0], self._stream.hold))

    def messages(self) -> Iterator[Message]:
        """Those that have come by now."""
        body, self._stream.body = self._stream.body, []
        self._parts += body
        self._size += sum(map(len, body))
        if self._size < self._needed:
            return
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        at, self._needed = 0, _PREFIX
        while len(data) - at >= _PREFIX:
            start = at + _PREFIX
            length = int.from_bytes(data[at + 1 : start], "big")
            if length > self._max_body:
                raise BodyTooLarge(f"a message of {length} bytes; {self._max_body} are taken")
            if len(data) - start < length:
                self._needed = _PREFIX + length
                break
            yield Message(data[start : start + length], data[at] != 0)
            at = start + length
        self._parts, self._size = ([data[at:]] if at < len(data) else []), len(data) - at

    def short(self) -> Iterator[tuple[bytes, Size]]:
        """The same without their encoding, at once, and the bytes that they take: for those that are short."""
        for message in self.messages():
            plain = at_once(self.plain(message, self._stream.hold))
            yield plain, message.size._replace(beyond=len(plain) if message.packed else 0)

    def check_whole(self) -> None:
        """At the end of a stream: MalformedRequest if its last message is cut off."""
        if self._size:
            raise MalformedRequest("binary", f"the last message is cut off after {self._size} bytes")

    def plain(self, message: Message, hold: Hold) -> Generator[None, None, bytes]:
        """A message without its encoding, in pieces; Overloaded where `hold` has no room for what it becomes."""
        if not message.packed:
            return message.data
        encoding = self._stream.headers.get(b"grpc-encoding", b"").decode("latin-1")
        if encoding in ("", "identity"):
            raise MalformedRequest("encoding", "a message is marked as compressed, but grpc-encoding does not say how")
        return bytes((yield from counted(decompressing(message.data, encoding, self._max_body), hold)))


def check_few_fields(message: bytes) -> None:
    """MalformedRequest if a message has many fields: an empty one of two bytes takes a hundred when it is parsed."""
    at = 0
    for _ in range(_MOST_FIELDS):
        if at >= len(message):
            return
        key, at = _varint(message, at)
        size = _FIXED.get(key & 7)
        if size is None:
            size, at = _varint(message, at)
            size *= key & 7 == _WITH_LENGTH
        at += size
    raise MalformedRequest("json", f"the message has more than {_MOST_FIELDS} inputs, outputs and other fields")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number there, and where it ends; the parser says what is wrong with one that does not end."""
    number = 0
    for place, byte in enumerate(message[at : at + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    return 0, len(message)


def parsed(kind: Any, message: bytes) -> Any:
    """The message of that kind in some bytes."""
    try:
        return kind.FromString(message)
    except Exception as error:  # protobuf's DecodeError, or what its C code raises instead
        raise MalformedRequest("json", f"the message is no {kind.DESCRIPTOR.full_name}: {error}") from error


def framed(message: Any) -> bytes:
    """A message as it stands in a body."""
    raw: bytes = message.SerializeToString()
    return b"\0" + len(raw).to_bytes(4, "big") + raw


def refuse(stream: Stream, code: int, message: str) -> None:
    """End a call without an answer, or without the rest of it."""
    stream.refuse(_REFUSAL, trailers(code, message))


def refuse_for(stream: Stream, error: RequestError) -> None:
    """The same, for one of our errors."""
    refuse(stream, STATUS[type(error)][1], str(error))


def dismiss(stream: Stream) -> None:
    """End a call that has no end of its own, because the server ends."""
    refuse(stream, UNAVAILABLE, "this server is about to end; call again, and another one will answer")


def trailers(code: int, message: str) -> bytes:
    """The end of an answer that has begun."""
    said = quote(message[:_LONGEST], safe=_PRINTABLE).encode()
    return header_block((b"grpc-status", b"%d" % code), (b"grpc-message", said))


def deadline(stream: Stream) -> float | None:
    """The time of `time.monotonic` until which the client waits; None if it does not say."""
    text = stream.headers.get(b"grpc-timeout")
    if not text or not text[:-1].isdigit() or len(text) > 9 or text[-1:] not in _UNITS:
        return None
    return time.monotonic() + int(text[:-1]) * _UNITS[text[-1:]]
