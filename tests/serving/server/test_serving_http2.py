"""The HTTP/2 layer over a loopback socket: with h2 as a client that keeps to the rules, and with bytes that do not."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_serving.http import http2
from headgate_serving.http.http2 import Connection, Server
from headgate_serving.http.http2_frames import frame, header_block
from headgate_serving.http.http2_streams import Stream
from headgate_serving.http.listener import READ_WITHIN, SEND_WITHIN, Limits
from headgate_serving.server.grpc_calls import GOOD, HEAD, trailers
from http2_client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    Rude,
    head,
    until,
)

MAX_BODY = 4 << 20
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CALM = 7, 8, 9, 11
Connect = Callable[..., Awaitable[Client]]
CALL = hpack.Encoder().encode(head())
REFUSED = header_block(*head("/refused"))


class Echo:
    """Answers each call with its own body, at once or when told; remembers all that it saw."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.gone: list[int] = []
        self.hold = False

    def opened(self, stream: Stream) -> None:
        self.streams.append(stream)
        path = stream.headers.get(b":path")
        stream.gone = lambda: self.gone.append(stream.id)
        if path == b"/stream":
            stream.begin(HEAD)
            stream.on_data = stream.on_end = lambda: self._pass_on(stream)
        elif path == b"/refused":
            stream.refuse(HEAD, trailers(12, "there is no such method"))
        elif path == b"/fails":
            stream.on_end = self._fail
        elif not self.hold:
            stream.on_end = lambda: stream.answer(HEAD, b"".join(stream.body), GOOD)

    def too_large(self, stream: Stream, message: str) -> None:
        stream.refuse(HEAD, trailers(8, message))

    def _pass_on(self, stream: Stream) -> None:
        for part in stream.body:
            stream.release(len(part))
            stream.send(part)
        stream.body = []
        if stream.ended:
            stream.end(GOOD)

    def _fail(self) -> None:
        raise ValueError("a bug")


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(echo: Echo) -> AsyncIterator[Server]:
    server = Server(echo.opened, echo.too_large, Limits(MAX_BODY, 4 * MAX_BODY, 10))
    server.start()
    yield server
    server.close()
    await until(lambda: not server.connections)


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()


@pytest.fixture
async def connect(port: int) -> AsyncIterator[Connect]:
    """Makes clients with settings of their own."""
    clients: list[Client] = []

    async def made(**settings: int) -> Client:
        clients.append(await Client.connect(port, **settings))
        return clients[-1]

    yield made
    for client in clients:
        await client.close()


@pytest.fixture
async def client(connect: Connect) -> Client:
    return await connect()


@pytest.fixture
async def rude(port: int) -> AsyncIterator[Rude]:
    rude = await Rude.connect(port)
    yield rude
    await rude.close()


def call(number: int, body: bytes = b"hello") -> bytes:
    return frame(HEADERS, END_HEADERS, number, CALL) + frame(DATA, END_STREAM, number, body)


async def test_a_call_and_its_answer(client: Client) -> None:
    reply = await client.ask(b"hello")
    assert reply.data == b"hello"
    assert reply.heads[0][b":status"] == b"200"
    assert reply.heads[0][b"content-type"] == b"application/grpc"
    assert reply.status == 0


async def test_many_streams_at_once(client: Client) -> None:
    numbers = [await client.begin() for _ in range(50)]
    for number in reversed(numbers):
        await client.send(number, b"%d" % number, end=True)
    for number in numbers:
        assert (await client.reply(number)).data == b"%d" % number


async def test_a_large_answer_waits_for_a_small_window(connect: Connect, echo: Echo) -> None:
    client = await connect(INITIAL_WINDOW_SIZE=1000, MAX_FRAME_SIZE=16_384)
    client.reads = False
    number = await client.begin()
    await client.send(number, bytes(100_000), end=True)
    await client.until(lambda: len(client.replies[number].data) == 1000)
    assert not client.replies[number].over
    client.reads = True
    client.h2.acknowledge_received_data(1000, number)
    await client.flush()
    reply = await client.reply(number)
    assert len(reply.data) == 100_000
    assert max(reply.pieces) <= 1000
    assert reply.status == 0


async def test_the_connection_s_window_holds_too(connect: Connect) -> None:
    client = await connect(INITIAL_WINDOW_SIZE=1 << 20)
    client.reads = False
    numbers = [await client.begin() for _ in range(2)]
    for number in numbers:
        await client.send(number, bytes(50_000), end=True)
    await client.until(lambda: sum(len(reply.data) for reply in client.replies.values()) == 65_535)
    client.h2.increment_flow_control_window(50_000)
    await client.flush()
    for number in numbers:
        assert len((await client.reply(number)).data) == 50_000


async def test_settings_in_mid_stream_change_the_windows(connect: Connect) -> None:
    client = await connect(INITIAL_WINDOW_SIZE=10)
    client.reads = False
    number = await client.begin()
    await client.send(number, bytes(500), end=True)
    await client.until(lambda: len(client.replies[number].data) == 10)
    client.h2.update_settings({h2_setting("INITIAL_WINDOW_SIZE"): 0})
    await client.flush()
    client.h2.update_settings({h2_setting("INITIAL_WINDOW_SIZE"): 500})
    await client.flush()
    assert len((await client.reply(number)).data) == 500


def h2_setting(name: str) -> int:
    return {"INITIAL_WINDOW_SIZE": 4, "MAX_FRAME_SIZE": 5}[name]


async def test_a_large_request(client: Client, server: Server) -> None:
    body = bytes(range(256)) * (MAX_BODY // 256)
    assert (await client.ask(body)).data == body
    assert server.held == 0


async def test_a_stream_may_bring_more_than_its_window(client: Client, server: Server) -> None:
    number = await client.begin(head("/stream"))
    part, count = bytes(1 << 20), 3 * server.window // (1 << 20)
    for at in range(count):
        await client.send(number, part, end=at == count - 1)
        await client.until(partial(client.has, number, at << 20))
    assert len((await client.reply(number)).data) == count << 20
    assert server.held == 0


async def test_a_body_that_is_too_large(client: Client, server: Server) -> None:
    reply = await client.ask(bytes(MAX_BODY + 100_000))
    assert reply.status == 8
    assert server.held == 0
    assert (await client.ask(b"goes on")).data == b"goes on"


async def test_all_bodies_together_are_too_large(client: Client, server: Server, echo: Echo) -> None:
    echo.hold = True
    for size in [MAX_BODY] * 3 + [1 << 20] * 4:
        await client.send(await client.begin(), bytes(size))
    number = await client.begin()
    await client.send(number, b"more")
    assert (await client.reply(number)).status == 8
    await client.close()
    await until(lambda: not server.connections)
    assert server.held == 0


async def test_large_bodies_leave_room_for_small_ones(client: Client, server: Server, echo: Echo) -> None:
    echo.hold = True
    large = [await client.begin() for _ in range(4)]
    for number in large:
        await client.send(number, bytes(MAX_BODY - 1000))
    assert (await client.reply(large[-1])).status == 8
    echo.hold = False
    assert len((await client.ask(bytes(1 << 20))).data) == 1 << 20
    await client.close()
    await until(lambda: not server.connections)
    assert server.held == 0


async def test_a_long_head_counts_until_the_call_ends(client: Client, server: Server, echo: Echo) -> None:
    number = await client.begin(head("/", (b"x-long", b"x" * 20_000)), end=False)
    await until(lambda: echo.streams)
    assert server.held >= 10_000
    await client.send(number, b"body", end=True)
    assert (await client.reply(number)).data == b"body"
    assert server.held == 0


@pytest.mark.parametrize(
    "part",
    [
        frame(DATA, 0, 1, bytes(40_000))[:-1],
        frame(HEADERS, 0, 3, CALL) + b"".join(frame(CONTINUATION, 0, 3, bytes(10_000)) for _ in range(4)),
    ],
    ids=["data", "headers"],
)
async def test_unfinished_frames_of_all_connections_are_bounded(
    port: int, server: Server, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "_PARTIAL", 100_000)
    clients = [await Rude.connect(port) for _ in range(3)]
    for rude in clients[:2]:
        await rude.send(frame(HEADERS, END_HEADERS, 1, CALL) + part)
    await until(lambda: server.partial > 78_000)
    await clients[2].send(frame(HEADERS, END_HEADERS, 1, CALL) + part)
    assert await clients[2].thrown_out() == CALM
    for rude in clients:
        await rude.close()
    await until(lambda: not server.connections)
    assert (server.partial, server.held) == (0, 0)


async def test_padding_and_priority(client: Client, server: Server) -> None:
    number = await client.begin(priority_weight=10, priority_depends_on=0, priority_exclusive=True)
    await client.send(number, b"hello", padding=200)
    await client.send(number, b"", end=True, padding=10)
    assert (await client.reply(number)).data == b"hello"


async def test_headers_with_padding(rude: Rude) -> None:
    padded = bytes([7]) + CALL + bytes(7)
    await rude.send(frame(HEADERS, END_HEADERS | PADDED, 1, padded) + frame(DATA, END_STREAM, 1, b"hello"))
    assert await rude.next(DATA) == (0, 1, b"hello")


async def test_headers_in_pieces(rude: Rude) -> None:
    parts = [frame(CONTINUATION, 0, 1, CALL[at : at + 1]) for at in range(1, len(CALL) - 1)]
    await rude.send(frame(HEADERS, 0, 1, CALL[:1]) + b"".join(parts) + frame(CONTINUATION, END_HEADERS, 1, CALL[-1:]))
    await rude.send(frame(DATA, END_STREAM, 1, b"hello"))
    assert await rude.next(DATA) == (0, 1, b"hello")


async def test_byte_by_byte(port: int) -> None:
    rude = await Rude.connect(port, greet=False)
    for byte in PREFACE + frame(SETTINGS, 0, 0) + call(1):
        await rude.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await rude.next(DATA) == (0, 1, b"hello")
    await rude.close()


async def test_trailers_end_a_request(client: Client) -> None:
    number = await client.begin()
    await client.send(number, b"hello")
    client.h2.send_headers(number, [(b"x-checksum", b"1")], end_stream=True)
    await client.flush()
    assert (await client.reply(number)).data == b"hello"


async def test_trailers_change_what_a_known_head_means(rude: Rude, echo: Echo) -> None:
    """They may add to the table that heads refer to, of other calls of the connection too (RFC 7541, 2.3.3)."""

    def added(name: bytes, value: bytes) -> bytes:
        return bytes([0x40, len(name)]) + name + bytes([len(value)]) + value

    start = bytes([0x83, 0x86, 0x84])  # POST, http, /
    by_index = start + bytes([0x80 | 62])
    last = END_STREAM | END_HEADERS
    await rude.send(frame(HEADERS, last, 1, start + added(b"x-user", b"alice")))
    await rude.send(frame(HEADERS, last, 3, by_index))
    await rude.send(frame(HEADERS, END_HEADERS, 5, start))
    await rude.send(frame(HEADERS, last, 5, added(b"x-user", b"mallory")))
    await rude.send(frame(HEADERS, last, 7, by_index))
    await until(lambda: len(echo.streams) == 4)
    users = [stream.headers.get(b"x-user") for stream in echo.streams]
    assert users == [b"alice", b"alice", None, b"mallory"]


async def test_ping(client: Client) -> None:
    client.h2.ping(b"12345678")
    await client.flush()
    await client.until(lambda: client.pongs == 1)
    assert client.pongs == 1


async def test_a_reset_cancels(client: Client, echo: Echo, server: Server) -> None:
    echo.hold = True
    number = await client.begin()
    await client.send(number, b"hello", end=True)
    client.h2.reset_stream(number, CANCEL)
    await client.flush()
    await until(lambda: echo.gone == [number])
    assert server.held == 0
    echo.streams[0].answer(HEAD, b"too late", GOOD)  # goes nowhere
    echo.hold = False
    assert (await client.ask(b"next")).data == b"next"


async def test_a_client_that_leaves_cancels(client: Client, echo: Echo, server: Server) -> None:
    echo.hold = True
    numbers = [await client.begin() for _ in range(3)]
    await client.send(numbers[0], b"hello", end=True)
    await client.close()
    await until(lambda: sorted(echo.gone) == numbers)
    assert not server.connections
    assert server.held == 0


async def test_an_answer_before_the_request_ends_resets_the_rest(client: Client, echo: Echo) -> None:
    echo.hold = True
    number = await client.begin()
    await until(lambda: echo.streams)
    echo.streams[0].answer(HEAD, b"enough", GOOD)
    reply = await client.reply(number)
    assert reply.data == b"enough"
    await client.until(lambda: reply.reset is not None)
    assert reply.reset == NO_ERROR


LATE = {
    "DATA": frame(DATA, 0, 1, b"late") + frame(DATA, END_STREAM | PADDED, 1, b"\x01late\x00"),
    "trailers": frame(DATA, 0, 1, b"late")
    + frame(HEADERS, END_HEADERS | END_STREAM, 1, header_block((b"x-checksum", b"1"))),
    "a reset": frame(DATA, 0, 1, b"late") + frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)),
}


@pytest.mark.parametrize("late", LATE)
async def test_what_was_sent_before_the_answer_came_is_passed_over(rude: Rude, late: str) -> None:
    await rude.send(frame(HEADERS, END_HEADERS, 1, REFUSED))
    assert await rude.next(RST_STREAM) == (0, 1, struct.pack(">I", NO_ERROR))
    await rude.send(LATE[late] + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 5)) + call(3))
    assert await rude.next(DATA) == (0, 3, b"hello")
    await rude.send(frame(DATA, 0, 1, b"more, though the client has ended it"))
    assert await rude.thrown_out() == STREAM_CLOSED


async def test_streams_that_were_answered_early_are_remembered_within_bounds(rude: Rude, server: Server) -> None:
    numbers = range(1, 4 * http2._CUT_SHORT, 2)
    await rude.send(b"".join(frame(HEADERS, END_HEADERS, number, REFUSED) for number in numbers))
    await rude.send(b"".join(frame(DATA, 0, number, b"late") for number in numbers) + call(numbers[-1] + 2))
    assert await rude.next(DATA) == (0, numbers[-1] + 2, b"hello")
    (connection,) = server.connections
    assert len(connection._cut_short) == http2._CUT_SHORT
    assert server.held == 0


async def test_a_flood_of_empty_data_after_the_answer(rude: Rude) -> None:
    await rude.send(frame(HEADERS, END_HEADERS, 1, REFUSED) + frame(DATA, 0, 1) * (http2._NUISANCE + 1))
    assert await rude.thrown_out() == CALM


def malformed(*changes: tuple[bytes, bytes], without: bytes = b"") -> list[tuple[bytes, bytes]]:
    return [*(pair for pair in head() if pair[0] != without), *changes]


MALFORMED = {
    "a capital in a name": malformed((b"x-Name", b"1")),
    "a space in a name": malformed((b"x name", b"1")),
    "a name beyond ASCII": malformed((b"x-n\xc3\xa4me", b"1")),
    "a colon in a name": malformed((b"x:name", b"1")),
    "an empty name": malformed((b"", b"1")),
    "an end of a line in a value": malformed((b"x-name", b"1\r\nx-other: 2")),
    "NUL in a value": malformed((b"x-name", b"1\x00")),
    "a line in a path": [*malformed(without=b":path"), (b":path", b"/\n")],
    "an unknown pseudo-header": [(b":protocol", b"websocket"), *head()],
    "a pseudo-header of answers": [(b":status", b"200"), *head()],
    "a pseudo-header behind the others": [*malformed(without=b":path"), (b":path", b"/")],
    "the same pseudo-header twice": [(b":path", b"/"), *head()],
    "no method": malformed(without=b":method"),
    "no scheme": malformed(without=b":scheme"),
    "no path": malformed(without=b":path"),
    "an empty path": [(b":path", b""), *malformed(without=b":path")],
    "nothing at all": [],
    "CONNECT with a path": [(b":method", b"CONNECT"), *malformed(without=b":method")],
    "Connection": malformed((b"connection", b"keep-alive")),
    "Transfer-Encoding": malformed((b"transfer-encoding", b"chunked")),
    "TE that is no trailers": malformed((b"te", b"gzip")),
    "two content-lengths": malformed((b"content-length", b"5"), (b"content-length", b"5")),
    "a content-length that is none": malformed((b"content-length", b"+5")),
    "a content-length beyond all numbers": malformed((b"content-length", b"9" * 5000)),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_request_is_reset(rude: Rude, echo: Echo, name: str) -> None:
    block = header_block(*MALFORMED[name])
    for number in (1, 3):  # the same bytes again are no better
        await rude.send(frame(HEADERS, END_HEADERS, number, block) + frame(DATA, END_STREAM, number, b"hello"))
        assert await rude.next(RST_STREAM) == (0, number, struct.pack(">I", PROTOCOL_ERROR))
    await rude.send(call(5))
    assert await rude.next(DATA) == (0, 5, b"hello")
    assert [stream.id for stream in echo.streams] == [5]


@pytest.mark.parametrize(
    "more",
    [
        (b"te", b"trailers"),
        (b"content-length", b"5"),
        (b"x-name", b"\t spaces around, as gRPC allows \t"),
        (b"x-bin", b"\xff"),
        (b"x-!#$%&'*+-.^_`|~09", b""),
    ],
)
async def test_headers_that_are_in_order(rude: Rude, more: tuple[bytes, bytes]) -> None:
    block = header_block(*head(), more)
    await rude.send(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, b"hello"))
    assert await rude.next(DATA) == (0, 1, b"hello")


LENGTH_5 = header_block(*head(), (b"content-length", b"5"))
NOT_5 = {
    "fewer": frame(HEADERS, END_HEADERS, 1, LENGTH_5) + frame(DATA, END_STREAM, 1, b"four"),
    "more": frame(HEADERS, END_HEADERS, 1, LENGTH_5) + frame(DATA, 0, 1, b"hello") + frame(DATA, END_STREAM, 1, b"!"),
    "none": frame(HEADERS, END_HEADERS | END_STREAM, 1, LENGTH_5),
    "fewer, with trailers": frame(HEADERS, END_HEADERS, 1, LENGTH_5)
    + frame(DATA, 0, 1, b"four")
    + frame(HEADERS, END_HEADERS | END_STREAM, 1, header_block((b"x-checksum", b"1"))),
    "padding does not count": frame(HEADERS, END_HEADERS, 1, LENGTH_5)
    + frame(DATA, END_STREAM | PADDED, 1, b"\x01four\x00"),
}


@pytest.mark.parametrize("name", NOT_5)
async def test_a_body_of_another_length_than_announced_is_reset(
    rude: Rude, echo: Echo, server: Server, name: str
) -> None:
    await rude.send(NOT_5[name])
    assert await rude.next(RST_STREAM) == (0, 1, struct.pack(">I", PROTOCOL_ERROR))
    assert echo.gone == [1]
    assert server.held == 0
    await rude.send(call(3))
    assert await rude.next(DATA) == (0, 3, b"hello")


@pytest.mark.parametrize("block", [CALL, header_block((b":path", b"/")), header_block((b"x-Checksum", b"1"))])
async def test_malformed_trailers_reset_the_request(rude: Rude, echo: Echo, block: bytes) -> None:
    await rude.send(frame(HEADERS, END_HEADERS, 1, CALL) + frame(DATA, 0, 1, b"hello"))
    await rude.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    assert await rude.next(RST_STREAM) == (0, 1, struct.pack(">I", PROTOCOL_ERROR))
    assert echo.gone == [1]


async def test_a_request_that_is_refused_when_it_has_ended_is_not_reset_as_well(rude: Rude) -> None:
    await rude.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, REFUSED) + call(3))
    seen = []
    while (got := await rude.frame()) and got[0] != DATA:
        seen.append(got[0])
    assert RST_STREAM not in seen


@pytest.mark.parametrize("first", [frame(PING, 0, 0, bytes(8)), frame(HEADERS, END_HEADERS, 1, CALL), frame(99, 0, 0)])
async def test_the_first_frame_has_to_be_settings(port: int, first: bytes) -> None:
    rude = await Rude.connect(port, greet=False)
    await rude.send(PREFACE + first)
    assert await rude.thrown_out() == PROTOCOL_ERROR
    await rude.close()


async def test_a_bug_ends_one_call(client: Client) -> None:
    reply = await client.ask(b"", head("/fails"))
    assert reply.reset == 2
    assert (await client.ask(b"next")).data == b"next"


LARGEST = (1 << 31) - 1
FIRST_GOODBYE = (0, 0, struct.pack(">II", LARGEST, NO_ERROR))


async def test_drain_lets_calls_finish_and_takes_no_more(rude: Rude, echo: Echo, server: Server) -> None:
    echo.hold = True
    await rude.send(frame(HEADERS, END_HEADERS, 1, CALL))
    await until(lambda: echo.streams)
    server.drain()
    assert await rude.next(GOAWAY) == FIRST_GOODBYE
    ping = await rude.next(PING)
    assert ping
    flags, number, mark = ping
    assert (flags, number) == (0, 0)
    await rude.send(call(3))  # it was on its way when the client heard of it
    await until(lambda: len(echo.streams) == 2)
    assert server.busy
    await rude.send(frame(PING, ACK, 0, mark))
    assert await rude.next(GOAWAY) == (0, 0, struct.pack(">II", 3, NO_ERROR))
    # What a client opens that has said that it knows is not taken, and hurts nobody.
    await rude.send(call(5) + frame(WINDOW_UPDATE, 0, 5, struct.pack(">I", 1)) + frame(RST_STREAM, 0, 5, bytes(4)))
    await rude.send(frame(DATA, END_STREAM, 1, b"hello"))
    await until(lambda: echo.streams[0].ended)
    for stream in list(echo.streams):
        stream.answer(HEAD, b"".join(stream.body), GOOD)
    assert [await rude.next(DATA) for _ in "12"] == [(0, 1, b"hello"), (0, 3, b"hello")]
    assert await rude.next(GOAWAY) is None  # it sends no more
    assert len(echo.streams) == 2


async def test_a_client_that_has_left_hangs_up_first(rude: Rude, server: Server) -> None:
    await rude.send(call(1))
    assert await rude.next(DATA) == (0, 1, b"hello")
    server.drain()
    await rude.send(frame(PING, ACK, 0, (await rude.next(PING) or (0, 0, b""))[2]))
    assert await rude.next(DATA) is None  # the server sends no more
    (connection,) = server.connections
    await rude.send(frame(PING, 0, 0, bytes(8)) + call(3))  # a reset could cost the client what it has not read
    assert server.busy
    await rude.close()
    await until(lambda: not server.connections)
    assert not server.busy
    assert connection._closed


async def test_who_does_not_say_that_it_has_heard_of_the_drain_is_not_waited_for(rude: Rude, server: Server) -> None:
    await rude.send(call(1))
    assert await rude.next(DATA) == (0, 1, b"hello")
    server.drain()
    await later(server, http2._LAST_CALLS + 1)
    assert await rude.next(GOAWAY) == FIRST_GOODBYE
    assert await rude.next(GOAWAY) == (0, 0, struct.pack(">II", 1, NO_ERROR))
    await later(server, http2._LINGER + 1)
    await until(lambda: not server.connections)


async def test_an_answer_that_is_still_being_read_is_not_cut_off_by_a_drain(rude: Rude, server: Server) -> None:
    size = 8 << 20
    server.limits = Limits(2 * size, 4 * size, 10)
    windows = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, LARGEST))
    await rude.send(windows + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
    await rude.send(frame(HEADERS, END_HEADERS, 1, CALL))
    for at in range(0, size, 1 << 16):
        await rude.send(frame(DATA, END_STREAM if at + (1 << 16) == size else 0, 1, bytes(1 << 16)))
    (connection,) = server.connections
    await until(lambda: not connection._streams and connection._last)
    assert connection._transport.get_write_buffer_size()
    server.drain()
    await later(server, http2._LAST_CALLS + 1)
    await later(server, http2._LINGER + 1)
    got = 0
    while piece := await rude.next(DATA):
        got += len(piece[2])
    assert got == size


async def test_who_comes_while_it_drains_is_answered_and_asked_to_leave(port: int, server: Server) -> None:
    server.drain()
    rude = await Rude.connect(port)
    await until(lambda: server.connections)
    await later(server, 1)  # its first call may be on its way
    await rude.send(call(1))
    assert await rude.next(DATA) == (0, 1, b"hello")
    await later(server, 1)
    assert await rude.next(GOAWAY) == FIRST_GOODBYE
    await rude.send(call(3))
    assert await rude.next(DATA) == (0, 3, b"hello")
    await rude.close()
    silent = await Rude.connect(port)
    await until(lambda: any(not one._last for one in server.connections))
    await later(server, 2)
    assert await silent.next(GOAWAY) == FIRST_GOODBYE
    await silent.close()


async def test_who_comes_when_nobody_is_expected_any_more_is_asked_to_leave_at_once(port: int, server: Server) -> None:
    server.drain()
    server.wind_up()
    rude = await Rude.connect(port)
    await rude.send(call(1))
    assert await rude.next(GOAWAY) == FIRST_GOODBYE
    assert await rude.next(DATA) == (0, 1, b"hello")
    await rude.close()


async def test_an_error_is_told_to_one_who_is_leaving_too(rude: Rude, echo: Echo, server: Server) -> None:
    echo.hold = True
    await rude.send(frame(HEADERS, END_HEADERS, 1, CALL))
    await until(lambda: echo.streams)
    server.drain()
    await rude.send(frame(PING, ACK, 0, (await rude.next(PING) or (0, 0, b""))[2]))
    await rude.send(frame(PING, 0, 0, b"short"))
    while (goaway := await rude.next(GOAWAY)) and goaway[2][4:8] == bytes(4):
        pass
    assert goaway
    assert goaway[2][4:8] == struct.pack(">I", FRAME_SIZE_ERROR)


async def test_busy_until_an_answer_is_sent(connect: Connect, server: Server) -> None:
    client = await connect(INITIAL_WINDOW_SIZE=10)
    client.reads = False
    number = await client.begin()
    await client.send(number, bytes(100), end=True)
    await client.until(lambda: len(client.replies[number].data) == 10)
    assert server.busy
    client.h2.increment_flow_control_window(90, number)
    await client.flush()
    await client.reply(number)
    assert not server.busy


async def test_no_more_streams_than_announced(rude: Rude, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "_STREAMS", 3)
    echo.hold = True
    await rude.send(b"".join(frame(HEADERS, END_HEADERS, number, CALL) for number in (1, 3, 5, 7)))
    assert await rude.next(RST_STREAM) == (0, 7, struct.pack(">I", REFUSED_STREAM))
    await rude.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)) + frame(HEADERS, END_HEADERS, 9, CALL))
    await until(lambda: [stream.id for stream in echo.streams] == [1, 3, 5, 9])


async def test_no_more_connections_than_allowed(port: int, server: Server) -> None:
    there = [await Rude.connect(port) for _ in range(10)]
    await until(lambda: len(server.connections) == 10)
    there.append(await Rude.connect(port))
    assert await there[-1].thrown_out() == CALM
    for one in there:
        await one.close()


FOUR, TOO_MUCH = struct.pack(">I", 4), struct.pack(">I", (1 << 31) - 1)
WRONG = {
    "DATA of no stream": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "DATA of a stream that was never opened": (frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
    "DATA after the end": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, hpack.Encoder().encode(head("/held"))) + frame(DATA, 0, 1, b"x"),
        STREAM_CLOSED,
    ),
    "HEADERS after the end": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, hpack.Encoder().encode(head("/held")))
        + frame(HEADERS, END_HEADERS | END_STREAM, 1, CALL),
        STREAM_CLOSED,
    ),
    "DATA of a stream that was ended and answered": (call(1) + frame(DATA, 0, 1, b"x"), STREAM_CLOSED),
    "HEADERS of a stream that was ended and answered": (
        call(1) + frame(HEADERS, END_HEADERS | END_STREAM, 1, CALL),
        STREAM_CLOSED,
    ),
    "DATA of a stream that its client has reset": (
        frame(HEADERS, END_HEADERS, 1, CALL) + frame(RST_STREAM, 0, 1, bytes(4)) + frame(DATA, 0, 1, b"x"),
        STREAM_CLOSED,
    ),
    "HEADERS of a stream that was passed over": (call(5) + call(3), STREAM_CLOSED),
    "DATA of an even stream": (call(3) + frame(DATA, 0, 2, b"x"), PROTOCOL_ERROR),
    "WINDOW_UPDATE of an even stream": (call(3) + frame(WINDOW_UPDATE, 0, 2, FOUR), PROTOCOL_ERROR),
    "RST_STREAM of an even stream": (call(3) + frame(RST_STREAM, 0, 2, FOUR), PROTOCOL_ERROR),
    "PRIORITY of stream 0": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    "a short PRIORITY": (frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
    "a long PRIORITY": (frame(PRIORITY, 0, 1, bytes(6)), FRAME_SIZE_ERROR),
    "GOAWAY of a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "a short GOAWAY": (frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "SETTINGS that acknowledge with bytes": (frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    "ENABLE_PUSH that is neither 0 nor 1": (frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 2)), PROTOCOL_ERROR),
    "a first window that makes a stream's overflow": (
        frame(HEADERS, END_HEADERS, 1, CALL)
        + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", (1 << 31) - 1 - 65_535))
        + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_536)),
        FLOW_CONTROL_ERROR,
    ),
    "more padding than bytes, of a stream that was answered": (
        call(1) + frame(DATA, PADDED, 1, b"\xff"),
        PROTOCOL_ERROR,
    ),
    "WINDOW_UPDATE of a stream by nothing": (
        frame(HEADERS, END_HEADERS, 1, CALL) + frame(WINDOW_UPDATE, 0, 1, bytes(4)),
        PROTOCOL_ERROR,
    ),
    "a flood of GOAWAY": (frame(GOAWAY, 0, 0, bytes(8)) * (http2._NUISANCE + 1), CALM),
    "a flood of malformed requests": (
        b"".join(
            frame(HEADERS, END_HEADERS | END_STREAM, number, header_block((b"x", b"y")))
            for number in range(1, 2 * http2._NUISANCE + 3, 2)
        ),
        CALM,
    ),
    "a flood of streams that make the server reset them": (
        b"".join(
            frame(HEADERS, END_HEADERS, number, CALL)
            + frame(WINDOW_UPDATE, 0, number, struct.pack(">I", (1 << 31) - 1))
            for number in range(1, 2 * http2._NUISANCE + 3, 2)
        ),
        CALM,
    ),
    "HEADERS of stream 0": (frame(HEADERS, END_HEADERS, 0, CALL), PROTOCOL_ERROR),
    "HEADERS of an even stream": (frame(HEADERS, END_HEADERS, 2, CALL), PROTOCOL_ERROR),
    "a second head that does not end the request": (frame(HEADERS, END_HEADERS, 1, CALL) * 2, PROTOCOL_ERROR),
    "more padding than bytes": (frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + CALL), PROTOCOL_ERROR),
    "padding without its length": (call(1)[: -len(b"hello") - 9] + frame(DATA, PADDED, 1, b""), PROTOCOL_ERROR),
    "priority without its bytes": (frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"abc"), FRAME_SIZE_ERROR),
    "another frame instead of CONTINUATION": (frame(HEADERS, 0, 1, CALL) + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    "CONTINUATION of another stream": (frame(HEADERS, 0, 1, CALL) + frame(CONTINUATION, 0, 3, b""), PROTOCOL_ERROR),
    "CONTINUATION of nothing": (frame(CONTINUATION, END_HEADERS, 1, CALL), PROTOCOL_ERROR),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + CALL), PROTOCOL_ERROR),
    "a short PING": (frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "PING of a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "SETTINGS of a stream": (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "SETTINGS that are cut off": (frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    "a window that is too large": (frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), FLOW_CONTROL_ERROR),
    "a frame size that is too small": (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 100)), PROTOCOL_ERROR),
    "a frame size that is too large": (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1 << 24)), PROTOCOL_ERROR),
    "RST_STREAM of a stream that was never opened": (frame(RST_STREAM, 0, 1, bytes(4)), PROTOCOL_ERROR),
    "RST_STREAM of stream 0": (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
    "a short RST_STREAM": (frame(HEADERS, END_HEADERS, 1, CALL) + frame(RST_STREAM, 0, 1, b""), FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of a stream that was never opened": (frame(WINDOW_UPDATE, 0, 1, bytes(4)), PROTOCOL_ERROR),
    "a short WINDOW_UPDATE": (frame(WINDOW_UPDATE, 0, 0, b""), FRAME_SIZE_ERROR),
    "WINDOW_UPDATE by nothing": (frame(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL_ERROR),
    "a window that overflows": (frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1)), FLOW_CONTROL_ERROR),
    "a frame that is too large": (b"\xff\xff\xff" + bytes([DATA, 0]) + struct.pack(">I", 1), FRAME_SIZE_ERROR),
    "headers that are no HPACK": (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION_ERROR),
    "headers that refer to nothing": (frame(HEADERS, END_HEADERS, 1, b"\xfe"), COMPRESSION_ERROR),
    "a table that is larger than announced": (
        frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x03" + CALL),
        COMPRESSION_ERROR,
    ),
    "headers that are too large": (
        frame(HEADERS, END_HEADERS, 1, hpack.Encoder().encode([*head(), (b"x", bytes(70_000))], huffman=False)),
        COMPRESSION_ERROR,
    ),
    "a header bomb": (
        frame(HEADERS, END_HEADERS, 1, hpack.Encoder().encode([(b"x", b"y" * 4000)], huffman=False) + b"\xbe" * 100),
        COMPRESSION_ERROR,
    ),
    "a flood of CONTINUATION": (
        frame(HEADERS, 0, 1, CALL) + frame(CONTINUATION, 0, 1, b"") * (http2._NUISANCE + 1),
        CALM,
    ),
    "headers that never end": (
        frame(HEADERS, 0, 1, CALL) + frame(CONTINUATION, 0, 1, bytes(16_000)) * 5,
        CALM,
    ),
    "a flood of PING": (frame(PING, 0, 0, bytes(8)) * (http2._NUISANCE + 1), CALM),
    "a flood of SETTINGS": (frame(SETTINGS, 0, 0) * (http2._NUISANCE + 1), CALM),
    "a flood of PRIORITY": (frame(PRIORITY, 0, 1, bytes(5)) * (http2._NUISANCE + 1), CALM),
    "a flood of empty DATA": (
        frame(HEADERS, END_HEADERS, 1, CALL) + frame(DATA, 0, 1, b"") * (http2._NUISANCE + 1),
        CALM,
    ),
    "a flood of frames that nobody knows": (frame(99, 0, 0, b"x") * (http2._NUISANCE + 1), CALM),
    "rapid reset": (
        b"".join(
            frame(HEADERS, END_HEADERS, number, CALL) + frame(RST_STREAM, 0, number, struct.pack(">I", CANCEL))
            for number in range(1, 2 * http2._NUISANCE + 3, 2)
        ),
        CALM,
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_connection_that_breaks_the_rules_is_ended(
    port: int, connect: Connect, server: Server, echo: Echo, name: str
) -> None:
    echo.hold = "after the end" in name
    sent, code = WRONG[name]
    rude = await Rude.connect(port)
    await rude.send(sent)
    assert await rude.thrown_out() == code
    await rude.close()
    await until(lambda: not server.connections)
    assert server.held == 0
    assert len(echo.gone) == len([stream for stream in echo.streams if not stream.ended or echo.hold])
    other = await connect()
    echo.hold = False
    assert (await other.ask(b"goes on")).data == b"goes on"


async def test_a_stream_s_window_that_overflows_ends_the_stream(rude: Rude, echo: Echo) -> None:
    echo.hold = True
    much = struct.pack(">I", (1 << 31) - 1)
    await rude.send(frame(HEADERS, END_HEADERS, 1, CALL) + frame(WINDOW_UPDATE, 0, 1, much))
    assert await rude.next(RST_STREAM) == (0, 1, struct.pack(">I", FLOW_CONTROL_ERROR))
    assert echo.gone == [1]


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", PREFACE[:-2] + b"xx"])
async def test_what_is_no_http2_is_hung_up_on(port: int, server: Server, sent: bytes) -> None:
    rude = await Rude.connect(port, greet=False)
    await rude.send(sent)
    while await rude.frame():
        pass
    await until(lambda: not server.connections)
    await rude.close()


async def test_settings_are_acknowledged(rude: Rude) -> None:
    got = await rude.next(SETTINGS)
    assert got
    assert dict(struct.iter_unpack(">HI", got[2])) == {3: 1000, 4: MAX_BODY + (1 << 20), 5: 1 << 18, 6: 64 << 10}
    assert await rude.next(SETTINGS) == (ACK, 0, b"")


async def later(server: Server, seconds: float) -> None:
    """What the clock finds after that time."""
    server.now += seconds
    for connection in list(server.connections):
        connection.look_at_the_clock()


async def test_a_body_that_does_not_come_is_reset(rude: Rude, echo: Echo, server: Server) -> None:
    await rude.send(frame(HEADERS, END_HEADERS, 1, CALL))
    await until(lambda: echo.streams)
    await later(server, SEND_WITHIN + 1)
    assert await rude.next(RST_STREAM) == (0, 1, struct.pack(">I", CANCEL))
    assert echo.gone == [1]


@pytest.mark.parametrize(
    "sent", [b"", PREFACE[:5], PREFACE + b"\0\0"], ids=["nothing", "half a preface", "half a frame"]
)
async def test_half_a_frame_is_not_waited_for(port: int, server: Server, sent: bytes) -> None:
    rude = await Rude.connect(port, greet=False)
    await rude.send(sent)
    await until(
        lambda: server.connections and all(one._rest == sent[-2:] or sent != PREFACE for one in server.connections)
    )
    await later(server, SEND_WITHIN + 1)
    await until(lambda: not server.connections)
    await rude.close()


async def test_an_answer_that_nobody_takes_is_reset(connect: Connect, echo: Echo, server: Server) -> None:
    client = await connect(INITIAL_WINDOW_SIZE=10)
    client.reads = False
    number = await client.begin()
    await client.send(number, bytes(100), end=True)
    await client.until(lambda: len(client.replies[number].data) == 10)
    await later(server, READ_WITHIN + 1)
    assert (await client.reply(number)).reset == CANCEL


async def test_an_idle_connection_stays(client: Client, server: Server) -> None:
    assert (await client.ask(b"one")).data == b"one"
    await later(server, 3600)
    assert (await client.ask(b"two")).data == b"two"


NAME, VALUE = st.sampled_from([b"a", b"b", b"longer-name"]), st.sampled_from([b"", b"x", b"y"])
REQUEST = st.lists(st.tuples(NAME, VALUE, st.booleans()), min_size=1, max_size=3, unique_by=lambda one: one[0])
TABLE_SIZE = st.sampled_from([None, None, None, 0, 40, 80, 4096])
REQUIRED = head()[:3]  # in the static table
REQUESTS = st.lists(st.tuples(TABLE_SIZE, REQUEST, st.booleans()), min_size=2, max_size=20)


@given(REQUESTS)
@settings(max_examples=300, deadline=None)
def test_a_block_never_means_another_request_s_headers(
    requests: list[tuple[int | None, list[tuple[bytes, bytes, bool]], bool]],
) -> None:
    """Blocks that are looked up by their bytes, while the table behind them changes, shrinks and grows."""
    seen: list[dict[bytes, bytes]] = []
    server = Server(lambda stream: seen.append(stream.headers), lambda *_: None, Limits(1000, 1000))
    connection = Connection(server)
    connection._closed, connection._begun = False, True
    connection.write = lambda data: None  # type: ignore[method-assign]
    encoder, number, expected = hpack.Encoder(), 1, []
    for size, pairs, again in requests:
        if size is not None:
            encoder.header_table_size = size
        for _ in range(1 + again):
            own = [hpack.NeverIndexedHeaderTuple(n, v) if never else hpack.HeaderTuple(n, v) for n, v, never in pairs]
            headers = [*REQUIRED, *own]
            connection._take(HEADERS, END_HEADERS, number, encoder.encode(headers))
            expected.append({**dict(REQUIRED), **{name: value for name, value, _ in pairs}})
            number += 2
    assert seen == expected


async def test_a_block_that_empties_the_table_ends_what_others_referred_to(rude: Rude) -> None:
    encoder = hpack.Encoder()
    encoder.encode(head())
    emptied_and_grown = b"\x20\x3f\xe1\x1f" + header_block(*head())  # sizes of 0 and of 4096
    for number, block in enumerate([CALL, again := encoder.encode(head()), emptied_and_grown]):
        await rude.send(
            frame(HEADERS, END_HEADERS, 2 * number + 1, block) + frame(DATA, END_STREAM, 2 * number + 1, b"x")
        )
        assert await rude.next(DATA)
    await rude.send(frame(HEADERS, END_HEADERS, 7, again))
    assert await rude.thrown_out() == COMPRESSION_ERROR
