"""What the header fields of a request have to be in HTTP/2 (RFC 9113, sections 8.2 and 8.3); `http2.py` asks.

A request that is malformed ends with a stream error of type PROTOCOL_ERROR. Spaces around a value are let through
though the RFC forbids them: gRPC's own specification says that they may be stripped, and its libraries send them.
"""

import re
from collections.abc import Sequence

Pairs = Sequence[tuple[bytes, bytes]]

_NAME = re.compile(rb"[!-9;-@\[-~]+")  # no capitals, no colon, nothing beyond ASCII
_BAD_VALUE = re.compile(rb"[\x00\r\n]")
_OF_REQUESTS = frozenset((b":method", b":scheme", b":path", b":authority"))
_OF_CONNECTIONS = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_LONGEST_LENGTH = 18  # digits of a content-length


def fault_of_head(pairs: Pairs) -> str:
    """What is wrong with a request's headers, as they came; empty if nothing is."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name[:1] != b":":
            break
        if name not in _OF_REQUESTS or name in pseudo:
            return f"the pseudo-header {name!r} is unknown, or there twice"
        pseudo[name] = value
    return _fault_of_target(pseudo) or _fault_of_fields(pairs[len(pseudo) :]) or _fault_of_values(pairs)


def fault_of_trailers(pairs: Pairs) -> str:
    """The same for the headers that end a request: they have no pseudo-headers."""
    return _fault_of_fields(pairs) or _fault_of_values(pairs)


def _fault_of_target(pseudo: dict[bytes, bytes]) -> str:
    if pseudo.get(b":method") == b"CONNECT":
        return "CONNECT has no :scheme and no :path" if b":scheme" in pseudo or b":path" in pseudo else ""
    if not (pseudo.get(b":method") and pseudo.get(b":scheme") and pseudo.get(b":path")):
        return ":method, :scheme or :path is missing or empty"
    return ""


def _fault_of_fields(pairs: Pairs) -> str:
    for name, value in pairs:
        if not _NAME.fullmatch(name):
            return f"no name of a header, or a pseudo-header behind the others: {name[:100]!r}"
        if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
            return f"{name!r} belongs to a connection of HTTP/1"
        if name == b"content-length" and not (value.isdigit() and len(value) <= _LONGEST_LENGTH):
            return "content-length is no number of bytes"
    return ""


def _fault_of_values(pairs: Pairs) -> str:
    return "a value with NUL or the end of a line" if any(_BAD_VALUE.search(value) for _, value in pairs) else ""
