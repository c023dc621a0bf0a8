"""HTTP/1.1 on a real loopback socket, with a small handler instead of a model: what clients do right and wrong."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from headgate_serving.http import http1
from headgate_serving.http.http1 import Answer, Exchange, Server
from headgate_serving.http.listener import READ_WITHIN, SEND_WITHIN, Limits
from patience import PATIENCE

TEXT = b"content-type: text/plain\r\n"
LARGE = 3 * http1._WITHOUT_PARSER


class Front:
    """A server that answers `/` with what it got, `/later` when told to, and `/large` with more than a socket holds."""

    def __init__(self, limits: Limits) -> None:
        self.waiting: list[Exchange] = []
        self.gone = asyncio.Event()
        self.server = Server(self._handle, lambda status, message: Answer(status, TEXT, message.encode()), limits)
        self._came = asyncio.Condition()
        self._clients: list[Client] = []

    async def start(self) -> None:
        self.server.start()
        self.listener = await asyncio.get_running_loop().create_server(self.server, "127.0.0.1", 0)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def connect(self) -> "Client":
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def asked(self, count: int = 1) -> list[Exchange]:
        """Wait until so many wait for an answer."""
        async with self._came, asyncio.timeout(PATIENCE):
            await self._came.wait_for(lambda: len(self.waiting) >= count)
        return self.waiting

    def seconds_pass(self, seconds: float) -> None:
        """The clock's next look, as if so much time had gone by."""
        self.server.now += seconds
        for connection in list(self.server.connections):
            connection.look_at_the_clock()

    async def close(self) -> None:
        for client in self._clients:
            await client.leave()
        self.listener.close()
        self.server.close()
        await until(lambda: not self.server.connections)

    def _handle(self, exchange: Exchange) -> None:
        if exchange.path == "/later":
            self.waiting.append(exchange)
            exchange.gone = self.gone.set
            asyncio.get_running_loop().create_task(self._tell())
        elif exchange.path == "/large":
            exchange.answer(Answer(200, TEXT, bytes(64 << 20)))
        else:
            exchange.answer(
                Answer(
                    200,
                    TEXT,
                    b"%b %b %d " % (exchange.method.encode(), exchange.path.encode(), len(exchange.body))
                    + exchange.body[:40],
                )
            )

    async def _tell(self) -> None:
        async with self._came:
            self._came.notify_all()


class Client:
    """Bytes to the server, answers from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *parts: bytes) -> None:
        self.writer.writelines(parts)

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next one."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            status, headers = int(head[0].split()[1]), dict(line.split(": ", 1) for line in head[1:-2])
            length = 0 if head_only or status == 100 else int(headers["content-length"])
            return status, headers, await self.reader.readexactly(length)

    async def refused(self, status: int, says: str) -> None:
        """The next answer is this one, and the last."""
        got, headers, body = await self.answer()
        assert (got, headers["connection"]) == (status, "close")
        assert says in body.decode()
        assert await self.closed()

    async def closed(self) -> bool:
        """Whether the server hung up, and sent no more before it did."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionResetError):
                return await self.reader.read() == b""
        return True

    async def leave(self, *, rudely: bool = False) -> None:
        if rudely:  # with a reset
            self.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


Start = Callable[..., Coroutine[Any, Any, Front]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts fronts; at the end of each test they hold not one byte."""
    fronts: list[Front] = []

    async def started(body: int = 1 << 20, held: int = 4 << 20, connections: int = 100) -> Front:
        front = Front(Limits(body, held, connections))
        await front.start()
        fronts.append(front)
        return front

    yield started
    for front in fronts:
        await front.close()
        assert front.server.held == 0


@pytest.fixture
async def front(start: Start) -> Front:
    return await start()


@pytest.fixture
async def client(front: Front) -> Client:
    return await front.connect()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until the server has seen what was sent to it."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - it has no event for this
            await asyncio.sleep(0)


def post(body: bytes, *headers: bytes, path: bytes = b"/") -> bytes:
    lines = [b"POST %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", b""]) + body


def get(path: bytes = b"/", *headers: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"%b %b HTTP/%b" % (method, path, version), b"host: x", *headers, b"", b""])


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


async def test_one_connection_many_requests(client: Client) -> None:
    for size in (0, 1, 5000):
        client.send(post(b"x" * size))
        status, headers, body = await client.answer()
        assert (status, body.split()[:3]) == (200, [b"POST", b"/", b"%d" % size])
        assert headers["content-type"] == "text/plain"
        assert headers["date"].endswith("GMT")
        assert "connection" not in headers


@pytest.mark.parametrize(
    ("target", "path"),
    [("/a?b=c", "/a"), ("/a%20b", "/a b"), ("http://host/a?b", "/a"), ("/%C3%BC", "/ü"), ("*", "*"), ("/%", "/%")],
)
async def test_the_path_is_what_stands_before_the_query(front: Front, client: Client, target: str, path: str) -> None:
    client.send(get(target.encode()))
    assert (await client.answer())[2].decode().split(" ", 1)[1].startswith(path)


async def test_pipelined_requests_are_answered_in_order(front: Front, client: Client) -> None:
    client.send(get(b"/later"), get(b"/1"), post(b"two", path=b"/2"), get(b"/later"), get(b"/3"))
    first = (await front.asked())[0]
    assert len(front.waiting) == 1
    first.answer(Answer(200, TEXT, b"first"))
    assert [(await client.answer())[2].split()[0] for _ in range(3)] == [b"first", b"GET", b"POST"]
    (await front.asked(2))[1].answer(Answer(200, TEXT, b"later"))
    assert (await client.answer())[2] == b"later"
    assert (await client.answer())[2] == b"GET /3 0 "


async def test_thousands_of_pipelined_requests_take_no_more_stack_than_one(front: Front, client: Client) -> None:
    client.send(get(b"/later"), get(b"/n") * 5000)
    (await front.asked())[0].answer(Answer(200, TEXT, b""))
    for _ in range(5001):
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize("pieces", [1, 7, 1000])
async def test_a_request_may_come_in_pieces(client: Client, pieces: int) -> None:
    request = post(b"x" * 1000) + get(b"/next")
    size = -(-len(request) // pieces)
    for at in range(0, len(request), size):
        client.send(request[at : at + size])
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.answer())[2].startswith(b"POST / 1000 xxx")
    assert (await client.answer())[2] == b"GET /next 0 "


@pytest.mark.parametrize("behind", [b"", get(b"/next"), get(b"/next") + post(bytes(LARGE), path=b"/last")])
@pytest.mark.parametrize("first", [0, 10, 5000])
async def test_a_large_body_passes_the_parser_by(client: Client, first: int, behind: bytes) -> None:
    """`first` bytes of it come with the head, and the last ones with the next requests."""
    body = bytes(range(256)) * (LARGE // 256)
    head = post(body)[: -len(body)]
    client.send(head + body[:first])
    await client.writer.drain()
    await asyncio.sleep(0.01)
    client.send(body[first:-100])
    await client.writer.drain()
    await asyncio.sleep(0.01)
    client.send(body[-100:] + behind)
    answers = [(await client.answer())[2] for _ in range(1 + behind.count(b"HTTP"))]
    assert answers[0] == b"POST / %d " % LARGE + body[:40]
    assert [answer.split()[1] for answer in answers[1:]] == [b"/next", b"/last"][: len(answers) - 1]


async def test_every_byte_of_a_large_body_arrives(front: Front, client: Client) -> None:
    body = b"".join(b"%07d," % at for at in range(LARGE // 8))
    client.send(post(body, path=b"/later"))
    exchange = (await front.asked())[0]
    assert exchange.body == body
    assert front.server.held == len(body)
    exchange.answer(Answer(200, TEXT, b""))
    assert front.server.held == 0


async def test_chunked_bodies(client: Client) -> None:
    client.send(chunked(b"a", b"bc" * 3000, b"d"), chunked(), get(b"/next"))
    assert (await client.answer())[2].startswith(b"POST / 6002 abcbc")
    assert (await client.answer())[2] == b"POST / 0 "
    assert (await client.answer())[2] == b"GET /next 0 "


async def test_a_body_of_many_small_chunks_is_put_together(front: Front, client: Client) -> None:
    chunks = [b"%03d" % (at % 1000) for at in range(20_000)]
    client.send(chunked(*chunks).replace(b"POST / ", b"POST /later "))
    exchange = (await front.asked())[0]
    assert exchange.body == b"".join(chunks)
    exchange.answer(Answer(200, TEXT, b""))


async def test_trailers_are_no_headers(front: Front, client: Client) -> None:
    client.send(chunked(b"a", end=b"0\r\ninference-header-content-length: 5\r\n\r\n").replace(b" / ", b" /later "))
    exchange = (await front.asked())[0]
    assert exchange.headers == {b"host": b"x", b"transfer-encoding": b"chunked"}
    exchange.answer(Answer(200, TEXT, b""))


async def test_trailers_without_end_are_refused(client: Client) -> None:
    client.send(chunked(b"a", end=b"0\r\n"))
    with suppress(ConnectionError):
        for at in range(2000):
            client.send(b"trailer-%d: %b\r\n" % (at, b"x" * 1000))
            await client.writer.drain()
            await asyncio.sleep(0)
    status, _, _ = await client.answer()
    assert status == 431


async def test_continue_is_said_before_the_body_and_not_to_who_is_refused(start: Start) -> None:
    front = await start(body=1000)
    client, greedy = await front.connect(), await front.connect()
    request = post(b"x" * 100, b"expect: 100-continue")
    client.send(request[:-100])
    assert (await client.answer())[0] == 100
    client.send(request[-100:])
    assert (await client.answer())[2].startswith(b"POST / 100 ")
    greedy.send(post(b"x" * 1001, b"expect: 100-continue")[:-1001])
    await greedy.refused(413, "more than 1000 bytes")


async def test_who_waits_behind_an_answer_is_told_to_continue_after_it(front: Front, client: Client) -> None:
    client.send(get(b"/later"))
    first = (await front.asked())[0]
    client.send(post(b"body", b"expect: 100-continue")[:-4])
    (connection,) = front.server.connections
    await until(lambda: connection._reading)
    first.answer(Answer(200, TEXT, b"done"))
    assert (await client.answer())[2] == b"done"
    assert (await client.answer())[0] == 100
    client.send(b"body")
    assert (await client.answer())[2] == b"POST / 4 body"


async def test_http_1_0_knows_no_continue(client: Client) -> None:
    client.send(post(b"body", b"expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"))
    status, _, body = await client.answer()
    assert (status, body) == (200, b"POST / 4 body")


@pytest.mark.parametrize("expect", [b"100-Continue", b"100-continue,", b"other, 100-continue"])
async def test_what_is_expected_is_a_list_of_names(client: Client, expect: bytes) -> None:
    client.send(post(b"body", b"expect: " + expect)[:-4])
    assert (await client.answer())[0] == 100
    client.send(b"body")
    assert (await client.answer())[2] == b"POST / 4 body"


async def test_headers_of_one_name_are_one_list(front: Front, client: Client) -> None:
    client.send(get(b"/later", b"accept-encoding: br", b"Accept-Encoding: gzip", b"a:", b"a: b"))
    exchange = (await front.asked())[0]
    assert exchange.headers == {b"host": b"x", b"accept-encoding": b"br, gzip", b"a": b", b"}
    exchange.answer(Answer(200, TEXT, b""))


TRANSFERS = [
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: gzip\r\ntransfer-encoding: chunked",
    b"transfer-encoding: chunked, chunked",
    b"transfer-encoding: identity, chunked",
]


@pytest.mark.parametrize("encoded", TRANSFERS)
async def test_bodies_that_are_encoded_for_the_transfer_are_refused(client: Client, encoded: bytes) -> None:
    client.send(chunked(b"abc").replace(b"transfer-encoding: chunked", encoded) + get(b"/smuggled"))
    status, headers, _ = await client.answer()
    assert (status in (400, 501), headers["connection"]) == (True, "close")
    assert await client.closed()


async def test_head_has_the_length_and_no_body(client: Client) -> None:
    client.send(get(method=b"HEAD"), get(b"/next"))
    status, headers, _ = await client.answer(head_only=True)
    assert (status, headers["content-length"]) == (200, str(len(b"HEAD / 0 ")))
    assert (await client.answer())[2] == b"GET /next 0 "


@pytest.mark.parametrize(
    "request_",
    [get(b"/", b"connection: close"), get(version=b"1.0"), get(b"/", b"connection: keep-alive", version=b"1.0")],
)
async def test_who_does_not_stay_is_let_go(client: Client, request_: bytes) -> None:
    client.send(request_)
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await client.closed()


@pytest.mark.parametrize("offered", [b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__", b"upgrade: websocket"])
async def test_another_protocol_is_not_taken(client: Client, offered: bytes) -> None:
    offer = b"connection: Upgrade, HTTP2-Settings\r\n" + offered
    large, parts = post(bytes(LARGE), offer), chunked(b"ab", b"c").replace(b"host: x", offer)
    client.send(get(b"/1", offer), post(b"body", offer), get(b"/3", offer) * 3000, large, parts, get(b"/last"))
    answers = [(await client.answer())[2].split(b" ", 2) for _ in range(3005)]
    assert [path for _, path, _ in answers] == [b"/1", b"/", *[b"/3"] * 3000, b"/", b"/", b"/last"]
    assert [rest for method, _, rest in answers if method == b"POST"] == [
        b"4 body",
        b"%d " % LARGE + bytes(40),
        b"3 abc",
    ]
    client.send(get(b"/", b"connection: upgrade, close\r\nupgrade: h2c"))
    assert (await client.answer())[1]["connection"] == "close"


async def test_http_2_without_asking_is_refused(client: Client) -> None:
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    await client.refused(400, "no valid HTTP/1.1")


async def test_a_client_that_has_sent_all_may_still_read(front: Front, client: Client) -> None:
    client.send(post(b"all"), get(b"/later"))
    client.writer.write_eof()
    assert (await client.answer())[2] == b"POST / 3 all"
    (await front.asked())[0].answer(Answer(200, TEXT, b"later"))
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (200, "close", b"later")
    assert await client.closed()


async def test_half_a_request_and_no_more(client: Client) -> None:
    client.send(post(b"abc")[:-1])
    client.writer.write_eof()
    assert await client.closed()


@pytest.mark.parametrize("rudely", [True, False])
async def test_who_leaves_while_waiting_is_not_waited_for(front: Front, client: Client, rudely: bool) -> None:
    client.send(post(bytes(5000), path=b"/later"))
    exchange = (await front.asked())[0]
    await client.leave(rudely=rudely)
    while not (front.gone.is_set() or rudely):  # whether it is still reading is known when the moment has passed
        await asyncio.sleep(0.001)
        front.seconds_pass(1)
    async with asyncio.timeout(PATIENCE):
        await front.gone.wait()
    exchange.answer(Answer(200, TEXT, b"too late"))
    assert front.server.held == 0


@pytest.mark.parametrize("sent", [b"POST / HTTP", post(bytes(LARGE))[:-1], post(b"abc")[:-1], chunked(b"abc", end=b"")])
async def test_who_leaves_in_the_middle_holds_nothing(front: Front, client: Client, sent: bytes) -> None:
    client.send(sent)
    await client.writer.drain()
    await client.leave()
    await until(lambda: not front.server.connections)
    assert front.server.held == 0


BAD = {
    "both lengths, and an offer": post(b"abc", b"transfer-encoding: chunked", b"connection: upgrade", b"upgrade: x"),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no method": b"HELLO\r\n\r\n",
    "both lengths": post(b"abc", b"transfer-encoding: chunked"),
    "both lengths, other order": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc",
    "two content-lengths": post(b"abc", b"content-length: 3"),
    "two different content-lengths": post(b"abc", b"content-length: 4"),
    "a list of content-lengths": b"POST / HTTP/1.1\r\ncontent-length: 3, 3\r\n\r\nabc",
    "a negative content-length": b"POST / HTTP/1.1\r\ncontent-length: -3\r\n\r\nabc",
    "a content-length with a sign": b"POST / HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc",
    "no number": b"POST / HTTP/1.1\r\ncontent-length: three\r\n\r\nabc",
    "no length": b"POST / HTTP/1.1\r\ncontent-length:\r\n\r\nabc",
    "a length of 21 digits": b"POST / HTTP/1.1\r\ncontent-length: 999999999999999999999\r\n\r\n",
    "another transfer-encoding": b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\nabc",
    "chunked is not the last": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a chunk without size": chunked(end=b"\r\n\r\n"),
    "a chunk size that is none": chunked(end=b"xyz\r\nabc\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": chunked(end=b"2\r\nabc\r\n0\r\n\r\n"),
    "a chunk of 2^64 bytes": chunked(end=b"10000000000000000\r\nabc"),
    "a negative chunk": chunked(end=b"-1\r\nabc\r\n0\r\n\r\n"),
    "a space before the colon": b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
    "a header with a null": b"GET / HTTP/1.1\r\nhost: \0\r\n\r\n",
    "bare line feeds in a chunk": chunked(end=b"3\nabc\n0\n\n"),
    "another version": b"GET / HTTP/3.7\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_valid_request_is_400_and_the_end(client: Client, name: str) -> None:
    client.send(BAD[name] + get(b"/smuggled"))
    await client.refused(400, "no valid HTTP/1.1")


async def test_what_is_wrong_is_said_in_its_turn(front: Front, client: Client) -> None:
    client.send(get(b"/later"), get(b"/1"), BAD["no method"])
    (await front.asked())[0].answer(Answer(200, TEXT, b"first"))
    assert [(await client.answer())[2] for _ in range(2)] == [b"first", b"GET /1 0 "]
    await client.refused(400, "no valid HTTP/1.1")


@pytest.mark.parametrize(
    "sent",
    [
        post(bytes(1 << 20) + b"x"),
        post(bytes(1 << 20) + b"x")[:200],
        chunked(bytes(1 << 19), bytes(1 << 19), b"x"),
        chunked(bytes(1 << 19), bytes(1 << 19), b"x", end=b""),
    ],
    ids=["with length", "only the head", "chunked", "chunked, no end"],
)
async def test_a_body_that_is_too_large_is_413(client: Client, sent: bytes) -> None:
    client.send(sent)
    await client.refused(413, "more than 1048576 bytes")


async def test_a_body_of_just_the_size_is_taken(client: Client) -> None:
    client.send(post(bytes(1 << 20)), chunked(bytes(1 << 20)))
    assert [(await client.answer())[0] for _ in range(2)] == [200, 200]


async def test_bodies_that_are_too_large_together_are_429(start: Start) -> None:
    front = await start(held=150_000)
    first, second, third = [await front.connect() for _ in range(3)]
    first.send(post(bytes(100_000), path=b"/later"))
    await front.asked()
    second.send(post(bytes(100_000)))
    await second.refused(429, "try again")
    third.send(chunked(bytes(100_000)))
    await third.refused(429, "try again")
    front.waiting[0].answer(Answer(200, TEXT, b""))
    assert (await first.answer())[0] == 200
    first.send(post(bytes(100_000)))
    assert (await first.answer())[0] == 200


async def test_what_a_body_becomes_counts_until_it_is_answered(start: Start) -> None:
    front = await start(held=1000)
    client = await front.connect()
    client.send(post(bytes(100), path=b"/later"))
    exchange = (await front.asked())[0]
    assert exchange.hold(900)
    assert not exchange.hold(1)
    assert front.server.held == 1001
    exchange.answer(Answer(200, TEXT, b""))
    assert front.server.held == 0


@pytest.mark.parametrize("size", [60_000, 2 * LARGE])
async def test_announced_bodies_that_come_together_are_held_to_the_limit(start: Start, size: int) -> None:
    front = await start(held=size * 3 // 2)
    clients = [await front.connect() for _ in range(2)]
    for client in clients:
        client.send(post(bytes(size), path=b"/later")[: -size // 10])
        await client.writer.drain()
    assert await first_status(clients) == 429
    assert front.server.held <= size * 3 // 2


async def first_status(clients: list[Client]) -> int:
    tasks = [asyncio.create_task(client.answer()) for client in clients]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return done.pop().result()[0]


HEADS = {
    "a long header": get(b"/", b"x: " + b"x" * 400_000),
    "a long header that does not end": get(b"/", b"x: " + b"x" * 70_000)[:-4],
    "a long path": get(b"/" + b"x" * 10_000),
    "a long path that does not end": b"GET /" + b"x" * 400_000,
    "many headers": get(b"/", *(b"x-%d: y" % at for at in range(300))),
    "many headers of one name": get(b"/", *(b"x: y" for _ in range(70_000))),
}


@pytest.mark.parametrize("name", HEADS)
async def test_a_head_that_is_too_large_is_431(client: Client, name: str) -> None:
    client.send(HEADS[name])
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (431, "close")


async def test_more_connections_than_wanted_are_503(start: Start) -> None:
    front = await start(connections=2)
    clients = [await front.connect() for _ in range(2)]
    for client in clients:
        client.send(get())
        assert (await client.answer())[0] == 200
    third = await front.connect()
    third.send(get())
    await third.refused(503, "2 connections already")
    await clients[0].leave()
    await third.leave()
    await until(lambda: len(front.server.connections) == 1)
    fourth = await front.connect()
    fourth.send(get())
    assert (await fourth.answer())[0] == 200


async def test_where_there_are_too_many_connections_health_is_still_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http1, "SPARED", 1)
    front = await start(connections=2)
    front.server.spared = "/health/"
    idle = [await front.connect() for _ in range(2)]
    await until(lambda: len(front.server.connections) == 2)
    spare = await front.connect()
    spare.send(get(b"/health/live"), get(b"/next"))
    status, headers, body = await spare.answer()
    assert (status, headers["connection"], body) == (200, "close", b"GET /health/live 0 ")
    assert await spare.closed()
    await until(lambda: len(front.server.connections) == 2)
    silent = await front.connect()
    await until(lambda: len(front.server.connections) == 3)
    beyond = await front.connect()
    await beyond.refused(503, "2 connections already")
    await until(lambda: len(front.server.connections) == 4)
    assert await (await front.connect()).closed()
    assert len([line for line in caplog.messages if "2 connections, the most" in line]) == 1
    front.seconds_pass(http1._ON_ITS_WAY + 1)  # who says nothing leaves the place to another one
    assert await silent.closed()
    assert all(not client.reader.at_eof() for client in idle)


@pytest.mark.parametrize("sent", [b"GET / HTT", post(b"abc")[:-1], post(bytes(LARGE))[:-1], get() + b"GET / HTT"])
async def test_a_request_that_does_not_end_is_408(front: Front, client: Client, sent: bytes) -> None:
    client.send(sent)
    if sent.startswith(get()):
        assert (await client.answer())[0] == 200
    await until(lambda: any(connection._begun for connection in front.server.connections))
    front.seconds_pass(SEND_WITHIN - 2)
    front.seconds_pass(SEND_WITHIN)
    await client.refused(408, "did not come within")


async def test_a_body_that_trickles_is_408(front: Front, client: Client) -> None:
    client.send(post(bytes(LARGE))[:-LARGE])
    sent, status = 0, 0
    answer = asyncio.create_task(client.answer())
    while not answer.done() and sent < 1000:
        client.send(b"x")
        sent += 1
        await asyncio.sleep(0.001)
        front.seconds_pass(1)
    status = (await answer)[0]
    assert status == 408
    assert SEND_WITHIN <= sent < 3 * SEND_WITHIN


async def test_an_idle_connection_is_kept_for_long_but_not_for_ever(front: Front, client: Client) -> None:
    client.send(get())
    assert (await client.answer())[0] == 200
    front.seconds_pass(3600)
    client.send(get())
    assert (await client.answer())[0] == 200
    front.seconds_pass(http1._IDLE + 2)
    assert await client.closed()


async def test_who_does_not_read_is_cut_off(front: Front, client: Client) -> None:
    client.send(get(b"/large"), get(b"/1") * 100)
    await until(lambda: any(connection._blocked for connection in front.server.connections))
    front.seconds_pass(READ_WITHIN - 2)
    assert front.server.connections
    front.seconds_pass(3)
    await until(lambda: not front.server.connections)


async def test_a_slow_reader_gets_everything_and_nothing_is_done_for_it_meanwhile(front: Front, client: Client) -> None:
    client.send(get(b"/large"), get(b"/large"), get(b"/1") * 3, get(b"/later"))
    await until(lambda: any(connection._blocked for connection in front.server.connections))
    connection = next(iter(front.server.connections))
    assert connection._transport.get_write_buffer_size() < 65 << 20  # one answer, not both
    for _ in range(2):
        assert len((await client.answer())[2]) == 64 << 20
    assert [(await client.answer())[2] for _ in range(3)] == [b"GET /1 0 "] * 3
    (await front.asked())[0].answer(Answer(200, TEXT, b"done"))
    assert (await client.answer())[2] == b"done"


async def test_draining_answers_and_hangs_up(front: Front, client: Client) -> None:
    client.send(get(b"/later"))
    waiting = (await front.asked())[0]
    front.server.draining = True
    assert front.server.busy
    waiting.answer(Answer(200, TEXT, b"done"))
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (200, "close", b"done")
    assert await client.closed()
    await until(lambda: not front.server.connections)
    assert not front.server.busy


async def test_whoever_would_lose_something_keeps_it_busy(front: Front, client: Client) -> None:
    await until(lambda: front.server.connections)
    assert front.server.busy  # its first request may be on its way
    front.server.now += http1._ON_ITS_WAY
    assert not front.server.busy
    client.send(post(b"abc")[:-1])
    await until(lambda: front.server.busy)
    client.send(b"c")
    assert (await client.answer())[0] == 200
    assert not front.server.busy
    client.send(get(b"/large"))
    await until(lambda: front.server.busy)
    assert len((await client.answer())[2]) == 64 << 20
    await until(lambda: not front.server.busy)
