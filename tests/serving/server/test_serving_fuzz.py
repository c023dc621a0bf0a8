"""Some hundred of the requests that `python -m bench.serving.fuzz` sends by the hundred thousand."""

import asyncio
import json
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.serving.fuzz import Answer, Client, found_wrong
from bench.serving.fuzz_requests import MAX_BODY, Attempt, attempt, save_model, slow
from patience import PATIENCE
from serving_process import Served

REFUSED = Answer(400, {}, b'{"error": "no"}')


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("fuzz")
    save_model(folder)
    process = Served(folder, "--name", "fuzz", "--max-body", str(MAX_BODY), log=folder / "termination-log")
    yield process
    assert process.client.get("/v2/health/ready").status_code == 200
    assert not [line for line in process.lines if "Traceback" in line or "unhandled" in line]
    assert process.stop() == 0


async def ask(served: Served, *attempts: Attempt) -> None:
    client = Client(served.address)
    for asked in attempts:
        async with asyncio.timeout(PATIENCE):
            answers = await client.ask(asked)
        assert found_wrong(asked, answers) == [], asked.raw[:2000]
    await client.hang_up()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=5))
def test_whatever_a_client_sends_it_gets_what_the_protocol_says(served: Served, seeds: list[int]) -> None:
    asyncio.run(ask(served, *(attempt(Random(seed)) for seed in seeds)))


def test_a_client_that_takes_its_time_is_answered(served: Served) -> None:
    asked = slow(Random(1))
    asyncio.run(ask(served, Attempt("slow", asked.pieces, pause=0.001)))


@pytest.mark.parametrize(
    ("asked", "answers", "says"),
    [
        (Attempt("x", ()), [], "1 answers were due, 0 came"),
        (Attempt("x", (), due=2), [REFUSED], "2 answers were due, 1 came"),
        (Attempt("x", ()), [Answer(500, {}, b'{"error": "x"}')], "answered 500"),
        (Attempt("x", ()), [Answer(503, {}, b'{"error": "loading"}')], "answered 503"),
        (Attempt("x", ()), [Answer(400, {}, b"{}")], "without an error in the protocol's form"),
        (Attempt("x", (), echo={"A_OUT": [1]}), [REFUSED], "refused with 400, but good"),
        (
            Attempt("x", (), echo={"A_OUT": [1]}),
            [Answer(200, {}, json.dumps({"outputs": [{"name": "A_OUT", "data": [2]}]}).encode())],
            "answered {'A_OUT': [2]}",
        ),
    ],
)
def test_what_is_wrong_is_seen(asked: Attempt, answers: list[Answer], says: str) -> None:
    assert says in "".join(found_wrong(asked, answers))
    refused = Answer(400, {"connection": "close"}, b'{"error": "x"}')
    assert found_wrong(Attempt("x", (), due=3), [REFUSED, refused]) == []
