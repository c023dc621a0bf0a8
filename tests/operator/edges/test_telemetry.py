"""The operator's own metrics."""

from dataclasses import replace

import pytest
from prometheus_client import Gauge

from headgate.api.status import (
    Condition,
    Evidence,
    RevisionRef,
    Rollout,
    SignalEvidence,
    Status,
    TrafficTarget,
)
from headgate.core.signals import SIGNALS
from headgate.edges.telemetry import Telemetry

MODEL = {"headgate_namespace": "models", "headgate_model": "fraud"}
ROLLOUT = Rollout(
    revision="fraud-b",
    version="v2",
    phase="Canary",
    startedAt="2026-11-20T12:00:00Z",
    since="2026-11-20T12:00:00Z",
    evidence=Evidence(logHarm=1.5, signals=[SignalEvidence(name="errors", logSafe=2.5)]),
)
CANARY = Status(
    phase="Canary",
    stable=RevisionRef(revision="fraud-a", version="v1"),
    candidate=RevisionRef(revision="fraud-b", version="v2"),
    traffic=[
        TrafficTarget(revision="fraud-a", role="stable", weight=90),
        TrafficTarget(revision="fraud-b", role="candidate", weight=10),
    ],
    rollout=ROLLOUT,
)


def values(telemetry: Telemetry, name: str) -> dict[tuple[str, ...], float]:
    """Labels (without the model's) -> value of all samples of a metric."""
    return {
        tuple(v for k, v in sample.labels.items() if k not in MODEL): sample.value
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_a_rollout_is_shown() -> None:
    telemetry = Telemetry()
    telemetry.show("models", "fraud", CANARY)
    phases = values(telemetry, "headgate_rollout_phase")
    assert [p for p, value in phases.items() if value] == [("Canary",)]
    weights = values(telemetry, "headgate_traffic_weight")
    assert weights == {("fraud-a", "stable"): 90, ("fraud-b", "candidate"): 10}
    assert values(telemetry, "headgate_revision_info") == {
        ("fraud-a", "stable", "v1"): 1,
        ("fraud-b", "candidate", "v2"): 1,
    }
    evidence = values(telemetry, "headgate_evidence_log_e")
    assert (evidence["combined",], evidence["errors_safe",]) == (1.5, 2.5)


def test_what_is_over_is_shown_no_more() -> None:
    telemetry = Telemetry()
    telemetry.show("models", "fraud", CANARY)
    telemetry.show("models", "fraud", Status(phase="Stable", stable=CANARY.candidate))
    assert values(telemetry, "headgate_traffic_weight") == {}
    assert values(telemetry, "headgate_evidence_log_e") == {}
    assert list(values(telemetry, "headgate_revision_info")) == [("fraud-b", "stable", "v2")]


def test_every_signal_that_is_compared_is_shown() -> None:
    telemetry = Telemetry()
    entries = [SignalEvidence(name=signal.name, logHarm=i, logSafe=i + 0.5) for i, signal in enumerate(SIGNALS)]
    telemetry.show("models", "fraud", replace(CANARY, rollout=replace(ROLLOUT, evidence=Evidence(signals=entries))))
    evidence = values(telemetry, "headgate_evidence_log_e")
    for i, signal in enumerate(SIGNALS):
        assert (evidence[signal.name,], evidence[f"{signal.name}_safe",]) == (i, i + 0.5)


def test_conditions_are_shown_with_their_reason_and_only_the_present_one() -> None:
    telemetry = Telemetry()
    for value, reason in (("False", "NotStalled"), ("True", "OOMKilled")):
        told = {"type": "Stalled", "status": value, "reason": reason, "lastTransitionTime": "2026-11-20T12:00:00Z"}
        condition = Condition.read(told)
        telemetry.show("models", "fraud", replace(CANARY, conditions=[condition]))
    assert values(telemetry, "headgate_condition") == {("Stalled", "True", "OOMKilled"): 1}


def test_who_leads_no_more_tells_of_no_model() -> None:
    telemetry = Telemetry()
    telemetry.show("models", "fraud", CANARY)
    telemetry.forget_all()
    assert values(telemetry, "headgate_rollout_phase") == {}


def test_what_stays_the_same_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = Telemetry()
    telemetry.show("models", "fraud", CANARY)
    touched = []
    monkeypatch.setattr(Gauge, "labels", lambda *about: touched.append(about))
    monkeypatch.setattr(Gauge, "remove", lambda *about: touched.append(about))
    telemetry.show("models", "fraud", CANARY)
    assert touched == []


def test_a_model_is_forgotten_without_the_others() -> None:
    telemetry = Telemetry()
    for name in ("fraud", "churn"):
        telemetry.show("models", name, CANARY)
    telemetry.forget("models", "fraud")
    telemetry.forget("models", "never seen")
    labels = {**MODEL, "phase": "Canary"}
    assert telemetry.registry.get_sample_value("headgate_rollout_phase", labels) is None
    assert telemetry.registry.get_sample_value("headgate_rollout_phase", {**labels, "headgate_model": "churn"}) == 1
