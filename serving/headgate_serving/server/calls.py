"""gRPC over a stream of HTTP/2: messages out of its body, and how a call ends."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from ..errors import BodyTooLarge, MalformedRequest, RequestError
from .compression import decompressed
from .http2 import Stream, header_block
from .inference import STATUS

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TYPE = (b"content-type", b"application/grpc")
_PRINTABLE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"  # what need not be escaped in a grpc-message: all but %
_LONGEST = 2000

HEAD = header_block((b":status", b"200"), _TYPE, (b"grpc-accept-encoding", b"identity,deflate,gzip"))
GOOD = header_block((b"grpc-status", b"0"))


class Reader:
    """Messages out of a stream's body: each has a flag, its length, and its bytes."""

    def __init__(self, stream: Stream, max_body: int) -> None:
        self._stream = stream
        self._max_body = max_body
        self._rest = b""

    def only(self) -> bytes:
        """The message of a call that has one."""
        messages = list(self.messages())
        if self._rest or len(messages) != 1:
            what = "a part of one" if self._rest else str(len(messages))
            raise MalformedRequest("binary", f"the call has one message, got {what}")
        return messages[0]

    def messages(self) -> Iterator[bytes]:
        """Those that have come by now."""
        body = self._stream.body
        data = body[0] if len(body) == 1 and not self._rest else b"".join([self._rest, *body])
        self._stream.body = []
        at = 0
        while len(data) - at >= 5:
            length = int.from_bytes(data[at + 1 : at + 5], "big")
            if length > self._max_body:
                raise BodyTooLarge(f"a message of {length} bytes; {self._max_body} are taken")
            if len(data) - at - 5 < length:
                break
            flag, message = data[at], data[at + 5 : at + 5 + length]
            at += 5 + length
            yield message if not flag else self._plain(message)
        self._rest = data[at:]

    def _plain(self, message: bytes) -> bytes:
        encoding = self._stream.headers.get(b"grpc-encoding", b"").decode("latin-1")
        if encoding in ("", "identity"):
            raise MalformedRequest("encoding", "a message is marked as compressed, but grpc-encoding does not say how")
        return decompressed(message, encoding, self._max_body)


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
    """End a call that was not answered."""
    stream.refuse(header_block((b":status", b"200"), _TYPE) + trailers(code, message))


def refuse_for(stream: Stream, error: RequestError) -> None:
    """The same, for one of our errors."""
    refuse(stream, STATUS[type(error)][1], str(error))


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
