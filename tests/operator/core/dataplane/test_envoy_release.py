"""Pods go only when every router has said that it sends them nothing."""

from collections.abc import Sequence
from typing import Any

import pytest

from headgate.api.contract import ROUTER_ROUTES as ROUTES
from headgate.api.contract import ROUTER_WATCH_AGE as ALIVE
from headgate.api.status import Retiring
from headgate.core.dataplane.envoy.release import released
from headgate.core.statistics.counters import Series
from headgate.core.times import stamp

SINCE = 1_800_000_000.0
OLD, NEW = "fraud-1a2b3c4d", "fraud-9e8d7c6b"
RETIRING = [Retiring(revision=OLD, since=stamp(SINCE))]


def told(router: str, at: float, *revisions: Any, before: Sequence[Any] = ()) -> list[Any]:
    """What a router said in its scrapes: now `revisions`, and `before` in the one ten seconds ago."""
    labels = {"pod": router, "headgate_namespace": "models", "headgate_model": "fraud"}
    alive = Series({**labels, "__name__": ALIVE}, ((at - 10, 0.1), (at, 0.2)))
    now = [Series({**labels, "__name__": ROUTES, "headgate_revision": r}, ((at, 1.0),)) for r in revisions]
    gone = [Series({**labels, "__name__": ROUTES, "headgate_revision": r}, ((at - 10, 1.0),)) for r in before]
    return [alive, *now, *gone]


def found(routers: list[Any], series: list[Any], clock_ahead: float = 0.0) -> frozenset[Any]:
    return released(RETIRING, routers, series, clock_ahead)


def test_pods_go_when_every_router_has_left_them() -> None:
    assert found(["a", "b"], told("a", SINCE + 9, NEW, before=[OLD]) + told("b", SINCE + 9, NEW)) == {OLD}


def test_one_router_that_still_has_them_is_enough_to_keep_them() -> None:
    assert not found(["a", "b"], told("a", SINCE + 9, NEW) + told("b", SINCE + 9, NEW, OLD))


def test_a_router_that_has_said_nothing_keeps_them() -> None:
    assert not found(["a", "b"], told("a", SINCE + 9, NEW))


def test_what_a_router_said_before_does_not_count() -> None:
    assert not found(["a"], told("a", SINCE - 1, NEW))
    assert not found(["a"], told("a", SINCE + 0.9, NEW)), "within the second that the stamp names"


@pytest.mark.parametrize(("clock_ahead", "free"), [(8.0, False), (-8.0, True), (0.0, True)])
def test_the_two_clocks_may_differ(clock_ahead: float, free: bool) -> None:
    assert bool(found(["a"], told("a", SINCE + 9, NEW), clock_ahead)) is free


def test_without_a_router_nobody_sends_anything() -> None:
    assert found([], []) == {OLD}


def test_routers_that_are_gone_are_not_waited_for() -> None:
    assert found(["b"], told("a", SINCE + 9, OLD) + told("b", SINCE + 9, NEW)) == {OLD}
