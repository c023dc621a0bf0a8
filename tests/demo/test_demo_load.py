"""The clients: they keep to their schedule, and nothing that happens to a request goes uncounted."""

import asyncio
import json
import time
from collections.abc import Sequence

import pytest

from demo import load, openinference
from demo.load import Load, Person, Plan
from demo.openinference import Malformed
from demo.tally import Tally
from demo.traffic import Dropped, Pool
from demo_made_up import Behaviour, answer, http, server
from patience import PATIENCE

PERSON = Person(openinference.request([40.0, 21.0]), 1)
REVISION = "x-headgate-revision: census-1\r\n"
GOOD = http(answer(), headers=REVISION)
WAITS = 5.0
"""Seconds after which an answer that does not come is given up: no busy machine takes so long for one that comes."""


async def played(behaviour: Behaviour, plan: Plan, people: Sequence[Person] = (PERSON,)) -> dict[str, object]:
    async with server(behaviour) as seen:
        pool = Pool("127.0.0.1", seen.port, time.time, keep=4)
        running = Load(plan, pool, "/v2/models/census/infer", Tally(PATIENCE), time.time)
        await running.run(people)
        return running.to_json()


async def test_good_answers_are_counted_by_revision_and_by_truth() -> None:
    people = [PERSON, Person(PERSON.body, 0)]
    state = await played(lambda _: GOOD, Plan(rate=200, seconds=0.2, timeout=PATIENCE), people)
    assert state["totals"] == {
        **{"sent": 40, "pending": 0, "ok": 40, "failed": 0, "late": 0},
        **{"positive": 40, "correct": 20},
    }
    assert list(state["revisions"]) == ["census-1"]  # type: ignore[call-overload]
    assert state["failures"] == {}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (http(b"no", "503 Service Unavailable"), "status 503"),
        (http(b"{}"), "malformed"),
        (http(answer(label=7)), "malformed"),
        (http(answer(score=float("nan"))), "malformed"),
        (None, "dropped"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhalf", "timeout"),
        (b"SMTP ready\r\n\r\n", "dropped"),
        (b"", "timeout"),
    ],
    ids=["status", "empty", "impossible", "not a number", "closed", "half", "no HTTP", "silent"],
)
async def test_whatever_is_no_answer_is_a_failed_one(said: bytes | None, kind: str) -> None:
    state = await played(lambda n: said if n == 3 else GOOD, Plan(rate=100, seconds=0.1, timeout=WAITS))
    assert state["failures"] == {kind: 1}
    assert state["totals"]["ok"] == 9  # type: ignore[index]
    assert state["totals"]["pending"] == 0  # type: ignore[index]


async def test_a_refused_connection_is_a_failed_answer() -> None:
    async with server(lambda _: GOOD) as seen:
        port = seen.port
    pool = Pool("127.0.0.1", port, time.time)
    running = Load(Plan(rate=100, seconds=0.05, timeout=PATIENCE), pool, "/", Tally(0.5), time.time)
    await running.run([PERSON])
    assert running.to_json()["failures"] == {"dropped": 5}


async def test_a_slow_server_does_not_slow_the_schedule_down() -> None:
    came = list[float]()

    def silent(_: int) -> bytes:
        came.append(time.monotonic())
        return b""

    state = await played(silent, Plan(rate=100, seconds=0.2, timeout=WAITS))
    assert state["totals"]["sent"] == len(came) == 20  # type: ignore[index]
    assert came[-1] - came[0] < WAITS, "the last one came before the first was given up"
    assert state["failures"] == {"timeout": 20}


async def test_more_than_the_clients_can_hold_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "IN_FLIGHT", 5)
    state = await played(lambda _: b"", Plan(rate=200, seconds=0.1, timeout=WAITS))
    assert state["failures"] == {"timeout": 5, "overload": 15}


async def test_stop_ends_the_run_and_waits_for_answers() -> None:
    def stop_at_the_third(number: int) -> bytes:
        if number == 3:
            running.stop()
        return GOOD

    async with server(stop_at_the_third) as seen:
        pool = Pool("127.0.0.1", seen.port, time.time)
        running = Load(Plan(rate=100, seconds=60, timeout=PATIENCE), pool, "/", Tally(0.5), time.time)
        await running.run([PERSON])
    state = running.to_json()
    assert not state["running"]
    assert 3 <= state["totals"]["ok"] == state["totals"]["sent"] < 3000


async def test_connections_are_kept_and_taken_in_turn() -> None:
    async with server(lambda _: GOOD) as seen:
        pool = Pool("127.0.0.1", seen.port, time.time, keep=3)
        for _ in range(9):
            await pool.post("/", b"{}")
        pool.close()
    assert seen.connections == [1, 2, 3] * 3


async def test_old_connections_are_replaced_so_that_no_router_is_forgotten() -> None:
    now = 0.0
    async with server(lambda _: GOOD) as seen:
        pool = Pool("127.0.0.1", seen.port, lambda: now, keep=2, max_age=10)
        for _ in range(4):
            await pool.post("/", b"{}")
        now = 21.0
        for _ in range(4):
            await pool.post("/", b"{}")
        pool.close()
    assert seen.connections == [1, 2, 1, 2, 3, 4, 3, 4]


async def test_a_server_that_says_goodbye_is_asked_over_a_new_connection() -> None:
    last = http(answer(), headers="connection: close\r\n")
    async with server(lambda n: last if n == 1 else GOOD) as seen:
        pool = Pool("127.0.0.1", seen.port, time.time, keep=1)
        responses = [await pool.post("/", b"{}") for _ in range(3)]
        pool.close()
    assert [response.status for response in responses] == [200, 200, 200]
    assert seen.connections == [1, 2, 2]


async def test_nothing_is_sent_twice() -> None:
    async with server(lambda _: None) as seen:
        pool = Pool("127.0.0.1", seen.port, time.time)
        with pytest.raises(Dropped):
            await pool.post("/", b"{}")
        pool.close()
    assert len(seen.requests) == 1


def test_a_tally_counts_late_answers_and_leaves_nothing_pending() -> None:
    tally = Tally(budget=0.5)
    for second in (100, 100, 101):
        tally.sent(second)
    tally.good(100.0, 0.02, "a", positive=True, correct=True)
    tally.good(100.2, 0.7, "b", positive=False, correct=True)
    state = tally.to_json()
    assert state["totals"]["pending"] == 1
    assert state["totals"]["late"] == 1
    tally.failed(101.0, 2.0, "", "timeout")
    state = tally.to_json(since=101)
    assert state["totals"] == {"sent": 3, "pending": 0, "ok": 2, "failed": 1, "late": 2, "positive": 1, "correct": 2}
    assert [second["time"] for second in state["seconds"]] == [101]
    assert state["latency_ms"]["max"] == 2000
    assert state["latency_ms"]["p50"] == pytest.approx(700, rel=0.06)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"outputs": 1}', b'{"outputs": [{"name": "label", "data": [1]}]}'])
def test_a_body_without_an_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        openinference.read(body)


def test_an_answer_is_read_as_the_protocol_says() -> None:
    assert openinference.read(answer(label=0, score=0.25)) == openinference.Answer(0, 0.25)
    sent = json.loads(openinference.request([1.0, 2.0]))
    assert sent == {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


async def test_questions_about_the_run_are_answered() -> None:
    tally = Tally(0.5)
    tally.sent(100.0)
    tally.good(100.0, 0.01, "census-1", positive=True, correct=True)
    running = Load(Plan(1, 1, 1), Pool("127.0.0.1", 1, time.time), "/", tally, time.time)
    listening = await asyncio.start_server(lambda r, w: load.answer_questions(running, r, w), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]

    async def ask(line: str) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{line}\r\nhost: x\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return head.split(b"\r\n")[0], body

    async with listening:
        status, body = await ask("GET /state?since=0 HTTP/1.1")
        assert (status, json.loads(body)["totals"]["ok"]) == (b"HTTP/1.1 200 OK", 1)
        assert b'demo_requests_total{revision="census-1",outcome="ok"} 1' in (await ask("GET /metrics HTTP/1.1"))[1]
        assert await ask("GET /healthz HTTP/1.1") == (b"HTTP/1.1 200 OK", b"ok")
        assert (await ask("GET /other HTTP/1.1"))[0] == b"HTTP/1.1 404 Not Found"
        assert (await ask("hello"))[0] == b"HTTP/1.1 400 Bad Request"
