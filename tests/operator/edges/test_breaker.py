"""A server that hangs, beside one whose questions are slow: who waits, for how long, and when it is asked again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from headgate.edges.breaker import LONGEST_DELAY, PROBE_BYTES, PROBE_SECONDS, SUSPECT_AFTER, GuardedClient
from virtual_time import run

PROBE = "http://prometheus/api/v1/query?query=time()"
QUESTION = "http://prometheus/api/v1/query?query=up"


class Server:
    """Answers, or hangs, or is slow with everything but the probe."""

    def __init__(self) -> None:
        self.hangs = self.refuses = False
        self.slow, self.status = 0.0, 200
        self.error: Exception | None = None
        self.endless = False
        self.sent = 0
        self.asked: list[str] = []
        self.told: list[bool] = []

    def client(self) -> GuardedClient:
        return GuardedClient(PROBE, self.told.append, transport=httpx.MockTransport(self._answer))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if self.refuses:
            raise httpx.ConnectError("refused", request=request)
        if self.error:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()
        if "time" not in str(request.url):
            await asyncio.sleep(self.slow)
        return httpx.Response(self.status, content=self._without_end() if self.endless else b"{}")

    async def _without_end(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 4096
            yield bytes(4096)


Story = Callable[[Server, GuardedClient, Callable[[], float]], Any]


def played(story: Story) -> None:
    async def play(clock: Callable[[], float]) -> None:
        server = Server()
        async with server.client() as client:
            await story(server, client, clock)
            await client.aclose()

    run(play)


async def fails(client: GuardedClient) -> None:
    with pytest.raises(httpx.TimeoutException):
        await client.get(QUESTION)


def test_all_who_wait_for_a_server_that_hangs_are_told_within_two_seconds() -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.hangs = True
        start = clock()
        await asyncio.gather(*(fails(client) for _ in range(40)))
        assert clock() - start == pytest.approx(SUSPECT_AFTER + PROBE_SECONDS)
        assert (client.is_open, server.told) == (True, [True])

    played(story)


def test_while_it_hangs_one_probe_asks_more_and_more_seldom_and_nobody_waits() -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.hangs = True
        await fails(client)
        server.asked.clear()
        start = clock()
        for _ in range(600):
            await fails(client)
            assert clock() - start < 0.001
            await asyncio.sleep(1)
            start = clock()
        assert set(server.asked) == {PROBE.replace("()", "%28%29")} or set(server.asked) == {PROBE}
        assert 600 / (LONGEST_DELAY * 1.25 + PROBE_SECONDS) <= len(server.asked) <= 60

    played(story)


def test_when_it_answers_again_all_ask_again() -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.hangs = True
        await fails(client)
        server.hangs = False
        await asyncio.sleep(2 * LONGEST_DELAY)
        assert (await client.get(QUESTION)).status_code == 200
        assert server.told == [True, False]

    played(story)


def test_one_slow_question_costs_the_others_nothing() -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.slow = 4.0
        slow = asyncio.create_task(client.get(QUESTION))
        await asyncio.sleep(3)
        server.slow = 0.0
        assert (await client.get(QUESTION)).status_code == 200
        assert (await slow).status_code == 200
        assert server.told == []

    played(story)


def test_a_question_that_is_given_up_by_who_asked_ends() -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.slow = 60.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.get(QUESTION)
        assert not client._waiting

    played(story)


@pytest.mark.parametrize("how", ["refuses", "status"])
def test_a_server_that_refuses_is_known_as_well(how: str) -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.refuses = how == "refuses"
        server.slow, server.status = 2.0, 503
        with suppress(httpx.HTTPError):
            await client.get(QUESTION)
        await asyncio.sleep(0.1)
        assert client.is_open

    played(story)


@pytest.mark.parametrize("error", [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), OSError("gone")])
def test_a_probe_that_can_not_ask_asks_again(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.hangs = True
        await fails(client)
        server.hangs, server.error = False, error
        await asyncio.sleep(2 * LONGEST_DELAY)
        assert client.is_open
        server.error = None
        await asyncio.sleep(2 * LONGEST_DELAY)
        assert (await client.get(QUESTION)).status_code == 200
        assert "The probe can't ask" in caplog.text

    played(story)


def test_the_answer_to_a_probe_is_read_no_further_than_a_time_is_long() -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.hangs = True
        await fails(client)
        server.hangs, server.endless, before = False, True, len(server.asked)
        await asyncio.sleep(2 * LONGEST_DELAY)
        probes = len(server.asked) - before
        assert client.is_open
        assert probes
        assert server.sent <= probes * (PROBE_BYTES + 4096)

    played(story)


def test_a_question_to_an_open_circuit_makes_a_probe_ask_where_none_does() -> None:
    async def story(server: Server, client: GuardedClient, clock: Callable[[], float]) -> None:
        server.hangs = True
        await fails(client)
        assert client._probing
        client._probing.cancel()
        server.hangs = False
        await asyncio.sleep(0)
        await fails(client)
        await asyncio.sleep(PROBE_SECONDS)
        assert (await client.get(QUESTION)).status_code == 200

    played(story)
