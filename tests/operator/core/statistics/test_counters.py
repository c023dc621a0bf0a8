"""From samples to events: every event once, whoever reads and whenever."""

import math
from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.api.contract import STARTED
from headgate.core.statistics.counters import (
    Reading,
    Series,
    gained_between,
    gained_by_window,
    read_since,
    restarts,
)

STALE = 30.0


def reading_since(cursor: float | None, all_series: Iterable[Series], stale_after: float) -> Reading:
    """What there has to be since `cursor`."""
    reading = read_since(cursor, all_series, stale_after)
    assert reading is not None
    return reading


def series(*samples: Any, target: str = "10.0.0.1:8003", **labels: Any) -> Series:
    return Series({"instance": target, **labels}, tuple((float(t), float(v)) for t, v in samples))


def total(reading: Reading) -> int:
    return sum(i.gained for i in reading.increments)


def test_a_counter_gains_what_it_rose_by() -> None:
    assert gained_between(((0, 5), (2, 9), (4, 20)), 0, 4) == 15


def test_the_start_is_outside_and_the_end_is_inside() -> None:
    samples = ((0, 0), (2, 1), (4, 10), (6, 100))
    assert gained_between(samples, 2, 4) == 9


def test_a_counter_that_was_reset_counts_from_zero() -> None:
    assert gained_between(((0, 50), (2, 60), (4, 3), (6, 7)), 0, 6) == 10 + 7


def test_a_large_count_that_goes_back_a_little_was_no_reset_and_counts_nothing_twice() -> None:
    samples = ((0, 1000), (2, 1010), (4, 1004), (6, 1012), (8, 1006), (10, 1020))
    assert gained_between(samples, 0, 10) == 20
    assert gained_by_window(samples, np.array([0.0, 5.0, 10.0])).tolist() == [10, 10]


def test_a_large_count_that_loses_more_than_half_was_reset() -> None:
    assert gained_between(((0, 1000), (2, 1010), (4, 30)), 0, 4) == 10 + 30


def test_a_series_that_appears_counts_from_its_beginning() -> None:
    old = series((0, 0), (2, 0), (4, 0), series="old")
    new = series((4, 7), series="new")
    assert {i.labels["series"]: i.gained for i in reading_since(0, [old, new], STALE).increments} == {
        "old": 0,
        "new": 7,
    }


def test_nothing_is_counted_without_a_cursor() -> None:
    reading = reading_since(None, [series((0, 5), (2, 9))], STALE)
    assert (reading.increments, reading.cursor) == ((), 2)


def test_nothing_new_is_nothing() -> None:
    assert read_since(2, [series((0, 5), (2, 9))], STALE) is None
    assert read_since(2, [], STALE) is None
    assert read_since(2, [Series({}, ())], STALE) is None


def test_a_gap_around_the_cursor_moves_the_cursor_and_counts_nothing() -> None:
    reading = reading_since(100, [series((400, 5000), (402, 5010))], STALE)
    assert (reading.increments, reading.cursor) == ((), 402)


def test_the_slowest_live_target_holds_the_cursor() -> None:
    fast = series((0, 0), (2, 2), (4, 4), (6, 6), target="a")
    slow = series((1, 0), (3, 3), target="b")
    reading = reading_since(1, [fast, slow], STALE)
    assert (reading.cursor, total(reading)) == (3, 2 + 3)


def test_a_dead_target_does_not_hold_the_cursor_for_ever() -> None:
    live = series(*((t, t) for t in range(0, 22, 2)), target="live")
    dead = series((1, 1), (3, 3), (5, 5), target="dead")
    assert reading_since(3, [live, dead], STALE).cursor == 20


def test_a_target_with_one_sample_holds_the_cursor_no_longer_than_what_is_stale() -> None:
    once = series((1, 1), target="once")
    held = [once, series(*((t, t) for t in range(0, 32, 2)), target="live")]
    freed = [once, series(*((t, t) for t in range(0, 34, 2)), target="live")]
    assert reading_since(0.5, held, STALE).cursor == 1
    assert reading_since(0.5, freed, STALE).cursor == 32


def test_what_a_target_counted_while_it_was_silent_is_counted_when_it_is_back() -> None:
    live = [(t, t) for t in range(0, 40, 2)]
    silent = [(1, 10), (3, 20), (5, 30)]
    first = reading_since(3, [series(*live[:12], target="a"), series(*silent, target="b")], STALE)
    assert first.cursor == 22
    back = reading_since(
        first.cursor, [series(*live, target="a"), series(*silent, (35, 90), (37, 95), target="b")], STALE
    )
    gained = {i.labels["instance"]: i.gained for i in back.increments}
    assert (back.cursor, gained["b"]) == (37, 65)


@pytest.mark.parametrize("label", ["instance", "pod"])
def test_a_target_is_an_instance_or_a_pod(label: str) -> None:
    assert Series({label: "x"}, ()).target == "x"


@st.composite
def streams(draw: Any) -> Any:
    """Targets that are scraped every few seconds, each with counters that are reset and series that appear late."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        every, offset = draw(st.sampled_from([1.0, 2.0, 5.0])), draw(st.floats(0, 0.9))
        born, dies = draw(st.sampled_from([0.0, 0.0, 40.0])), draw(st.sampled_from([150.0, 150.0, 70.0]))
        pause = draw(st.sampled_from([0.0, 0.0, 25.0]))
        times = [offset + born + every * i for i in range(int(150 / every))]
        times = [t for t in times if t < dies and not 90 <= t < 90 + pause]
        for name in range(draw(st.integers(1, 2))):
            steps = draw(st.lists(st.integers(0, 30), min_size=len(times), max_size=len(times)))
            resets = draw(st.sets(st.integers(1, 149), max_size=2))
            value, samples = 0.0, []
            for i, (t, step) in enumerate(zip(times, steps, strict=True)):
                value = step if i in resets else value + step
                samples.append((t, float(value)))
            late = 0 if name == 0 else draw(st.integers(0, 20))
            found.append(Series({"instance": f"target-{number}", "name": str(name)}, tuple(samples[late:])))
    return [s for s in found if s.samples]


def seen_at(now: float, stream: list[Any], since: float | None) -> list[Any]:
    """What Prometheus answers at `now`: the samples up to then, from a while before the cursor."""
    oldest = -1.0 if since is None else since - 60
    return [Series(s.labels, tuple(x for x in s.samples if oldest < x[0] <= now)) for s in stream]


@settings(max_examples=40, deadline=None)
@given(streams(), st.lists(st.floats(5, 150), min_size=1, max_size=20, unique=True))
def test_however_a_stream_is_split_into_readings_the_total_is_the_same(stream: list[Any], reads: list[Any]) -> None:
    cursor: float | None = None
    started, counted = None, 0
    for now in sorted(reads):
        reading = read_since(cursor, seen_at(now, stream, cursor), STALE)
        if reading is None:
            continue
        assert cursor is None or reading.cursor > cursor
        started = reading.cursor if started is None else started
        cursor = reading.cursor
        counted += total(reading)
    if cursor is not None:
        born: dict[str, float] = {}
        for s in stream:
            born[s.target] = min(born.get(s.target, s.samples[0][0]), s.samples[0][0])
        gained = [gained_between(s.samples, max(started or 0.0, born[s.target]), cursor) for s in stream]
        assert counted == sum(gained)


def test_a_target_that_was_silent_for_longer_than_is_looked_back_counts_from_its_first_sample() -> None:
    steady = Series({"instance": "a"}, tuple((float(t), float(t)) for t in range(1000, 1012)))
    back = Series({"instance": "b"}, ((1006.0, 50_000.0), (1007.0, 50_004.0), (1011.0, 50_010.0)))
    assert total(reading_since(1005.0, [steady, back], STALE)) == 6 + 10


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 20)), min_size=2, max_size=30), st.data())
def test_what_is_gained_before_and_after_a_point_adds_up(steps: list[Any], data: Any) -> None:
    t, value, samples = 0.0, 0.0, []
    for wait, step in steps:
        t, value = t + wait, value + step
        samples.append((t, value))
    middle = data.draw(st.floats(0, t))
    before, after = gained_between(tuple(samples), 0, middle), gained_between(tuple(samples), middle, t)
    assert before + after == samples[-1][1]
    assert before == ([0.0] + [v for _, v in samples])[bisect_right([s[0] for s in samples], middle)]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 20), st.booleans()), min_size=2, max_size=30))
def test_windows_gain_what_the_counter_gained_and_each_step_is_in_its_own(steps: list[Any]) -> None:
    t, value, samples = 0.0, 0.0, []
    for wait, step, reset in steps:
        t, value = t + wait, step if reset else value + step
        samples.append((t, float(value)))
    edges = np.arange(0.0, t + 3, 3)
    gained = gained_by_window(tuple(samples), edges)
    first = samples[0][0]
    expected = [gained_between(tuple(samples), max(first, a), max(first, b)) for a, b in pairwise(edges)]
    assert gained.tolist() == expected


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, -3.0])
def test_what_no_counter_can_have_is_passed_over(odd: float) -> None:
    samples = ((0.0, 5.0), (2.0, 9.0), (4.0, odd), (6.0, 11.0))
    assert gained_between(samples, 0, 6) == 6
    assert gained_between(((0.0, odd), (2.0, 3.0)), 0, 6) == 3
    assert gained_by_window(samples, np.array([0.0, 3.0, 6.0])).tolist() == [4, 2]


@pytest.mark.parametrize("samples", [(), ((1.0, 5.0),)])
def test_without_two_samples_a_counter_gained_nothing(samples: tuple[Any, ...]) -> None:
    assert gained_by_window(samples, np.array([0.0, 2.0, 4.0])).tolist() == [0, 0]


def up(*samples: Any, target: str = "10.0.0.1:8003") -> Series:
    return series(*samples, target=target, __name__="envoy_server_uptime")


def since(*samples: Any, target: str = "10.0.0.1:8003") -> Any:
    return series(*samples, target=target, __name__=STARTED)


FELL = series((0, 150), (10, 90), (20, 140))


@pytest.mark.parametrize(
    ("told", "gained"),
    [
        pytest.param([up((0, 500), (10, 4), (20, 14))], 140, id="Envoy has started anew"),
        pytest.param([since((0, 7), (10, 1009), (20, 1009))], 140, id="a process has started anew"),
        pytest.param([up((0, 500), (10, 510), (20, 520))], 0, id="Envoy has not"),
        pytest.param([up((0, 500), (10, 509), (20, 521))], 0, id="Envoy has not, and rounds"),
        pytest.param([up((0, 500), (10, 500), (20, 520))], 0, id="Envoy has not, and was busy"),
        pytest.param([since((0, 7), (10, 7), (20, 7))], 0, id="the process is the same"),
        pytest.param([up((0, 500), (10, 4), (20, 14), target="another")], 0, id="another has"),
        pytest.param([], 0, id="nothing is said"),
        pytest.param([up((10, 4), (20, 14))], 0, id="nothing was said before"),
        pytest.param([up((0, 500), (20, 14))], 140, id="nothing is said in between"),
    ],
)
def test_whether_a_count_that_falls_a_little_began_anew_is_told_by_the_process(told: list[Any], gained: int) -> None:
    reading = reading_since(0, [FELL, *told], STALE)
    assert [(i.labels, i.gained) for i in reading.increments if i.labels["instance"] == "10.0.0.1:8003"] == [
        (FELL.labels, gained)
    ]


def test_a_count_that_has_passed_its_old_height_since_the_restart_is_all_new() -> None:
    counter, told = series((0, 150), (10, 160)), up((0, 500), (10, 4))
    assert total(reading_since(0, [counter, told], STALE)) == 160
    assert gained_by_window(counter.samples, np.array([0.0, 10.0]), restarts([counter, told])["10.0.0.1:8003"]) == [160]


def test_a_pod_that_envoy_forgets_is_seen_without_a_restart() -> None:
    counter, told = series((0, 150), (10, 30)), up((0, 500), (10, 510))
    assert total(reading_since(0, [counter, told], STALE)) == 30


def test_each_revision_says_the_same_of_one_process() -> None:
    told = [
        Series({**up((0, 500), (10, 4)).labels, "headgate_revision": name}, ((0, 500.0), (10, 4.0))) for name in "ab"
    ]
    assert restarts(told) == {"10.0.0.1:8003": [10]}


@st.composite
def lives(draw: Any) -> Any:
    """A counter of a process that starts again and again, its uptime as Envoy tells it, and what it really counted."""
    every = draw(st.sampled_from([1.0, 2.0, 5.0, 15.0]))
    t, count, born, counted, lived = 1000.0, 0, 1000.0 - draw(st.floats(4, 500)), 0, 0
    counts, uptimes = [], []
    for _ in range(draw(st.integers(2, 25))):
        if t - born > 5 + every and draw(st.integers(0, 3)) == 0:
            born, count = t - draw(st.floats(0, 1)) * every * 0.9, 0
            lived += counted
        count += draw(st.integers(0, 400))
        counted = count
        flushed = max(born, t - draw(st.floats(0, 1)))
        counts.append((t, float(count)))
        uptimes.append((t, float(math.floor(flushed) - math.floor(born))))
        t += every
    return tuple(counts), tuple(uptimes), lived + counted


@given(lives())
@settings(max_examples=300)
def test_nothing_is_lost_and_nothing_counted_twice_however_often_a_process_starts(life: tuple[Any, ...]) -> None:
    counts, uptimes, counted = life
    told = restarts([Series({"instance": "a", "__name__": "envoy_server_uptime"}, uptimes)])
    assert gained_between(counts, 0, math.inf, told.get("a", ())) == counted
