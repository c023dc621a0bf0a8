"""Compressed bodies: gzip and deflate, in both directions. A small body that would become a huge one is refused."""

import mmap
import re
import zlib
from collections.abc import Generator

from ..errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding
from ..turns import at_once

WORTH_IT = 1400
"""Bytes: what fits into one packet is not compressed."""

_LEVEL = 1
_MEMBERS = 4096  # of one gzip body: blocks of 16 KiB in the largest body
_PIECE = 64 << 10  # bytes at a time, for what follows a member is copied
_PLAIN_PIECE = 256 << 10
_MOST_TIMES = 1032  # a byte of deflate becomes no more
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class _Plain:
    """What is decompressed by now: address space for all of it, of which what is written to becomes memory.

    A buffer that grows would be copied again and again, and leave holes.
    """

    def __init__(self, most: int) -> None:
        self._pages = mmap.mmap(-1, most, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Append it."""
        self._pages[self.size : self.size + len(piece)] = piece
        self.size += len(piece)

    @property
    def bytes(self) -> memoryview:
        """All of it."""
        return memoryview(self._pages)[: self.size]


def decompressed(body: bytes | memoryview, encoding: str, most: int) -> bytes:
    """What `decompressing` makes of a body, at once."""
    return bytes(at_once(decompressing(body, encoding, most)))


def decompressing(body: bytes | memoryview, encoding: str, most: int) -> Generator[int, None, bytes | memoryview]:
    """The body behind a `Content-Encoding`; after each piece it yields how many bytes came of it.

    UnsupportedEncoding for another than gzip and deflate; BodyTooLarge beyond `most` bytes, of which no more are ever
    in memory; MalformedRequest for what is damaged or cut off.
    """
    names = [name for part in encoding.split(",") if (name := part.strip(" \t").lower()) not in ("", "identity")]
    if not names:
        return bytes(body)
    name = names[0]
    window = _WINDOWS.get(name) if len(names) == 1 else None
    if window is None:
        raise UnsupportedEncoding(f"Content-Encoding is {encoding[:40]!r}; gzip, deflate and identity are understood")
    if name == "deflate" and not _has_zlib_header(body):
        window = _RAW  # what some clients call deflate
    view = memoryview(body)
    plain = _Plain(min(most + 1, _MOST_TIMES * len(view) + _PIECE))
    at = yield from _stream(view, 0, plain, name, window, most)
    if window == _GZIP and at < len(view):
        yield from _members(view, at, plain, name, most)
    elif at < len(view):
        raise MalformedRequest("encoding", f"{len(view) - at} bytes follow the end of the {name} body")
    return plain.bytes


def _members(view: memoryview, at: int, plain: _Plain, name: str, most: int) -> Generator[int, None, None]:
    """The further members of a gzip body (RFC 1952, 2.2), of which zeros may fill up the end."""
    count = 1
    while at < len(view):
        if view[at] == 0 and not any(view[at:]):
            break
        if count == _MEMBERS:
            raise MalformedRequest("encoding", f"the {name} body has more than {_MEMBERS} members")
        at = yield from _stream(view, at, plain, name, _GZIP, most)
        count += 1


def _stream(view: memoryview, at: int, plain: _Plain, name: str, window: int, most: int) -> Generator[int, None, int]:
    """Append what is compressed from `at` on; where it ends is returned."""
    reader = zlib.decompressobj(window)
    begin = at
    while not reader.eof:
        data: bytes | memoryview = reader.unconsumed_tail
        if not data:
            if at >= len(view):
                raise MalformedRequest("encoding", f"the {name} body is cut off after {len(view)} bytes")
            data = view[at : at + _PIECE]
            at += len(data)
        try:
            piece = reader.decompress(data, min(_PLAIN_PIECE, most + 1 - plain.size))
        except zlib.error as error:
            more = f", in its member at byte {begin}" if begin else ""
            raise MalformedRequest("encoding", f"the body is no {name}{more}: {error}") from error
        plain.add(piece)
        if plain.size > most:
            raise BodyTooLarge(f"the body has more than {most} bytes when it is decompressed, the most that is taken")
        yield len(piece)
    return at - len(reader.unused_data)


def compressing(body: bytes, accepted: str) -> Generator[None, None, tuple[bytes, str] | None]:
    """The body in the encoding that an `Accept-Encoding` likes best, and its name; None to send it as it is."""
    if len(body) < WORTH_IT:
        return None
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, *parameters = (one.strip(" \t") for one in part.split(";"))
        weights.setdefault(name, _weight(parameters))
    best = max((name for name in weights if name in _WINDOWS), key=weights.__getitem__, default="")
    if not best or weights[best] <= 0 or weights[best] < weights.get("identity", 0):
        return None
    writer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[best])
    parts = []
    for at in range(0, len(body), _PLAIN_PIECE):
        parts.append(writer.compress(body[at : at + _PLAIN_PIECE]))
        yield
    return b"".join([*parts, writer.flush()]), best


def _weight(parameters: list[str]) -> float:
    """The weight in an element of a list (RFC 9110, 12.4.2): from 0, not at all, to 1; one that is none counts as 0."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip(" \t") == "q":
            return float(value) if _WEIGHT.fullmatch(value) else 0.0
    return 1.0


def _has_zlib_header(body: bytes | memoryview) -> bool:
    """Whether the first two bytes are those of RFC 1950: method 8, and a multiple of 31."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
