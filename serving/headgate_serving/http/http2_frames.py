"""What goes over an HTTP/2 connection: frames, their numbers (RFC 9113), and blocks of headers (RFC 7541)."""

import struct

import hpack.table

Headers = dict[bytes, bytes]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CALM = 5, 6, 7, 8, 9, 11
MAY_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = 2, 3, 4, 5, 6

FRAME = struct.Struct(">HBBBI")  # length (2 + 1 bytes), type, flags, stream
LONG = struct.Struct(">I")
SETTING = struct.Struct(">HI")


class ProtocolError(Exception):
    """The connection can't go on; `code` is HTTP/2's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def header_block(*headers: tuple[bytes, bytes]) -> bytes:
    """Headers as a compressed block that leaves the client's table as it is (RFC 7541, 6.2.2)."""
    block = bytearray()
    for name, value in headers:
        if name == b":status" and value == b"200":
            block.append(0x88)
            continue
        block.append(0)
        for text in (name, value):
            block += _integer(len(text), 7)
            block += text
    return bytes(block)


def _integer(number: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if number < most:
        return bytes([number])
    out = bytearray([most])
    number -= most
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return FRAME.pack(size >> 8, size & 255, kind, flags, stream) + payload


def unpadded(payload: bytes) -> bytes:
    """What is left of a padded frame."""
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(PROTOCOL_ERROR, "more padding than there are bytes")
    return payload[1 : len(payload) - payload[0]]


class HeaderTable(hpack.table.HeaderTable):
    """Counts its changes: as long as there are none, a block means what it meant before."""

    additions = 0

    def add(self, name: bytes, value: bytes) -> None:
        """One more entry."""
        self.additions += 1
        super().add(name, value)

    @property
    def state(self) -> tuple[int, int, int]:
        """Another one after each change: an entry more, another size, or entries that a size in between drove out."""
        return self.additions, self.maxsize, len(self.dynamic_entries)
