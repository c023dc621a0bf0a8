"""Rollouts with signals of the user's own."""

from dataclasses import replace
from typing import Any

import pytest

from interleavings import BACKLOG, CANCELLED
from world import Behaviour, World, rollout_of

HELD = "it has no series with headgate_revision=fraud-x"


def world_with(*signals: dict[str, Any], **rollout: Any) -> World:
    return World(rollout={"signals": list(signals), "soak": "1m", **rollout}).ask("v1").settled("Stable")


def healthy(world: World) -> tuple[str, str, str]:
    condition = world.conditions["RolloutHealthy"]
    return condition.status, condition.reason, condition.message


def test_a_good_version_passes_them_and_is_promoted() -> None:
    world = world_with(CANCELLED, BACKLOG)
    world.ask("v2").until("Promoting")
    (promoted, *_) = world.status.history
    assert promoted.reason == "EvidencePassed"
    assert "Not higher than stable by 5%: cancelled: " in promoted.message
    assert "backlog of the candidate is 0.5, within its bound" in promoted.message
    world.settled("Stable")
    assert world.routed() == {"v2": 100}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(Behaviour(cancelled=0.3), "SignalHigher"), (Behaviour(backlog=3), "SignalOutOfBounds")],
)
def test_a_bad_one_is_rolled_back_by_them(behaviour: Behaviour, reason: str) -> None:
    world = world_with(CANCELLED, BACKLOG)
    world.ask("v2", behaviour).until("RolledBack")
    assert rollout_of(world.status).reason == reason


def test_a_bound_is_kept_to_until_the_soak_is_over() -> None:
    world = world_with(BACKLOG)
    world.ask("v2").until("Soaking")
    world.behaviours["v2"] = Behaviour(backlog=3)
    world.until("RolledBack", limit=30)
    assert rollout_of(world.status).reason == "SignalOutOfBounds"


def test_a_soak_does_not_end_unseen() -> None:
    world = world_with(BACKLOG)
    world.ask("v2").until("Soaking")
    world.trouble = HELD
    world.looks(100)
    assert world.status.phase == "Soaking"
    assert healthy(world)[:2] == ("Unknown", "SignalUnavailable")
    world.trouble = ""
    world.until("Stable", limit=3)


def test_what_is_only_told_decides_nothing() -> None:
    world = world_with(*({**each, "required": False} for each in (CANCELLED, BACKLOG)))
    world.ask("v2", Behaviour(cancelled=0.5, backlog=9)).until("Promoting")
    evidence = rollout_of(world.status).evidence
    told = {name: evidence.of(name) for name in ("cancelled", "backlog")}
    assert all(entry and entry.weight == 0 for entry in told.values())
    cancelled = told["cancelled"]
    assert cancelled
    assert cancelled.logHarm > evidence.threshold
    assert "Only told: cancelled: " in world.status.history[0].message
    world.settled("Stable")


@pytest.mark.parametrize("signal", [CANCELLED, BACKLOG], ids=lambda signal: signal["name"])
def test_a_query_without_an_answer_holds_the_weight_and_is_told(signal: dict[str, Any]) -> None:
    world = world_with(signal)
    world.ask("v2").until("Canary")
    world.trouble = HELD
    world.looks(2)
    weight = world.weight
    world.looks(300)
    assert (world.status.phase, world.weight) == ("Canary", weight)
    status, reason, message = healthy(world)
    assert (status, reason) == ("Unknown", "SignalUnavailable")
    assert f"The signal {signal['name']} can't be read: {HELD}." in message
    world.trouble = ""
    world.until("Promoting")


def test_a_weight_can_still_fall_while_a_query_has_no_answer() -> None:
    world = world_with(CANCELLED, riskBudget=100, margins={"errors": "20%"})
    world.ask("v2").until("Canary")
    world.looks(5)
    before = world.weight
    world.trouble, world.behaviours["v2"] = HELD, Behaviour(failing=0.05)
    world.looks(3)
    assert world.status.phase == "Canary"
    assert before
    assert world.weight
    assert world.weight < before


def test_a_query_without_an_answer_holds_a_ladder_too() -> None:
    steps = [{"weight": 5, "hold": "10s"}, {"weight": 20, "hold": "10s"}]
    world = world_with(CANCELLED, steps=steps)
    world.ask("v2").until("Canary")
    world.trouble = HELD
    world.looks(60)
    assert (world.status.phase, world.weight) == ("Canary", 5)
    world.trouble = ""
    world.looks(2)
    assert world.weight == 20


def test_a_candidate_that_fails_goes_whatever_the_queries_say() -> None:
    world = world_with(CANCELLED)
    world.ask("v2", Behaviour(failing=0.5)).until("Canary")
    world.trouble = HELD
    world.until("RolledBack", limit=60)
    assert rollout_of(world.status).reason == "ErrorsHigher"


def test_one_that_is_only_told_holds_nothing_when_it_can_not_be_read() -> None:
    world = world_with(CANCELLED | {"required": False})
    world.ask("v2").until("Canary")
    world.trouble = HELD
    world.look()
    status, reason, message = healthy(world)
    assert (status, reason) == ("True", "Canary")
    assert message.endswith(f" The signal cancelled can't be read: {HELD}.")
    world.until("Promoting")


def test_a_query_that_never_answers_promotes_nobody_at_the_deadline() -> None:
    world = world_with(CANCELLED, deadline="1m", onDeadline="Promote")
    world.ask("v2").until("Canary")
    world.trouble = HELD
    world.looks(200)
    assert world.status.phase == "Canary"
    assert "can't be read" in world.conditions["Stalled"].message


def test_where_stable_answers_nothing_nobody_waits_for_its_counters() -> None:
    world = World(rollout={"signals": [CANCELLED]}).ask("v1", Behaviour(failing=1.0)).settled("Stable")
    world.ask("v2").until("Canary")
    world.trouble = HELD
    for _ in range(120):  # at its first weight it takes some time to see how bad stable is
        world.look()
    assert world.status.history[0].decision == "Promoted"
    assert "answers next to nothing" in world.status.history[0].message


def test_where_stable_answers_nothing_a_bound_has_to_be_kept_to_all_the_same() -> None:
    world = World(rollout={"signals": [BACKLOG]}).ask("v1", Behaviour(failing=1.0)).settled("Stable")
    world.ask("v2", Behaviour(backlog=9)).until("RolledBack")
    assert rollout_of(world.status).reason == "SignalOutOfBounds"


def test_counters_that_begin_anew_all_the_time_show_nothing() -> None:
    world = world_with(CANCELLED)
    world.ask("v2", Behaviour(cancelled=0.9)).until("Canary")
    world.looks(3)
    world.anew = True
    before = rollout_of(world.status).evidence.of("cancelled")
    world.looks(20)
    entry = rollout_of(world.status).evidence.of("cancelled")
    assert before
    assert entry
    assert (entry.logHarm, entry.logSafe, entry.counts) == (before.logHarm, before.logSafe, before.counts)


def test_their_share_of_alpha_is_fixed_when_the_canary_opens() -> None:
    world = world_with(CANCELLED, shadow={"enabled": False})
    world.ask("v2").until("Canary")
    shares = {each.name: each.weight for each in rollout_of(world.status).evidence.signals}
    assert shares["cancelled"] == shares["predictions"] < shares["errors"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    world.rollout = {**world.rollout, "signals": [CANCELLED | {"name": "other"}]}
    world.ask("v2").looks(3)
    entries = {each.name: each for each in rollout_of(world.status).evidence.signals}
    assert {name: each.weight for name, each in entries.items()} == shares
    assert entries["cancelled"].state == ""
    world.until("Promoting")


def test_one_that_is_required_no_more_decides_nothing_any_more() -> None:
    world = world_with(CANCELLED)
    world.ask("v2").until("Canary")
    world.rollout = {**world.rollout, "signals": [CANCELLED | {"required": False}]}
    world.ask("v2", Behaviour(cancelled=0.5)).until("Promoting")
    entry = rollout_of(world.status).evidence.of("cancelled")
    assert entry
    assert (entry.weight, entry.logHarm > 100) == (0, True)


def test_they_begin_with_the_canary_and_not_with_the_shadow() -> None:
    world = world_with(CANCELLED, shadow={"minAgreement": "98%"})
    world.ask("v2").until("Shadow")
    entry = rollout_of(world.status).evidence.of("cancelled")
    assert entry
    assert (entry.state, entry.weight > 0) == ("", True)
    world.until("Canary")
    world.looks(2)
    entry = rollout_of(world.status).evidence.of("cancelled")
    assert entry
    assert entry.state


def test_evidence_of_a_signal_that_nobody_knows_keeps_its_share() -> None:
    world = world_with()
    world.ask("v2").until("Canary")
    rollout = rollout_of(world.status)
    errors, *others = rollout.evidence.signals
    strange = replace(errors, name="strange", logHarm=50.0)
    evidence = replace(rollout.evidence, signals=[errors, strange, *others])
    world.status = replace(world.status, rollout=replace(rollout, evidence=evidence))
    world.look()
    entry = rollout_of(world.status).evidence.of("strange")
    assert entry
    assert (entry.weight, entry.logHarm, world.status.phase) == (errors.weight, 0, "Canary")
