"""The end of a serving process: who may still come, and until when."""

import asyncio
import errno
import select
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from headgate_serving.http.http2 import Server
from headgate_serving.http.http2_streams import Stream
from headgate_serving.http.listener import Limits
from headgate_serving.listening import listening_socket, take_no_more
from headgate_serving.runtime.telemetry import Telemetry
from headgate_serving.server.drain import Front, drain
from headgate_serving.server.grpc_calls import GOOD, HEAD
from headgate_serving.server.service import Service
from http2_client import Client, until
from patience import PATIENCE


def test_who_has_begun_to_connect_is_accepted_and_nobody_else() -> None:
    with listening_socket("127.0.0.1", 0) as sock:
        address = sock.getsockname()
        early = socket.create_connection(address)
        take_no_more(sock)
        late = socket.socket()
        late.setblocking(False)
        assert late.connect_ex(address) == errno.EINPROGRESS
        accepted, _ = sock.accept()
        accepted.sendall(b"hello")
        assert early.recv(5) == b"hello"
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.accept()
    assert select.select([], [late], [], PATIENCE)[1]
    assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    for one in (early, late, accepted):
        one.close()


async def test_a_drain_ends_when_the_last_call_does_and_nobody_can_call_any_more() -> None:
    calls: list[Stream] = []

    def opened(stream: Stream) -> None:
        calls.append(stream)
        service.telemetry.in_flight += 1

    def refused(*_: Any) -> None:
        raise AssertionError

    service = Service("fraud", None, Telemetry({}))
    server = Server(opened, refused, Limits(1000, 10_000))
    server.start()
    sock = listening_socket("127.0.0.1", 0)
    port = sock.getsockname()[1]
    accepting = await asyncio.get_running_loop().create_server(server, sock=sock)
    client = await Client.connect(port)
    number = await client.begin()
    await until(lambda: calls)
    settings: Any = SimpleNamespace(drain_delay=0.0, grace=PATIENCE)
    front = Front(sock, accepting, server)
    ending = asyncio.create_task(drain(service, [front], settings))
    await until(lambda: server.deserted)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert not ending.done()
    calls[0].answer(HEAD, b"done", GOOD)
    service.telemetry.in_flight -= 1
    assert (await client.reply(number)).data == b"done"
    await client.close()
    await asyncio.wait_for(ending, PATIENCE)
    assert not service.ready
    front.close()
