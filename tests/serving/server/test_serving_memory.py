"""Large bodies: read to where a tensor may begin, into memory that is used again only when nobody looks at it."""

import asyncio
import gc
import re
import resource
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headgate_serving.http.bodies import Filling, Memory
from headgate_serving.http.http1 import Answer, Connection, Exchange, Server
from headgate_serving.http.listener import Limits


@pytest.mark.parametrize("header_length", [b"", b"1", b"77", b"160", b"no number", b"9" * 30])
def test_a_tensor_behind_the_head_is_aligned(header_length: bytes) -> None:
    body = Memory().take(100_000, header_length)
    assert len(body) == 100_000
    if header_length.isdigit() and len(header_length) < 10:
        assert np.frombuffer(body[int(header_length) :][: 8 * 1000], np.float64).flags.aligned


def test_memory_is_used_again_only_when_nobody_looks_at_it() -> None:
    memory = Memory()
    first = memory.take(100_000, b"")
    buffer = id(first.obj)
    tensor = np.frombuffer(first, np.uint8)
    del first
    assert id(memory.take(100_000, b"").obj) != buffer, "a tensor still looks at it"
    del tensor
    assert id(memory.take(99_000, b"7").obj) == buffer


def test_what_is_kept_is_bounded() -> None:
    memory = Memory()
    held = [memory.take(100_000, b"") for _ in range(100)]
    huge = memory.take(10 << 20, b"")
    assert len(memory._buffers) == 32
    assert huge.obj not in memory._buffers
    assert len(held) == 100


def test_nothing_of_an_answered_request_waits_for_the_collector() -> None:
    class Work:
        """Holds the exchange, which holds it in turn."""

        def __init__(self, exchange: Exchange) -> None:
            self.exchange = exchange
            exchange.gone = self.stop

        def stop(self) -> None:
            """Nobody waits for it any more."""

    seen: list[weakref.ref[Work]] = []

    def handle(exchange: Exchange) -> None:
        work = Work(exchange)
        seen.append(weakref.ref(work))
        exchange.answer(Answer(200, b"", b"ok"))

    class Transport:
        """Takes what is written."""

        def write(self, data: bytes) -> None:
            assert data.startswith(b"HTTP/1.1 200 ")

    server = Server(handle, lambda status, message: Answer(status, b"", message.encode()), Limits(1000, 1000))
    connection = server()
    connection.connection_made(Transport())  # type: ignore[arg-type]
    gc.disable()
    try:
        connection.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert [one() for one in seen] == [None]
    finally:
        gc.enable()


class Wire:
    """A transport that takes what is written and looks at nothing."""

    def __init__(self) -> None:
        self.written = b""
        self.protocol: object = None

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        self.written += b"".join(parts)

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol

    def is_reading(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    resume_reading = can_write_eof = close = pause_reading


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


HELD = 16 << 20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Answers `/` with the length of the body, and leaves everything else waiting."""

    def give_back(exchange: Exchange) -> None:
        """As work that holds its exchange."""
        exchange.hold(0)

    def handle(exchange: Exchange) -> None:
        if exchange.path == "/":
            exchange.answer(Answer(200, b"", b"%d" % len(exchange.body)))
        else:
            exchange.gone = partial(give_back, exchange)

    later = SimpleNamespace(call_later=lambda *_: None, call_soon=lambda *_: None)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: later)
    server = Server(handle, lambda status, message: Answer(status, b"", message.encode()), Limits(HELD, HELD))
    server.now = 1.0
    return server


def connect(server: Server) -> tuple[Connection, Wire]:
    connection, wire = server(), Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    return connection, wire


def head(length: int, *headers: bytes, path: bytes = b"/later") -> bytes:
    return b"".join([b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n" % (path, length), *headers, b"\r\n"])


def test_a_promise_takes_no_memory() -> None:
    before = resident()
    promised = [Memory().take(64 << 20, b"") for _ in range(8)]
    for body in promised:
        body[:1000] = bytes(1000)
    assert resident() - before < 64 << 20


LARGE = 4 << 20


def more(wire: Wire, size: int) -> None:
    """So many bytes more of a large body come, as long as they are read."""
    while size and isinstance(wire.protocol, Filling):
        space = wire.protocol.get_buffer(0)[:size]
        space[:] = bytes(len(space))
        size -= len(space)
        wire.protocol.buffer_updated(len(space))


@pytest.mark.parametrize("sent", [0, 1000])
@pytest.mark.parametrize("promised", [HELD, LARGE])
def test_a_promise_keeps_nobody_out(server: Server, sent: int, promised: int) -> None:
    """As many heads as there are connections, and hardly more behind them: others still send their bodies."""
    many = [connect(server) for _ in range(300)]
    for connection, _ in many:
        connection.data_received(head(promised) + bytes(sent))
    assert server.held <= HELD
    small = connect(server)
    small[0].data_received(head(100_000, path=b"/") + bytes(100_000))
    assert small[1].written.endswith(b"100000")
    for connection, _ in many:
        connection.connection_lost(None)
    assert server.held == 0


def test_what_has_come_of_a_body_counts(server: Server) -> None:
    first, second = connect(server), connect(server)
    first[0].data_received(head(LARGE) + bytes(1000))
    assert 1000 < server.held < 100_000
    more(first[1], LARGE // 2)
    assert 0 <= server.held - LARGE // 2 < 100_000
    second[0].data_received(head(HELD - LARGE // 2))
    assert second[1].written.startswith(b"HTTP/1.1 429 ")
    more(first[1], LARGE)
    assert server.held == LARGE
    first[0].connection_lost(None)
    assert server.held == 0


def test_bodies_that_come_together_are_held_to_the_limit_as_they_come(server: Server) -> None:
    """Each was promised when there was room for it."""
    clients = [connect(server) for _ in range(8)]
    for connection, _ in clients:
        connection.data_received(head(LARGE, path=b"/") + bytes(1000))
    most = 0
    for _ in range(LARGE // 100_000 + 1):
        for _, wire in clients:
            more(wire, 100_000)
            most = max(most, server.held)
    assert most <= HELD
    statuses = [wire.written.split()[1] for _, wire in clients]
    assert set(statuses) == {b"200", b"429"}
    assert statuses.count(b"200") >= 3, "who is refused makes room for the others"
    assert server.held == 0


def test_large_bodies_leave_room_for_small_ones(server: Server) -> None:
    server.limits = Limits(HELD // 2, HELD)
    large = [connect(server) for _ in range(8)]
    for connection, _ in large:
        connection.data_received(head(HELD // 2) + bytes(1000))
    for _, wire in large:
        more(wire, HELD // 2 - 2000)
    small = connect(server)
    small[0].data_received(head(1 << 20, path=b"/") + bytes(1 << 20))
    more(small[1], 1 << 20)
    assert small[1].written.endswith(b"%d" % (1 << 20))
    assert server.held < HELD


def test_who_gets_no_addresses_for_a_body_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> memoryview:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(server.memory, "take", none)
    connection, wire = connect(server)
    connection.data_received(head(LARGE) + bytes(1000))
    assert wire.written.startswith(b"HTTP/1.1 429 ")
    assert server.held == 0


def upload(server: Server, how: str) -> None:
    """One that breaks off, or is refused, after its buffer was taken."""
    connection, wire = connect(server)
    first = b"x" * 1000
    if how == "behind a request that waits":
        connection.data_received(head(0, path=b"/waits"))
    connection.data_received(head(200_000) + first)
    filling = wire.protocol
    assert isinstance(filling, Filling)
    if how == "too slow":
        server.now += 100.0
        connection.look_at_the_clock()
        assert wire.written.startswith(b"HTTP/1.1 408 ")
        return
    if how != "broken off":
        rest = filling.get_buffer(0)
        rest[:] = bytes(len(rest))
        filling.buffer_updated(len(rest))
        del rest
    connection.connection_lost(None)


@pytest.mark.parametrize("how", ["broken off", "too slow", "whole, and not waited for", "behind a request that waits"])
def test_a_body_that_nobody_needs_is_freed_at_once(server: Server, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[weakref.ref[Any]] = []

    def take(length: int, _: bytes) -> memoryview:
        buffer = np.zeros(length, np.uint8)
        taken.append(weakref.ref(buffer))
        return buffer.data

    monkeypatch.setattr(server.memory, "take", take)
    gc.disable()
    try:
        upload(server, how)
        assert [one() for one in taken] == [None]
    finally:
        gc.enable()
    assert server.held == 0


LONG = {
    "one header": b"x: %b\r\n" % (b"y" * 100_000),
    "many of one name": b"x: y\r\n" * 17_000,
    "many names": b"".join(b"x-%d: y\r\n" % at for at in range(8000)),
}
BEFORE = {
    "alone": b"",
    "behind another": head(0, path=b"/"),
    "behind a body": head(20_000, path=b"/") + bytes(20_000),
    "behind chunks": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("size", [1000, 10_000, 1 << 20])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("name", LONG)
def test_no_head_is_longer_than_it_may_be(server: Server, name: str, before: str, size: int) -> None:
    """However it comes: in one read or in many, alone or behind what came before."""
    connection, wire = connect(server)
    sent = BEFORE[before] + head(0, LONG[name], path=b"/")
    for at in range(0, len(sent), size):
        connection.data_received(sent[at : at + size])
    assert re.findall(rb"HTTP/1.1 (\d+)", wire.written)[-1] == b"431"
    assert connection._deaf


@pytest.mark.parametrize("cut", [*range(59_900, 60_100, 7), 1 << 20])
def test_a_head_that_is_as_long_as_it_may_be_is_taken(server: Server, cut: int) -> None:
    connection, wire = connect(server)
    first = head(0, path=b"/")
    sent = first + head(30_000, b"x: %b\r\n" % (b"y" * 59_900), path=b"/") + bytes(30_000)
    sent += first + b"GET / HTTP/1.1\r\n\r\n"
    for part in (sent[:cut], sent[cut:]):
        if part:
            connection.data_received(part)
    assert re.findall(rb"HTTP/1.1 (\d+)", wire.written) == [b"200"] * 4


def test_heads_that_do_not_end_count(server: Server) -> None:
    clients = [connect(server) for _ in range(300)]
    for connection, _ in clients:
        for _ in range(6):
            connection.data_received((b"GET / HTTP/1.1\r\n" if not connection._begun else b"") + b"x: " + b"y" * 10_000)
    assert server.held <= HELD + 60_020
    assert b"HTTP/1.1 429 " in clients[-1][1].written
    for connection, _ in clients:
        connection.connection_lost(None)
    assert server.held == 0


def test_a_head_that_does_not_end_has_no_more_headers_than_one_that_does(server: Server) -> None:
    connection, wire = connect(server)
    connection.data_received(b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d:y\r\n" % at for at in range(300)))
    assert wire.written.startswith(b"HTTP/1.1 431 ")


def test_requests_that_wait_for_their_turn_count(server: Server) -> None:
    connection, wire = connect(server)
    connection.data_received(head(0))
    for _ in range(40):
        connection.data_received(head(0, path=b"/") * 1000)
    assert server.held <= HELD + 1000
    assert len(connection._queue) <= HELD / 500
    assert connection._queue[-1].refusal
    connection.connection_lost(None)
    assert server.held == 0
    assert not wire.written
