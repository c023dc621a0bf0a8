"""Compressed bodies: gzip and deflate, in both directions. A small body that would become a huge one is refused."""

import re
import zlib

from ..errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding

WORTH_IT = 1400
"""Bytes: what fits into one packet is not compressed."""

_LEVEL = 1
_MEMBERS = 4096  # of one gzip body: blocks of 16 KiB in the largest body
_PIECE = 64 << 10  # bytes at a time, for what follows a member is copied
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


def decompressed(body: bytes | memoryview, encoding: str, most: int) -> bytes:
    """The body behind a `Content-Encoding`.

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
    plain, at = _stream(view, 0, len(view), name, window, most)
    if window == _GZIP and at < len(view):
        plain = _members(view, at, plain, name, most)
    elif at < len(view):
        raise MalformedRequest("encoding", f"{len(view) - at} bytes follow the end of the {name} body")
    return plain


def _members(view: memoryview, at: int, first: bytes, name: str, most: int) -> bytes:
    """A gzip body of several members (RFC 1952, 2.2), the first of which is read; zeros may fill it up at its end."""
    parts, size = [first], len(first)
    while at < len(view):
        if view[at] == 0 and not any(view[at:]):
            break
        if len(parts) == _MEMBERS:
            raise MalformedRequest("encoding", f"the {name} body has more than {_MEMBERS} members")
        plain, at = _stream(view, at, _PIECE, name, _GZIP, most, size)
        parts.append(plain)
        size += len(plain)
    return b"".join(parts)


def _stream(
    view: memoryview, at: int, piece: int, name: str, window: int, most: int, before: int = 0
) -> tuple[bytes, int]:
    """What is compressed from `at` on, and where it ends; `piece` bytes are read at a time, `before` are there."""
    reader = zlib.decompressobj(window)
    parts: list[bytes] = []
    size = before
    begin = at
    while not reader.eof:
        if at >= len(view):
            raise MalformedRequest("encoding", f"the {name} body is cut off after {len(view)} bytes")
        part = view[at : at + piece]
        try:
            parts.append(reader.decompress(part, most + 1 - size))
        except zlib.error as error:
            more = f", in its member at byte {begin}" if begin else ""
            raise MalformedRequest("encoding", f"the body is no {name}{more}: {error}") from error
        at += len(part)
        size += len(parts[-1])
        if size > most:
            raise BodyTooLarge(f"the body has more than {most} bytes when it is decompressed, the most that is taken")
    plain = parts[0] if len(parts) == 1 else b"".join(parts)
    return plain, at - len(reader.unused_data)


def compressed(body: bytes, accepted: str) -> tuple[bytes, str] | None:
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
    return writer.compress(body) + writer.flush(), best


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
