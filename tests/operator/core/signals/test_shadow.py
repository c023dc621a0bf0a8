"""Stories of rollouts that begin with copies of requests."""

from typing import Any

import pytest

from headgate.api.spec import Spec
from headgate.core.signals.shadow import SHADOW as SIGNAL
from headgate.core.signals.shadow import PairState
from headgate.core.signals.signal import PairBlock
from told import counts, signals
from world import Behaviour, World, rollout_of

SHADOW = {"shadow": {"fraction": "10%", "minPairs": 500, "minAgreement": "98%"}}


def serving(**shadow: Any) -> World:
    """A world in which the first version is live, and the next has a shadow."""
    world = World(requests=500, rollout={"shadow": SHADOW["shadow"] | shadow})
    return world.ask("v1").settled("Stable")


def phases(world: World) -> list[Any]:
    """The phases that the last rollout went through."""
    found: list[Any] = []
    for plan in world.plans:
        if plan.status.phase not in found[-1:]:
            found.append(plan.status.phase)
    return found


def test_the_first_version_has_nothing_to_be_compared_with() -> None:
    assert phases(serving()) == ["Pending", "Stable"]


def test_a_candidate_that_agrees_gets_copies_then_traffic_and_is_promoted() -> None:
    world = serving().ask("v2")
    plan = world.until("Shadow")
    stable, candidate = plan.status.traffic
    assert (stable.weight, stable.shadow, candidate.weight, candidate.shadow) == (100, None, 0, 10)
    assert world.conditions["RolloutHealthy"].message.endswith("None has been compared yet.")
    assert ("Normal", "ShadowStarted") in [(e.type, e.reason) for e in plan.events]
    assert set(signals(rollout_of(plan.status).evidence).weights) == {"errors", "predictions", "shadow"}
    weights = signals(rollout_of(plan.status).evidence).weights
    plan = world.until("Canary")
    seen = signals(rollout_of(plan.status).evidence)
    assert seen.shadow.pairs >= 500
    assert seen.shadow.agreed == seen.shadow.pairs
    assert seen.shadow.verdict == "Pass"
    assert seen.weights == weights
    assert [t.shadow for t in plan.status.traffic] == [None, None]
    assert rollout_of(plan.status).countedFrom == rollout_of(plan.status).cursor
    world.until("Promoting")
    assert "copies were answered alike" in world.status.history[0].message
    assert signals(rollout_of(world.status).evidence).shadow == seen.shadow


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(agreeing=0.8), "ShadowDisagrees"),
        (Behaviour(silent=0.1), "ShadowFailing"),
        (Behaviour(silent=1.0), "ShadowFailing"),
    ],
)
def test_a_candidate_that_does_not_is_rolled_back_and_never_had_a_user(behaviour: Behaviour, reason: str) -> None:
    world = serving().ask("v2", behaviour)
    world.until("RollingBack")
    assert rollout_of(world.status).reason == reason
    assert all(plan.status.candidateWeight in (None, 0) for plan in world.plans)
    message = rollout_of(world.status).message
    assert "No user got its answers" in message
    assert "fewer alike than 98%" in message
    entry = world.status.history[0]
    assert (entry.decision, entry.candidateRequests, entry.seconds) == ("RolledBack", 0, 0)
    record = world.revisions[rollout_of(world.status).revision].status.decisions[-1]
    assert record.evidence
    assert counts(record.evidence, "shadow")["pairs"] == signals(rollout_of(world.status).evidence).shadow.pairs > 0
    assert signals(rollout_of(world.status).evidence).shadow.verdict == "Fail"
    assert world.settled("RolledBack").running() == {"v1"}


def test_just_at_the_minimum_nothing_is_decided_but_after_the_deadline_it_says_so() -> None:
    world = serving().ask("v2", Behaviour(agreeing=0.98))
    world.requests = 20
    world.until("Shadow")
    assert {plan.status.phase for plan in world.looks(100)} == {"Shadow"}
    assert world.conditions["Stalled"].status == "False"
    world.looks(2, seconds=7200)
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "DeadlineExceeded")
    assert "spec.rollout.shadow.fraction" in stalled.message


def test_too_few_pairs_open_no_canary_and_no_data_is_not_bad_data() -> None:
    world = serving(minPairs=100_000).ask("v2")
    world.until("Shadow")
    assert {plan.status.phase for plan in world.looks(60)} == {"Shadow"}
    seen = signals(rollout_of(world.status).evidence).shadow
    world.blind = True
    assert {plan.status.phase for plan in world.looks(60)} == {"Shadow"}
    assert world.conditions["RolloutHealthy"].reason == "MetricsUnavailable"
    assert signals(rollout_of(world.status).evidence).shadow == seen


def test_a_spec_that_asks_for_it_no_more_goes_on_to_the_canary_and_another_fraction_is_followed() -> None:
    world = serving(minPairs=100_000).ask("v2")
    world.until("Shadow")
    world.rollout = {"shadow": SHADOW["shadow"] | {"fraction": "0.01%", "minPairs": 100_000}}
    world.ask("v2").looks(2)
    assert (world.status.phase, world.status.traffic[-1].shadow) == ("Shadow", 0.1)
    world.rollout = {"shadow": {"enabled": False}}
    world.ask("v2").until("Canary", limit=3)
    assert "shadow" in signals(rollout_of(world.status).evidence).weights


def test_another_version_ends_the_shadow() -> None:
    world = serving(minPairs=100_000).ask("v2")
    world.until("Shadow")
    world.ask("v3").look()
    assert [t.shadow for t in world.status.traffic] == [None]
    assert world.status.history[0].decision == "Superseded"
    world.until("Shadow")
    assert signals(rollout_of(world.status).evidence).shadow.pairs == 0


def test_pods_that_crash_end_it() -> None:
    world = serving(minPairs=100_000).ask("v2")
    world.until("Shadow")
    world.crashed = frozenset({rollout_of(world.status).revision})
    world.until("RollingBack", limit=2)
    assert rollout_of(world.status).reason == "CandidateCrashing"


BY_DEFAULT = Spec.model_validate({"model": {"version": "v2", "uri": "pvc://models/fraud/v2"}})


def seen_by_default(pairs: int, *, failed: int = 0, few: int = 0) -> PairState:
    """Every answer is another one, as those of a model with scores only."""
    return SIGNAL.fold(PairState(), PairBlock(pairs, 0, failed, few), BY_DEFAULT, 1.0, 4.6)


def test_by_default_other_answers_pass_and_other_labels_for_most_rows_do_not() -> None:
    retrained, other = seen_by_default(90, few=6), seen_by_default(60, few=45)
    assert SIGNAL.is_enough(retrained, BY_DEFAULT)
    assert retrained.logHarm < 0
    assert not SIGNAL.is_enough(other, BY_DEFAULT)
    assert other.logHarm > 4.6
    reason, message = SIGNAL.harm(other, BY_DEFAULT, "v1", "E is large.")
    assert reason == "ShadowDisagrees"
    assert "Of 45 of 60 (75.00 %) of the requests most rows got another label" in message
    assert "spec.rollout.shadow.minAgreement" in message


def test_by_default_answers_that_are_no_good_are_told_as_such_and_take_a_handful() -> None:
    failing = seen_by_default(6, failed=6)
    assert failing.logHarm > 4.6
    assert SIGNAL.harm(failing, BY_DEFAULT, "v1", "E is large.")[0] == "ShadowFailing"


def test_labels_of_which_half_are_others_prove_nothing() -> None:
    assert seen_by_default(1000, few=480).logHarm < 4.6
