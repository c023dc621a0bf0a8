"""Kubernetes events: how long they are tried, how many wait, and what ends with the process. Time is virtual."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from fakes import FakeKube
from headgate.core.model import Event
from headgate.edges.events import ENDS_WITHIN, GIVE_UP_AFTER, MOST_WAITING, About, Events
from headgate.errors import KubernetesError, NamespaceTerminating
from virtual_time import run

ABOUT = About("models", "fraud", "uid-fraud", "7")
Clock = Callable[[], float]


class Refusing(FakeKube):
    """An API server that refuses every event."""

    def __init__(self, status: int = 500) -> None:
        super().__init__()
        self.status, self.tries = status, 0

    async def create(self, manifest: dict[str, Any]) -> Any:
        self.tries += 1
        if not self.status:
            return await super().create(manifest)
        error = KubernetesError("refused")
        error.status = self.status
        raise error


def told(message: str) -> Event:
    return Event("Normal", "Told", message)


def test_what_is_never_taken_is_given_up_and_counted() -> None:
    async def story(clock: Clock) -> None:
        kube, lost = Refusing(), list[float]()
        events = Events(kube, clock, lambda: lost.append(clock()))
        start = clock()
        events.post(ABOUT, told("a"))
        await events.settled()
        assert lost[0] - start == pytest.approx(GIVE_UP_AFTER, abs=60)
        assert kube.tries < 300, "with growing delays"

    run(story)


@pytest.mark.parametrize("status", [HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND])
def test_what_can_not_be_stored_is_not_tried_again(status: int) -> None:
    async def story(clock: Clock) -> None:
        kube, lost = Refusing(status), list[float]()
        events = Events(kube, clock, lambda: lost.append(clock()))
        events.post(ABOUT, told("a"))
        await events.settled()
        assert (kube.tries, len(lost)) == (1, 1)

    run(story)


def test_in_a_namespace_that_ends_nothing_is_lost() -> None:
    async def story(clock: Clock) -> None:
        kube, lost = FakeKube(), list[float]()
        kube.failing["create", "Event"] = NamespaceTerminating("forbidden")
        events = Events(kube, clock, lambda: lost.append(clock()))
        events.post(ABOUT, told("a"))
        await events.settled()
        assert (len(kube.requests), lost) == (1, [])

    run(story)


def test_the_same_is_posted_once_and_the_same_of_another_decision_again() -> None:
    async def story(clock: Clock) -> None:
        kube = FakeKube()
        events = Events(kube, clock)
        for about in (ABOUT, ABOUT, ABOUT._replace(version="8")):
            events.post(about, told("a"))
            await events.settled()
            events.post(about, told("a"))
            await events.settled()
        assert len(kube.objects) == 2
        events.post(ABOUT, told("b"))
        await events.settled()
        assert len(kube.objects) == 3

    run(story)


def test_of_too_many_the_oldest_are_given_up_and_the_rest_is_stored_when_the_api_server_is_back() -> None:
    async def story(clock: Clock) -> None:
        kube, lost = Refusing(), list[float]()
        events = Events(kube, clock, lambda: lost.append(clock()))
        for number in range(MOST_WAITING + 2):
            events.post(ABOUT, told(str(number)))
        await asyncio.sleep(100)
        assert (len(lost), len(events)) == (2, MOST_WAITING)
        kube.status = 0
        await events.settled()
        stored = sorted(int(each["message"]) for each in kube.objects.values())
        assert stored == list(range(2, MOST_WAITING + 2))

    run(story)


def test_at_the_end_of_the_process_what_waits_has_a_moment() -> None:
    async def story(clock: Clock) -> None:
        kube, lost = Refusing(), list[float]()
        events = Events(kube, clock, lambda: lost.append(clock()))
        events.post(ABOUT, told("a"))
        start = clock()
        await events.close()
        assert (clock() - start, len(lost), len(events)) == (ENDS_WITHIN, 1, 0)
        kube.status = 0
        events.post(ABOUT, told("b"))
        await events.close()
        assert len(kube.objects) == 1

    run(story)
