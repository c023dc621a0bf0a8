"""Nothing that comes from outside makes a status large, and what is left out is said."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headgate.api.revision import DecisionRecord, RevisionStatus
from headgate.api.signal_rules import MOST_SIGNALS
from headgate.api.status import HistoryEntry, Retiring, RevisionRef, SignalEvidence, Status
from headgate.api.stored import as_manifest
from headgate.core.decide import decide
from headgate.core.phases import transitions
from headgate.core.phases.transitions import DRAIN_SECONDS, MOST_RETIRING
from headgate.core.revisions import DECISIONS_KEPT
from headgate.core.signals import predictions
from headgate.core.signals.predictions import (
    LONGEST_NAME,
    MOST_EVENTS,
    PREDICTION_SHIFT,
    PredictionBlock,
    PredictionState,
    fold,
)
from headgate.core.times import stamp
from interleavings import CANCELLED
from world import Behaviour, World, candidate_of, rollout_of

KIBIBYTE = 1024
LARGEST_STATUS = 32 * KIBIBYTE


def outputs(count: int, bins: int, most: int = 1000, name: str = "output") -> list[PredictionBlock]:
    random = np.random.default_rng(1)

    def counts() -> dict[str, int]:
        return {f"c{b:02} class-{b:02}": int(random.integers(0, most)) for b in range(bins)}

    return [PredictionBlock(f"{name}-{at:03}", "0123456789ab", counts(), counts()) for at in range(count)]


def events(state: PredictionState) -> int:
    return sum(len(output.events) for output in state.outputs)


def with_evidence(state: PredictionState) -> Status:
    """A status in which everything else is long, too."""
    world = World().ask("v1").settled("Stable")
    world.ask("v2").until("Canary")
    world.looks(3)
    status = world.status
    rollout = rollout_of(status)
    entry = PREDICTION_SHIFT.entry(SignalEvidence(name="predictions"), state)
    entries = [each for each in rollout.evidence.signals if each.name != "predictions"]
    evidence = replace(rollout.evidence, signals=[*entries, entry])
    message = "A message of a usual length, with figures such as 50 of 110 (45.45 %). " * 5
    past = HistoryEntry(
        time=stamp(0), version="v0", revision="fraud-0", decision="RolledBack", reason="X", message=message
    )
    return replace(status, rollout=replace(rollout, evidence=evidence), history=[past] * 10)


@pytest.mark.parametrize(("bins", "most"), [(2, 1000), (2, 3), (22, 1000), (22, 2)], ids=str)
def test_a_status_with_a_hundred_outputs_is_small(bins: int, most: int) -> None:
    state = PredictionState()
    for _ in range(5):
        state = fold(state, outputs(100, bins, most), 0.05, 5.0)
    assert len(json.dumps(as_manifest(with_evidence(state)))) <= LARGEST_STATUS
    assert events(state) <= MOST_EVENTS
    assert state.outputs, "as many as there is room for"


def test_a_status_with_all_the_users_signals_is_small() -> None:
    long = "s" * 39
    signals = [{**CANCELLED, "name": f"{long}{n}", "margin": "12.3456%"} for n in range(MOST_SIGNALS)]
    world = World(requests=1e6, rollout={"signals": signals}).ask("v1").settled("Stable")
    world.ask("v2").until("Canary")
    world.looks(5)
    world.trouble = "a word " * 60
    world.look()
    assert len(json.dumps(as_manifest(world.status))) <= LARGEST_STATUS


def test_outputs_without_room_are_named() -> None:
    state = fold(PredictionState(), outputs(100, 22), 0.05)
    assert [output.output for output in state.outputs] == [f"output-{at:03}" for at in range(MOST_EVENTS // 22)]
    assert state.leftOut[0] == f"output-{MOST_EVENTS // 22:03}"
    assert "TooManyBins" in PREDICTION_SHIFT.note(state, None)  # type: ignore[arg-type]
    assert PREDICTION_SHIFT.note(fold(PredictionState(), outputs(1, 22), 0.05), None) == ""  # type: ignore[arg-type]


def test_who_has_a_place_keeps_it() -> None:
    later = outputs(7, 22, name="later")
    state = fold(PredictionState(), later, 0.05)
    before = [output.output for output in state.outputs]
    state = fold(state, [*outputs(50, 22, name="earlier"), *later], 0.05)
    assert {output.output for output in state.outputs} == set(before)
    assert all(output.candidateAnswers for output in state.outputs)


@pytest.mark.parametrize("bins", [500, 25_000])
def test_bins_without_end_do_not_enter_the_status_and_hold_up_no_rollback(
    bins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = PredictionBlock("label", "0123456789ab", *({f"c{b:05} x": 1 for b in range(bins)},) * 2)
    state = fold(PredictionState(), [block], 0.05)
    assert (state.outputs, state.leftOut) == ([], ["label"])
    world = World().ask("v1").settled("Stable")
    world.ask("v2", Behaviour(failing=0.5)).until("Canary")
    counted = world._counted

    def with_bins(*args: Any) -> Any:
        found = counted(*args)
        predictions = replace(found.blocks["predictions"], outputs=(block,))
        return replace(found, blocks={**found.blocks, "predictions": predictions})

    monkeypatch.setattr(world, "_counted", with_bins)
    world.until("RollingBack", limit=10)
    assert len(json.dumps(as_manifest(world.status))) < LARGEST_STATUS


def test_bins_that_come_one_after_another_do_not_fill_it_either() -> None:
    state = PredictionState()
    for at in range(0, 2000, 10):
        bins = {f"c{b:05} x": 50 for b in range(at, at + 10)}
        state = fold(state, [PredictionBlock("label", "0123456789ab", bins, bins)], 0.05)
    assert events(state) <= MOST_EVENTS
    assert state.leftOut == ["label"]
    assert state.logSafe < 0, "nor does it pass"


def test_evidence_from_before_there_was_a_bound_goes_on_without_growing(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(predictions, "MOST_EVENTS", 10**9)
        state = fold(PredictionState(), outputs(10, 22), 0.05)
    counted, many = state.candidateAnswers, events(state)
    assert many > MOST_EVENTS
    state = fold(state, [*outputs(10, 22), *outputs(1, 22, name="new")], 0.05)
    assert (state.candidateAnswers, events(state)) == (2 * counted, many)
    assert state.leftOut == ["new-000"], "only what is new has no room"


def test_names_without_end_are_left_out() -> None:
    name = "x" * (LONGEST_NAME + 1)
    state = fold(PredictionState(), [PredictionBlock(name, "0123456789ab", {"c00 a": 9}, {"c00 a": 9})], 0.05)
    assert (state.outputs, state.leftOut) == ([], [name[:LONGEST_NAME]])


def test_the_last_decisions_are_kept_whole_and_the_others_counted() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2", Behaviour(failing=0.5)).until("Canary")
    candidate = candidate_of(world.status).revision
    record = DecisionRecord(time=stamp(0), decision="RolledBack", reason="X")
    view = world.revisions[candidate]
    many = [replace(record, time=stamp(at)) for at in range(DECISIONS_KEPT)]
    status = RevisionStatus(state="Candidate", decisions=many, earlierDecisions=3)
    world.revisions[candidate] = replace(view, status=status)
    plan = world.plans[-1]
    for _ in range(20):
        plan = decided(world)
        if plan.status.phase == "RollingBack":
            break
    after = plan.revisions[candidate].status
    assert (len(after.decisions), after.earlierDecisions, after.decided) == (DECISIONS_KEPT, 4, DECISIONS_KEPT + 4)
    assert after.decisions[:-1] == many[1:]
    assert after.decisions[-1].evidence


def decided(world: World) -> Any:
    """A look that may shorten a record."""
    world.now += 1
    plan = decide(world.observe(), world.now)
    world._apply(plan)
    return plan


def test_messages_are_cut() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2").until("Canary")
    status = transitions.roll_back(world.status, "X", "y" * 5000, world.now)
    assert len(status.history[0].message) == len(rollout_of(status).message) == 1000


def test_few_revisions_keep_pods_that_nobody_needs() -> None:
    retiring = [Retiring(revision=f"r{at}", since=stamp(at), onlyTried=True) for at in range(MOST_RETIRING + 5)]
    status = Status(retiring=retiring)
    late = DRAIN_SECONDS + len(retiring)
    assert transitions.drained(status, (), late).retiring == retiring[-MOST_RETIRING:]
    assert transitions.drained(status, (), 0.0).retiring == retiring, "none goes before it has finished what it has"
    few = Status(retiring=retiring[:MOST_RETIRING])
    assert transitions.drained(few, (), late) == few


def test_a_former_stable_version_keeps_its_pods_however_many_were_tried_since() -> None:
    """A router that has heard of nothing since sends it everything."""
    world = World().ask("v1").settled("Stable")
    first = world.status.stable
    assert first
    world.ask("v2").settled("Stable")
    second = world.status.stable
    assert second
    status = replace(world.status, retiring=[Retiring(revision=first.revision, since=stamp(world.now))])
    for _ in range(2 * MOST_RETIRING):
        world.now += 60
        status = transitions.drained(tried(status, f"tried-{world.now}", world.now), (), world.now)
    kept = transitions.drained(status, (), world.now + 60).retiring
    assert kept[0].revision == first.revision
    assert len(kept) == MOST_RETIRING
    status = transitions.drained(status, (first.revision,), world.now + 60)
    assert first.revision not in status.needed, "it goes as soon as the routers have left it"


def test_a_version_that_was_stable_is_known_as_such_when_it_is_tried_again() -> None:
    world = World().ask("v1").settled("Stable")
    first = world.status.stable
    assert first
    world.ask("v2").settled("Stable")
    status = tried(world.status, first.revision, world.now)
    assert not status.retiring[-1].onlyTried
    assert tried(world.status, "another", world.now).retiring[-1].onlyTried
    promoted = transitions.start(world.status, RevisionRef(revision="third", version="v3"), 1.0, world.now)
    promoted = transitions.promote(promoted, "EvidencePassed", "It passed.", 0.0, world.now)
    assert not transitions.roll_back(promoted, "X", "y", world.now).retiring[-1].onlyTried


def tried(status: Status, revision: str, now: float) -> Status:
    """Rolled out and back."""
    started = transitions.start(status, RevisionRef(revision=revision, version="v3"), 1.0, now)
    return transitions.roll_back(started, "X", "y", now)
