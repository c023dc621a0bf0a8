"""Large bodies: from the socket to where their tensor begins, without a copy, and without new pages where possible.

`http1.py` lets a Filling read what is missing of a body; in between the parser sees nothing of it.
"""

import asyncio
import mmap
import sys
from abc import ABC, abstractmethod

_READ, _MOST_READ = 32 << 10, 256 << 10
_MEDIUM = 2 << 20  # bytes of a body up to which more and more is read at a time

_ALIGNED = 16
_BUFFERS_KEPT, _MOST_KEPT = 32, 1 << 20
_NOTHING = memoryview(b"")


def next_read(size: int, length: int) -> int:
    """Bytes that are read next of a body of `length`, of which `size` have come.

    The event loop reads up to 32 times in a row, while everybody else waits: of a large body little at a time. A medium
    one is over soon; of it as much again as has come, so that a promise alone takes little memory.
    """
    return min(max(_READ, size), _MOST_READ) if length <= _MEDIUM else _READ


class Filled(asyncio.Protocol, ABC):
    """A connection that a body can be read for."""

    @abstractmethod
    def filled(self, size: int) -> None:
        """So many bytes more have come."""

    @abstractmethod
    def whole(self) -> None:
        """All of the body has come."""


def _references(buffers: list[mmap.mmap]) -> list[int]:
    """How many there are to each, ours included."""
    return [sys.getrefcount(buffer) for buffer in buffers]


def _pages(size: int) -> mmap.mmap:
    """Address space: a page of it becomes memory when it is first written to, so not before its bytes have come."""
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


_UNUSED = _references([_pages(1)])[0]


class Memory:
    """Buffers for large bodies: one that nobody looks at any more is used again, and needs no new pages."""

    def __init__(self) -> None:
        self._buffers: list[mmap.mmap] = []

    def take(self, length: int, header_length: bytes) -> memoryview:
        """So many bytes; what follows a head of that length begins where a tensor may begin."""
        offset = -int(header_length) % _ALIGNED if header_length.isdigit() and len(header_length) < 10 else 0
        size = length + offset
        for buffer, references in zip(self._buffers, _references(self._buffers), strict=True):
            if size <= len(buffer) and references == _UNUSED:
                return memoryview(buffer)[offset:size]
        fresh = _pages(size + _ALIGNED)
        if size <= _MOST_KEPT:
            self._buffers = [*self._buffers[1 - _BUFFERS_KEPT :], fresh]
        return memoryview(fresh)[offset:size]


class Filling(asyncio.BufferedProtocol):
    """Reads the rest of a large body from the socket to where it is needed, then gives the transport back."""

    def __init__(self, connection: Filled, transport: asyncio.Transport, missing: memoryview, length: int) -> None:
        self._connection = connection
        self._transport = transport
        self._missing = missing
        self._length = length
        self._take_over(self)

    def give_up(self) -> None:
        """Let go of the memory, and give the transport back if there still is one."""
        self._missing = _NOTHING
        if not self._transport.is_closing():
            self._take_over(self._connection)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what comes: never more than the rest of the body, nor so much that others wait for it."""
        missing = self._missing
        return missing[: next_read(self._length - len(missing), self._length)]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        rest = self._missing = self._missing[nbytes:]
        self._connection.filled(nbytes)  # which may give up
        if not rest:
            self._take_over(self._connection)
            self._connection.whole()

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._connection.resume_writing()

    def _take_over(self, protocol: asyncio.BaseProtocol) -> None:
        reading = self._transport.is_reading()
        self._transport.pause_reading()
        self._transport.set_protocol(protocol)
        if reading:
            self._transport.resume_reading()
