"""The status: small enough to read, and the same after it was stored."""

import json
import math
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.api.status import SignalEvidence, Status
from headgate.api.stored import Stored, as_manifest
from headgate.core.signals import SIGNALS
from headgate.core.signals.predictions import PREDICTION_SHIFT, EventState, OutputState, PredictionState
from headgate.core.signals.rate import RateState
from headgate.core.signals.signal import Signal
from told import as_json, through_json

numbers = st.floats(-1e6, 1e6).map(lambda v: round(v, 6))
names = st.text(min_size=1, max_size=20)
events = st.builds(
    EventState,
    event=names,
    candidate=st.integers(0, 10**9),
    stable=st.integers(0, 10**9),
    up=numbers,
    down=numbers,
    notUp=numbers,
    notDown=numbers,
)

Read = TypeVar("Read", bound=Stored)
AnySignal = Signal[Any, Any]


def stored(model: Read) -> Read:
    """As the API server gives it back: JSON, with the keys of maps in order."""
    return model.read(json.loads(json.dumps(as_manifest(model), sort_keys=True)))


@settings(deadline=None, max_examples=40)
@given(st.lists(numbers, max_size=7), st.lists(numbers, max_size=3))
def test_accumulators_survive_being_stored(harm: list[float], safe: list[float]) -> None:
    seen = RateState(accumulators=2, harm=harm, safe=safe)
    assert through_json(seen) == seen


@settings(deadline=None, max_examples=40)
@given(st.lists(events, max_size=5, unique_by=lambda e: e.event))
def test_events_survive_being_stored(found: list[EventState]) -> None:
    seen = PredictionState(outputs=[OutputState(output="label", layout="l", events=found)])
    assert through_json(seen) == seen


def test_events_are_short() -> None:
    seen = PredictionState(outputs=[OutputState(output="label", layout="l", events=[EventState(event="is 1", up=1.5)])])
    assert '"events":{"is 1":"0 0 1.5 0.0 0.0 0.0"}' in as_json(seen)


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_what_nobody_reads_is_one_line_of_a_signals_entry(signal: AnySignal) -> None:
    """`kubectl describe` shows a line for each field."""
    entry = signal.entry(SignalEvidence(name=signal.name, weight=0.5), signal.state())
    assert signal.decoded(stored(entry)) == signal.state()
    manifest = as_manifest(entry)
    assert not [name for name, value in manifest.items() if isinstance(value, dict | list)]
    assert set(manifest) <= {"name", "weight", "verdict", "summary", "counts", "logHarm", "logSafe", "state"}


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
@pytest.mark.parametrize("state", ["7", "{", '{"logHarm": "much"}', "[]", "null"])
def test_a_state_in_another_form_begins_anew(signal: AnySignal, state: str) -> None:
    assert signal.decoded(SignalEvidence(name=signal.name, state=state)) == signal.state()


def test_counts_are_one_line() -> None:
    counted = PredictionState(candidateAnswers=1_200_000, stableAnswers=3, largestShift=-2.5)
    entry = PREDICTION_SHIFT.entry(SignalEvidence(name="predictions"), counted)
    assert entry.counts == "candidateAnswers=1200000 stableAnswers=3 largestShift=-2.5 logDiffers=0"


def test_numbers_that_are_not_finite_survive_being_stored() -> None:
    assert through_json(RateState(logHarm=math.inf, harm=[-math.inf])) == RateState(logHarm=math.inf, harm=[-math.inf])


def test_an_empty_status_is_a_status() -> None:
    assert Status.read({}) == Status()
    assert stored(Status()) == Status()


def test_what_a_newer_operator_wrote_is_passed_over() -> None:
    assert Status.read({"phase": "Stable", "tomorrow": 1}).phase == "Stable"
