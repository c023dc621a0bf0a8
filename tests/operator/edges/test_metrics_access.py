"""Who may read the operator's metrics, by what an API server says: how often it is asked, and what if it hangs."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from headgate.edges import metrics_access
from headgate.edges.metrics_access import ADMITTED_FOR, AT_ONCE, EACH, MOST, REFUSED_FOR, WITHIN, MetricsAccess
from headgate.errors import KubernetesError
from virtual_time import run

SCRAPER = {
    "username": "system:serviceaccount:monitoring:prometheus",
    "uid": "1",
    "groups": ["a"],
    "extra": {"b": ["c"]},
}
OTHER = {"username": "system:serviceaccount:tenant:other"}
AUDIENCE = "headgate-metrics"


class Reviews:
    """An API server that knows two users by the tokens "scraper" and "other"."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.knows_audiences = True
        self.takes = 0.0
        self.error: Exception | None = None

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(manifest)
        await asyncio.sleep(self.takes)
        if self.error:
            raise self.error
        spec = manifest["spec"]
        if manifest["kind"] == "SubjectAccessReview":
            return {"status": {"allowed": spec["user"] == SCRAPER["username"]}}
        user = {"scraper": SCRAPER, "other": OTHER}.get(spec["token"])
        if not user:
            return {"status": {"error": "unknown"}}
        audiences = {"audiences": spec["audiences"]} if self.knows_audiences else {}
        return {"status": {"authenticated": True, "user": user, **audiences}}


def played(story: Callable[[Reviews, MetricsAccess, Callable[[], float]], Any], audience: str = "") -> None:
    async def play(clock: Callable[[], float]) -> None:
        reviews = Reviews()
        await story(reviews, MetricsAccess(reviews.create, audience, clock), clock)

    run(play)


@pytest.mark.parametrize("audience", ["", AUDIENCE])
def test_a_scraper_that_may_is_asked_about_once_a_minute(audience: str) -> None:
    async def story(reviews: Reviews, access: MetricsAccess, _: Any) -> None:
        for _ in range(20):
            assert (await access.admit("Bearer scraper")).status == 200
            await asyncio.sleep(ADMITTED_FOR / 20.5)
        token, rights = (each["spec"] for each in reviews.asked)
        assert token == {"token": "scraper", "audiences": [audience] if audience else []}
        who = {"user": SCRAPER["username"], "uid": "1", "groups": ["a"], "extra": {"b": ["c"]}}
        assert rights == {**who, "nonResourceAttributes": {"path": "/metrics", "verb": "get"}}
        await asyncio.sleep(ADMITTED_FOR / 20)
        assert (await access.admit("bearer  scraper")).status == 200
        assert len(reviews.asked) == 4

    played(story, audience)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic scraper", "scraper", "Bearer a b", "Bearer \udcff"])
def test_nobody_is_asked_about_what_is_no_token(header: str) -> None:
    async def story(reviews: Reviews, access: MetricsAccess, _: Any) -> None:
        refused = await access.admit(header)
        assert (refused.status, "Authorization: Bearer" in refused.words, reviews.asked) == (401, True, [])

    played(story)


@pytest.mark.parametrize(("token", "status", "words"), [("unknown", 401, "expired"), ("other", 403, OTHER["username"])])
def test_others_are_told_why_not_and_a_right_that_they_get_counts_soon(token: str, status: int, words: str) -> None:
    async def story(reviews: Reviews, access: MetricsAccess, _: Any) -> None:
        for _ in range(5):
            refused = await access.admit(f"Bearer {token}")
            assert (refused.status, words in refused.words) == (status, True)
        before = len(reviews.asked)
        await asyncio.sleep(REFUSED_FOR)
        await access.admit(f"Bearer {token}")
        assert len(reviews.asked) == 2 * before <= 4

    played(story)


def test_a_token_that_is_for_somebody_else_is_none() -> None:
    async def story(reviews: Reviews, access: MetricsAccess, _: Any) -> None:
        reviews.knows_audiences = False
        refused = await access.admit("Bearer scraper")
        assert (refused.status, AUDIENCE in refused.words) == (401, True)

    played(story, AUDIENCE)


def test_an_api_server_that_hangs_is_waited_for_three_seconds_and_who_was_admitted_stays_so() -> None:
    async def story(reviews: Reviews, access: MetricsAccess, clock: Callable[[], float]) -> None:
        assert (await access.admit("Bearer scraper")).status == 200
        reviews.takes = 3600.0
        began = clock()
        answers = await asyncio.gather(*(access.admit(f"Bearer {number}") for number in range(100)))
        assert {answer.status for answer in answers} == {503}
        assert clock() - began <= WITHIN
        assert (await access.admit("Bearer scraper")).status == 200
        reviews.takes = 0.0
        await asyncio.sleep(EACH)
        assert (await access.admit("Bearer other")).status == 403

    played(story)


def test_an_api_server_that_refuses_is_told_once_and_its_words_to_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def story(reviews: Reviews, access: MetricsAccess, _: Any) -> None:
        reviews.error = KubernetesError("403 headgate can't create tokenreviews")
        for _ in range(10):
            refused = await access.admit("Bearer scraper")
            assert (refused.status, "tokenreviews" in refused.words) == (503, False)
        assert caplog.text.count("can't create tokenreviews") == 1

    with caplog.at_level(logging.WARNING, "headgate.metrics"):
        played(story)


def test_who_makes_up_tokens_costs_the_api_server_little() -> None:
    async def story(reviews: Reviews, access: MetricsAccess, clock: Callable[[], float]) -> None:
        assert (await access.admit("Bearer scraper")).status == 200
        began = clock()
        for number in range(2 * MOST):
            await access.admit(f"Bearer made-up-{number}")
        seconds = clock() - began
        assert len(reviews.asked) <= 2 + AT_ONCE + seconds * AT_ONCE / EACH
        assert len(access._refused._answers) == MOST
        before = len(reviews.asked)
        await asyncio.gather(*(access.admit("Bearer the-same") for _ in range(1000)))
        assert len(reviews.asked) - before <= AT_ONCE

    played(story)


def test_made_up_tokens_displace_no_scraper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_access, "MOST", 3)

    async def story(reviews: Reviews, access: MetricsAccess, _: Any) -> None:
        assert (await access.admit("Bearer scraper")).status == 200
        for number in range(20):
            assert (await access.admit(f"Bearer made-up-{number}")).status == 401
        before = len(reviews.asked)
        assert (await access.admit("Bearer scraper")).status == 200
        assert len(reviews.asked) == before

    played(story)
