"""Compressed bodies: gzip and deflate, in both directions. A small body that would become a huge one is refused."""

import zlib

from ..errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding

WORTH_IT = 1400
"""Bytes: what fits into one packet is not compressed."""

_LEVEL = 1
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


def decompressed(body: bytes | memoryview, encoding: str, most: int) -> bytes:
    """The body behind a `Content-Encoding`.

    UnsupportedEncoding for another than gzip and deflate; BodyTooLarge beyond `most` bytes, of which no more are ever
    in memory; MalformedRequest for what is damaged or cut off.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return bytes(body)
    window = _WINDOWS.get(name)
    if window is None:
        raise UnsupportedEncoding(f"Content-Encoding is {encoding[:40]!r}; gzip, deflate and identity are understood")
    if name == "deflate" and not _has_zlib_header(body):
        window = _RAW  # what some clients call deflate
    reader = zlib.decompressobj(window)
    try:
        plain = reader.decompress(body, most + 1)
    except zlib.error as error:
        raise MalformedRequest("encoding", f"the body is no {name}: {error}") from error
    if len(plain) > most:
        raise BodyTooLarge(f"the body has more than {most} bytes when it is decompressed, the most that is taken")
    if not reader.eof:
        raise MalformedRequest("encoding", f"the {name} body is cut off after {len(body)} bytes")
    if reader.unused_data:
        raise MalformedRequest("encoding", f"{len(reader.unused_data)} bytes follow the end of the {name} body")
    return plain


def compressed(body: bytes, accepted: str) -> tuple[bytes, str] | None:
    """The body in an encoding that the `Accept-Encoding` names, and its name; None to send it as it is."""
    if len(body) < WORTH_IT:
        return None
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        if name.strip() in ("gzip", "deflate") and parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00"):
            window = _WINDOWS[name.strip()]
            writer = zlib.compressobj(_LEVEL, zlib.DEFLATED, window)
            return writer.compress(body) + writer.flush(), name.strip()
    return None


def _has_zlib_header(body: bytes | memoryview) -> bool:
    """Whether the first two bytes are those of RFC 1950: method 8, and a multiple of 31."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
