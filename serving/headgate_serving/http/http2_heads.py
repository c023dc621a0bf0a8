"""What the header fields of a request have to be in HTTP/2 (RFC 9113, sections 8.2 and 8.3); `http2.py` asks.

A request that is malformed ends with a stream error of type PROTOCOL_ERROR. Spaces around a value are let through
though the RFC forbids them: gRPC's own specification says that they may be stripped, and its libraries send them.
"""

import functools
import re
from collections.abc import Iterable, Sequence

from .http2_frames import Headers

Pairs = Sequence[tuple[bytes, bytes]]

_NAME = re.compile(rb"[!-9;-@\[-~]+")  # no capitals, no colon, nothing beyond ASCII
_BAD_VALUE = re.compile(rb"[\x00\r\n]")
_OF_REQUESTS = frozenset((b":method", b":scheme", b":path", b":authority"))
_OF_CONNECTIONS = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_ONCE = (b"te", b"content-length")
_LONGEST_LENGTH = 18  # digits of a content-length
_ALIKE = 32  # sets of names that are remembered: clients repeat theirs, and only the values change


def fault_of_head(pairs: Pairs, headers: Headers) -> str:
    """What is wrong with a request's headers, given as they came and by their names; empty if nothing is."""
    unique = len(headers) == len(pairs)
    if fault := _fault_of_names(tuple(headers) if unique else tuple([name for name, _ in pairs])):
        return fault
    if bool(headers.get(b":path") and headers.get(b":scheme")) == (headers[b":method"] == b"CONNECT"):
        return "a request has a :scheme and a :path, and neither is empty; CONNECT alone has none"
    if headers.get(b"te", b"trailers") != b"trailers":
        return "te can only say trailers"
    length = headers.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) <= _LONGEST_LENGTH):
        return "content-length is no number of bytes"
    return _fault_of_values(headers.values() if unique else [value for _, value in pairs])


def fault_of_trailers(pairs: Pairs) -> str:
    """The same for the headers that end a request: they have no pseudo-headers."""
    return _fault_of_fields([name for name, _ in pairs]) or _fault_of_values([value for _, value in pairs])


@functools.lru_cache(_ALIKE)
def _fault_of_names(names: tuple[bytes, ...]) -> str:
    first = next((at for at, name in enumerate(names) if name[:1] != b":"), len(names))
    pseudo = set(names[:first])
    if len(pseudo) < first or not pseudo <= _OF_REQUESTS or b":method" not in pseudo:
        return "a pseudo-header is unknown or there twice, or :method is missing"
    if any(names.count(name) > 1 for name in _ONCE):
        return "te or content-length is there twice"
    return _fault_of_fields(names[first:])


def _fault_of_fields(names: Sequence[bytes]) -> str:
    for name in names:
        if not _NAME.fullmatch(name):
            return f"no name of a header, or a pseudo-header behind the others: {name[:100]!r}"
        if name in _OF_CONNECTIONS:
            return f"{name!r} belongs to a connection of HTTP/1"
    return ""


def _fault_of_values(values: Iterable[bytes]) -> str:
    return "a value with NUL or the end of a line" if _BAD_VALUE.search(b" ".join(values)) else ""
