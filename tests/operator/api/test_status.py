"""The status: small enough to read, and the same after it was stored."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.api.revision import as_manifest
from headgate.api.status import (
    EventEvidence,
    Evidence,
    LatencyEvidence,
    OutputEvidence,
    PredictionEvidence,
    RateEvidence,
    Status,
)

numbers = st.floats(-1e6, 1e6).map(lambda v: round(v, 6))
names = st.text(min_size=1, max_size=20)
events = st.builds(
    EventEvidence,
    event=names,
    candidate=st.integers(0, 10**9),
    stable=st.integers(0, 10**9),
    up=numbers,
    down=numbers,
    notUp=numbers,
    notDown=numbers,
)


def stored(model):
    """As the API server gives it back: JSON, with the keys of maps in order."""
    return type(model).model_validate(json.loads(json.dumps(as_manifest(model), sort_keys=True)))


@settings(deadline=None, max_examples=40)
@given(st.lists(numbers, max_size=7), st.lists(numbers, max_size=3))
def test_accumulators_survive_being_stored(harm, safe):
    seen = RateEvidence(accumulators=2, harm=harm, safe=safe)
    assert stored(seen) == seen


@settings(deadline=None, max_examples=40)
@given(st.lists(events, max_size=5, unique_by=lambda e: e.event))
def test_events_survive_being_stored(found):
    output = OutputEvidence(output="label", layout="l", events=sorted(found, key=lambda e: e.event))
    assert stored(output).events == output.events


def test_accumulators_are_lines_that_one_can_read_past():
    manifest = as_manifest(OutputEvidence(output="label", layout="l", events=[EventEvidence(event="is 1", up=1.5)]))
    assert manifest["events"] == {"is 1": "0 0 1.5 0.0 0.0 0.0"}
    found = as_manifest(RateEvidence(accumulators=2, harm=[1.5, -2.0]))
    assert found["state"].startswith("accumulators=2; history=; harm=1.5 -2.0; worse=; safe=; stake=0.0")
    assert "harm" not in found


def test_what_nobody_reads_is_one_line_for_each_signal():
    """`kubectl describe` shows a line for each field."""
    many = [EventEvidence(event=f"is {i}", candidate=i, up=0.5) for i in range(50)]
    outputs = [OutputEvidence(output=f"y{i}", layout="l", events=many) for i in range(20)]
    rate = RateEvidence(accumulators=2, candidateAttempts=5, harm=[1.5] * 12, waiting=[1, 0, 0, 0, 3.5])
    latency = LatencyEvidence(edge="100ms", **rate.model_dump())
    seen = Evidence(errors=rate, latency=latency, predictions=PredictionEvidence(outputs=outputs))
    assert stored(seen) == seen
    told = as_manifest(seen)
    for signal in ("errors", "latency", "predictions"):
        assert not [name for name, value in told[signal].items() if isinstance(value, dict | list)]
        assert len(told[signal]) <= 10


def test_the_weights_of_the_signals_survive_being_stored():
    for weights in ({}, {"errors": 1.0}, {"errors": 0.705882, "predictions": 0.294118}):
        assert stored(Evidence(weights=weights)).weights == weights
    assert as_manifest(Evidence(weights={"errors": 0.8, "latency": 0.2}))["weights"] == "errors=0.8 latency=0.2"


def test_an_empty_status_is_a_status():
    assert Status.model_validate({}) == Status()
    assert stored(Status()) == Status()


def test_what_a_newer_operator_wrote_is_passed_over():
    assert Status.model_validate({"phase": "Stable", "tomorrow": 1}).phase == "Stable"
