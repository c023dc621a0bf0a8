"""Large bodies: read to where a tensor may begin, into memory that is used again only when nobody looks at it."""

import gc
import weakref

import numpy as np
import pytest

from headgate_serving.server.bodies import Memory
from headgate_serving.server.http1 import Answer, Exchange, Server
from headgate_serving.server.listener import Limits


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
