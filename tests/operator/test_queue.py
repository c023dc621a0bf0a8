"""The queue: each key once, one worker at a time, growing delays, nothing lost. Time is virtual."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.errors import KubernetesError, MetricsError, NamespaceTerminating
from headgate.queue import LONGEST_DELAY, Key, Order, Queue
from virtual_time import run

A, B, C = (Key("models", name) for name in "abc")


@pytest.fixture(autouse=True)
def silent(caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL, logger="headgate.queue")


@asynccontextmanager
async def working(queue: Any, do: Any, workers: int = 1) -> AsyncIterator[Any]:
    tasks = [asyncio.create_task(queue.work(do)) for _ in range(workers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Looks:
    """Work that remembers when it was done, and answers as it is told."""

    def __init__(self, clock: Callable[..., Any], takes: float = 0.0) -> None:
        self.clock, self.takes, self.start = clock, takes, clock()
        self.done: list[Any] = []
        self.answers: dict[Any, list[Any]] = defaultdict(list)
        self.running: set[Any] = set()

    async def __call__(self, key: Key) -> float | None:
        assert key not in self.running, "two workers on one key"
        self.running.add(key)
        self.done.append((round(self.clock() - self.start, 3), key))
        await asyncio.sleep(self.takes)
        self.running.remove(key)
        answer = self.answers[key].pop(0) if self.answers[key] else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def story(test: Any) -> Any:
    """Run an async story in virtual time."""

    def wrapped() -> None:
        run(test)

    wrapped.__name__ = test.__name__
    return wrapped


@story
async def test_a_key_that_was_added_many_times_is_worked_on_once(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    for _ in range(5):
        queue.add(A)
    assert len(queue) == 1
    async with working(queue, looks):
        await asyncio.sleep(10)
    assert looks.done == [(0, A)]


@story
async def test_the_earliest_comes_first(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    queue.add(A, after=3)
    queue.add(B, after=1)
    queue.add(C, after=2)
    async with working(queue, looks):
        await asyncio.sleep(10)
    assert looks.done == [(1, B), (2, C), (3, A)]


@story
async def test_an_earlier_time_wins_over_a_later_one(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    queue.add(A, after=30)
    queue.add(A, after=2)
    queue.add(A, after=7)
    async with working(queue, looks):
        await asyncio.sleep(100)
    assert looks.done == [(2, A)]


@story
async def test_an_event_wakes_a_worker_that_waits_for_a_later_key(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    queue.add(A, after=30)
    async with working(queue, looks):
        await asyncio.sleep(1)
        queue.add(B)
        queue.add(A)
        await asyncio.sleep(1)
    assert sorted(looks.done) == [(1, A), (1, B)]


@story
async def test_a_key_comes_back_when_its_work_says_so(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    looks.answers[A] = [5.0, 2.0, None]
    queue.add(A)
    async with working(queue, looks):
        await asyncio.sleep(100)
    assert looks.done == [(0, A), (5, A), (7, A)]


@story
async def test_failures_come_back_with_growing_delays(clock: Any) -> None:
    reasons: list[Any] = []
    queue, looks = Queue(clock, reasons.append), Looks(clock)
    looks.answers[A] = [MetricsError("no")] * 9 + [ValueError("bug")]
    queue.add(A)
    async with working(queue, looks):
        await asyncio.sleep(400)
    times = [t for t, _ in looks.done]
    waits = [round(b - a, 3) for a, b in pairwise(times)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, LONGEST_DELAY, LONGEST_DELAY, LONGEST_DELAY]
    assert reasons == ["MetricsUnavailable"] * 9 + ["ValueError"]


@story
async def test_a_success_ends_the_growth(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    looks.answers[A] = [MetricsError("no"), MetricsError("no"), 10.0, MetricsError("no"), None]
    queue.add(A)
    async with working(queue, looks):
        await asyncio.sleep(100)
    assert looks.done == [(t, A) for t in (0, 0.5, 1.5, 11.5, 12)]


@story
async def test_an_event_does_not_wait_for_the_delay_after_a_failure(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    looks.answers[A] = [MetricsError("no")] * 7
    queue.add(A)
    async with working(queue, looks):
        await asyncio.sleep(40)
        before = len(looks.done)
        queue.add(A)
        await asyncio.sleep(0.1)
    assert len(looks.done) == before + 1


@story
async def test_a_failing_key_does_not_hold_up_the_others(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    looks.answers[A] = [MetricsError("no")] * 20
    queue.add(A)
    async with working(queue, looks):
        await asyncio.sleep(60)
        queue.add(B)
        await asyncio.sleep(0.1)
    assert looks.done[-1] == (60, B)


@story
async def test_a_key_is_worked_on_by_one_worker_at_a_time(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock, takes=5)
    queue.add(A)
    async with working(queue, looks, workers=3):
        await asyncio.sleep(1)
        queue.add(A)
        queue.add(B)
        await asyncio.sleep(20)
    assert looks.done == [(0, A), (1, B), (5, A)]


@story
async def test_an_event_during_the_work_leads_to_another_look(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock, takes=5)
    queue.add(A)
    async with working(queue, looks):
        await asyncio.sleep(1)
        queue.add(A)
        await asyncio.sleep(20)
    assert looks.done == [(0, A), (5, A)]


@story
async def test_several_workers_work_on_several_keys_at_the_same_time(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock, takes=5)
    for key in (A, B, C):
        queue.add(key)
    async with working(queue, looks, workers=2):
        await asyncio.sleep(20)
    assert [t for t, _ in looks.done] == [0, 0, 5]


@story
async def test_work_that_is_cancelled_ends_the_worker(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock, takes=5)
    queue.add(A)
    async with working(queue, looks):
        await asyncio.sleep(1)
    assert looks.done == [(0, A)]
    assert len(queue) == 0


actions = st.lists(
    st.tuples(st.floats(0, 5), st.sampled_from([A, B, C]), st.sampled_from([0.0, 0.0, 1.0, 4.0])), max_size=30
)


@settings(max_examples=50, deadline=None)
@given(actions, st.integers(1, 4), st.sampled_from([0.0, 0.7, 3.0]))
def test_whatever_was_asked_for_is_looked_at_by_then_or_as_soon_as_a_worker_is_free(
    asked: list[Any], workers: int, takes: float
) -> None:
    async def play(clock: Any) -> None:
        queue, looks = Queue(clock), Looks(clock, takes)
        wanted = []
        async with working(queue, looks, workers):
            for wait, key, after in asked:
                await asyncio.sleep(wait)
                wanted.append((clock() - looks.start + after, clock() - looks.start, key))
                queue.add(key, after)
            await asyncio.sleep(200)
        assert len(queue) == 0
        for due, at, key in wanted:
            looked = [t for t, k in looks.done if k == key and t >= at - 0.001]
            assert looked, "a wake-up was lost"
            assert looked[0] <= due + takes * (3 + len(asked)) + 0.001
        assert len(looks.done) <= len(asked)

    run(play)


@story
async def test_it_is_known_how_long_the_oldest_key_has_been_due(clock: Any) -> None:
    queue = Queue(clock)
    assert queue.overdue() == 0
    queue.add(A, after=5)
    await asyncio.sleep(3)
    assert queue.overdue() == 0
    await asyncio.sleep(12)
    assert queue.overdue() == 10


@story
async def test_it_is_known_when_a_worker_last_came_to_an_end_well_or_not(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock, takes=1)
    looks.answers[A] = [MetricsError("no")]
    begun = queue.ended_at
    queue.add(A, after=4)
    async with working(queue, looks):
        await asyncio.sleep(5.2)
    assert queue.ended_at - begun == pytest.approx(5.0)


def test_a_namespace_that_is_being_deleted_is_not_worth_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="headgate.queue")

    async def fails(key: Any) -> None:
        raise NamespaceTerminating("it is being terminated") if key == A else MetricsError("no")

    async def told(clock: Any) -> None:
        queue = Queue(clock)
        queue.add(A)
        queue.add(B)
        async with working(queue, fails):
            await asyncio.sleep(0.1)

    run(told)
    assert [r.getMessage() for r in caplog.records] == ["models/b: no; again in 0.5 s"]


IDLE = [Key("idle", str(number)) for number in range(20)]


def ordered(clock: Any, workers: int = 4, apart: tuple[float, float] = (0.0, 0.0)) -> tuple[Queue, set[Key]]:
    """A queue, and the keys that are urgent in it."""
    urgent: set[Key] = set()
    return Queue(clock, order=Order(urgent.__contains__, workers, apart)), urgent


@story
async def test_what_is_urgent_is_not_behind_what_is_idle(clock: Any) -> None:
    queue, urgent = ordered(clock)
    looks = Looks(clock, takes=5)
    for key in IDLE:
        queue.add(key)
    async with working(queue, looks, workers=4):
        await asyncio.sleep(1)
        urgent.add(A)
        queue.add(A)
        await asyncio.sleep(1)
    assert looks.done[-1] == (1, A)
    assert len(looks.done) == 3, "half of the workers are never with idle keys"


@story
async def test_what_is_idle_is_not_forgotten_for_what_is_urgent(clock: Any) -> None:
    queue, urgent = ordered(clock)
    looks = Looks(clock, takes=1)
    urgent.update(IDLE)
    for key in IDLE:
        looks.answers[key] = [0.0] * 100
        queue.add(key)
    queue.add(A)
    async with working(queue, looks, workers=4):
        await asyncio.sleep(0.5)
    assert (0, A) in looks.done


@story
async def test_a_key_that_becomes_urgent_while_it_waits_moves_up(clock: Any) -> None:
    queue, urgent = ordered(clock, workers=1)
    looks = Looks(clock, takes=1)
    for key in IDLE:
        queue.add(key)
    urgent.add(IDLE[-1])
    queue.add(IDLE[-1], after=30)
    async with working(queue, looks):
        await asyncio.sleep(100)
    assert looks.done[0] == (0, IDLE[-1])
    assert len(looks.done) == len(IDLE)


@story
async def test_bursts_of_events_of_one_key_are_worked_on_together(clock: Any) -> None:
    queue, urgent = ordered(clock, apart=(0.2, 1.0))
    looks = Looks(clock)
    looks.answers[A], looks.answers[B] = [60.0] * 100, [60.0] * 100
    urgent.add(A)
    async with working(queue, looks, workers=4):
        for _ in range(200):
            queue.add(A)
            queue.add(B)
            await asyncio.sleep(0.05)
    times = {key: [t for t, k in looks.done if k == key] for key in (A, B)}
    assert (len(times[A]), len(times[B])) == (50, 10)
    assert times[A][0] == times[B][0] == 0, "the first event is worked on at once"


@story
async def test_a_failure_that_says_when_to_look_again_does_not_wait_longer(clock: Any) -> None:
    queue, looks = Queue(clock), Looks(clock)
    refused = KubernetesError("403")
    refused.again = 3.0
    looks.answers[A] = [refused] * 20
    queue.add(A)
    async with working(queue, looks):
        await asyncio.sleep(40)
    assert max(b - a for (a, _), (b, _) in pairwise(looks.done)) == 3
