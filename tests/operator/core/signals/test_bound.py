"""A signal by a bound on the user's own gauge."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.api.spec import Spec
from headgate.core.model import BaselineRate
from headgate.core.signals import user_signals
from headgate.core.signals.bound import LONGEST_GAP, LOOKS, Bound, BoundState
from headgate.core.signals.signal import PASS
from headgate.core.user_queries import Asked
from told import through_json

NOW = 1_800_000_000.0
BACKLOG = {"name": "backlog", "query": "backlog", "max": 1, "for": "10s"}


def signal(**other: Any) -> Bound:
    model = {"version": "v1", "uri": "pvc://models/fraud/v1"}
    spec = Spec.model_validate({"model": model, "rollout": {"signals": [BACKLOG | other]}})
    (found,) = user_signals(spec)
    assert isinstance(found, Bound)
    return found


BOUND = signal()
SPEC = Spec.model_validate({"model": {"version": "v1", "uri": "pvc://models/fraud/v1"}})


def after(*readings: tuple[float, float | None], bound: Bound = BOUND, state: BoundState | None = None) -> BoundState:
    """Times in seconds and values; None where it could not be read."""
    state = state or bound.begin(SPEC, BaselineRate(), None)
    for at, value in readings:
        block = Asked(NOW + at, trouble="no series") if value is None else Asked(NOW + at, (value,))
        state = through_json(bound.fold(state, block, SPEC, 1.0, 5.0))
    return state


def passes(state: BoundState) -> bool:
    return state.logSafe >= PASS


def test_within_for_long_enough_it_passes_and_not_before() -> None:
    assert not passes(after(*((at, 1.0) for at in range(10))))
    assert passes(after(*((at, 1.0) for at in range(11))))


def test_a_few_readings_are_not_enough_however_long_they_take() -> None:
    far = [(at * 30.0, 0.0) for at in range(LOOKS)]
    assert not passes(after(*far[:-1]))
    assert passes(after(*far))


def test_beyond_for_long_enough_it_is_harm_and_not_before() -> None:
    assert not BOUND.is_harm(after(*((at, 2.0) for at in range(10))))
    state = after(*((at, 2.0) for at in range(11)))
    assert BOUND.is_harm(state)
    assert BOUND.harm(state, SPEC, "stable v1", "") == (
        "SignalOutOfBounds",
        "backlog of the candidate is 2, beyond its bound (at most 1) at 11 looks, for 10s or longer.",
    )


def test_one_reading_on_the_other_side_begins_anew() -> None:
    beyond = [(float(at), 2.0) for at in range(10)]
    assert not BOUND.is_harm(after(*beyond, (10, 1.0), (11, 2.0)))
    within = [(float(at), 1.0) for at in range(30)]
    assert not passes(after(*within, (30, 2.0)))
    assert not passes(after(*within, (30, 2.0), (31, 1.0)))


@pytest.mark.parametrize(("gap", "harm"), [(LONGEST_GAP, True), (LONGEST_GAP + 1, False)])
def test_a_time_without_a_reading_shows_nothing(gap: float, harm: bool) -> None:
    assert BOUND.is_harm(after((0, 2.0), (gap, 2.0))) == harm


@given(st.lists(st.sampled_from([None, 0.0, 2.0]), max_size=40))
def test_what_could_not_be_read_neither_passes_nor_ends_it(values: list[float | None]) -> None:
    state = after(*((float(at), value) for at, value in enumerate(values)), (50.0, None))
    assert (passes(state), BOUND.is_harm(state), BOUND.trouble(state)) == (False, False, "no series")


def test_a_smallest_value_is_a_bound_too() -> None:
    least = signal(max=None, min=5)
    assert least.is_harm(after((0, 4.0), (10, 4.9), bound=least))
    assert not least.is_harm(after((0, 5.0), (10, 6.0), bound=least))


def test_who_only_tells_ends_nothing() -> None:
    told = signal(required=False)
    state = after(*((at, 2.0) for at in range(20)), bound=told)
    assert (told.is_harm(state), told.is_due(state, SPEC)) == (False, False)
    assert told.passed(state, SPEC).startswith("Only told: backlog of the candidate is 2")


def test_what_was_seen_of_another_bound_counts_for_nothing() -> None:
    other = signal(max=3)
    state = after(*((at, 2.0) for at in range(11)))
    assert not other.is_harm(state)
    assert after((11, 4.0), bound=other, state=state).looks == 1


def test_when_the_candidate_alone_serves_it_is_still_watched() -> None:
    state = after((0, 2.0))
    assert BOUND.is_harm(BOUND.alone(state, Asked(NOW + 10, (2.0,)), SPEC, 0.01))
