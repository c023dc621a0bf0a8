"""Whole stories of `decide` in a simulated world."""

import json
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from headgate.api.spec import Spec
from headgate.api.status import Evidence
from headgate.api.stored import as_manifest
from headgate.core.decide import decide
from headgate.core.model import (
    BaselineRate,
    Drift,
    MetricsUnavailable,
    NewSamples,
    NoNewSamples,
    Observation,
    Plan,
    Problem,
    Workload,
)
from headgate.core.statistics.drift import FeatureDrift
from headgate.core.statistics.rates import AttemptBlock
from told import compared, signals
from world import DIGEST, Behaviour, World, budget_of, candidate_of, rollout_of, stable_of, stored

GOOD, BAD = Behaviour(), Behaviour(failing=0.1)

AGREEING = {"shadow": {"fraction": "10%", "minAgreement": "98%"}}
"""A shadow that takes some looks, for it waits for 500 pairs."""


def serving(first: str = "v1", behaviour: Behaviour = GOOD, **world: Any) -> World:
    """A world in which the first version is live."""
    return World(**world).ask(first, behaviour).settled("Stable")


def promoted(world: World, version: str = "v2", behaviour: Any = GOOD) -> World:
    """... and a second one has replaced it."""
    world.ask(version, behaviour)
    world.until("Soaking")
    world.now += 600
    return world.settled("Stable")


def decisions(world: World) -> list[Any]:
    return [(h.version, h.decision, h.reason) for h in world.status.history]


def events(world: World, since: int = 0) -> list[Any]:
    return [(e.type, e.reason) for plan in world.plans[since:] for e in plan.events]


def test_the_first_version_gets_all_the_traffic_when_it_is_ready() -> None:
    world = World().ask("v1")
    plan = world.look()
    assert (plan.status.phase, plan.status.traffic, plan.status.stable) == ("Pending", [], None)
    assert world.conditions["Ready"].reason == "Pending"
    world.until("Stable")
    assert world.routed() == {"v1": 100}
    assert decisions(world) == [("v1", "Live", "FirstVersion")]
    assert world.conditions["Ready"].status == "True"
    assert stable_of(world.status).digest == DIGEST
    assert events(world) == [("Normal", "RolloutStarted"), ("Normal", "Live")]


def test_the_scale_subresource_selects_the_pods_of_stable() -> None:
    world = serving()
    assert world.status.replicas == 1
    assert world.status.selector == f"headgate.dev/model=fraud,headgate.dev/revision={stable_of(world.status).revision}"


def test_a_good_candidate_is_promoted_and_nothing_is_restarted() -> None:
    world = serving()
    world.ask("v2")
    world.until("Canary")
    assert world.routed() == {"v1": 99, "v2": 1}
    world.until("Promoting")
    assert world.routed() == {"v1": 0, "v2": 100}
    assert stable_of(world.status).version == "v1"
    world.until("Soaking")
    assert world.running() == {"v1", "v2"}
    assert decisions(world)[0] == ("v2", "Promoted", "EvidencePassed")
    weights = [p.status.candidateWeight or 0.0 for p in world.plans if p.status.phase == "Canary"]
    assert all(b <= 2 * a for a, b in pairwise(weights))
    assert 10 < max(weights) <= 50


def test_the_old_pods_retire_after_the_soak_and_only_after_the_drain() -> None:
    world = serving()
    world.ask("v2")
    world.until("Soaking")
    assert all(p.status.phase == "Soaking" for p in world.looks(11, seconds=50))
    world.until("Stable", limit=20, seconds=5)
    assert world.routed() == {"v2": 100}
    assert stable_of(world.status).version == "v2"
    assert world.status.candidate is None
    assert world.running() == {"v1", "v2"}
    world.look(7)
    assert world.running() == {"v1", "v2"}
    world.look(1)
    assert world.running() == {"v2"}


def test_a_failing_candidate_is_rolled_back_with_the_traffic_in_the_same_write() -> None:
    world = serving()
    world.ask("v2", BAD)
    plan = world.until("RollingBack")
    assert world.routed() == {"v1": 100}
    rollout = rollout_of(plan.status)
    assert (rollout.reason, plan.status.history[0].decision) == ("ErrorsHigher", "RolledBack")
    assert rollout.candidateRequests < 1000
    assert "on the candidate failed" in rollout.message
    assert world.running() == {"v1", "v2"}
    assert world.conditions["RolloutHealthy"].reason == "ErrorsHigher"
    world.until("RolledBack", seconds=2)
    assert world.running() == {"v1"}
    assert world.status.candidate is None
    ready = world.conditions["Ready"]
    assert (ready.status, ready.reason) == ("False", "RolledBack")
    assert ("Warning", "RolledBack") in events(world)


def test_a_rollback_waits_for_nothing_and_nobody() -> None:
    world = serving()
    world.ask("v2", BAD)
    world.until("Canary")
    while decide(o := later(world), world.now + 1).status.phase == "Canary":
        world.look()
    asked = Spec.model_validate({"model": {"version": "v3", "uri": "file:///v3"}})
    nothing_works = replace(o, spec=asked, router=Workload(), workloads={name: Workload() for name in o.workloads})
    plan = decide(nothing_works, world.now + 1)
    assert [(t.revision, t.weight) for t in plan.status.traffic] == [(stable_of(o.status).revision, 100)]
    assert plan.status.history[0].decision == "RolledBack"


def later(world: World) -> Observation:
    """What the operator is going to see in a second."""
    world.now += 1
    o = world.observe()
    world.now -= 1
    return o


def test_what_is_known_of_stable_opens_the_canarys_evidence() -> None:
    world = serving(before=BaselineRate(5000, 20, 3.5))
    world.ask("v2")
    evidence = rollout_of(world.until("Canary").status).evidence
    assert signals(evidence).errors.history == [5000, 20, 3.5]
    assert signals(evidence).weights == pytest.approx(
        {"errors": 0.6 / 1.1, "predictions": 0.25 / 1.1, "shadow": 0.25 / 1.1}, abs=1e-5
    )
    assert (signals(evidence).errors.stableAttempts, signals(evidence).latency) == (0, None)


def test_a_stable_without_history_or_profile_opens_it_too() -> None:
    world = serving(behaviour=Behaviour(positive=None))
    world.ask("v2", Behaviour(positive=None))
    evidence = rollout_of(world.until("Canary").status).evidence
    assert (signals(evidence).errors.history, signals(evidence).weights) == ([0, 0, 1], {"errors": 1})


def test_where_stable_answers_nothing_a_version_that_answers_is_promoted_and_it_is_said() -> None:
    """There are no answers of stable for its predictions or times to be compared with."""
    world = serving(behaviour=Behaviour(failing=1.0), rollout=LATENCY)
    world.ask("v2")
    world.until("Promoting", limit=120)
    message = rollout_of(world.status).message
    assert "Nothing but failures was compared, for stable v1 answers next to nothing." in message


@pytest.mark.parametrize("behaviour", [Behaviour(failing=1.0), Behaviour(failing=0.2)])
def test_where_neither_answers_much_nothing_is_promoted(behaviour: Behaviour) -> None:
    world = serving(behaviour=Behaviour(failing=1.0))
    world.ask("v2", behaviour).until("Canary")
    assert {plan.status.phase for plan in world.looks(300)} == {"Canary"}


def test_a_stable_whose_failures_cluster_is_given_more_patience() -> None:
    needed = {}
    for dispersion in (1.0, 4.0):
        world = serving(before=BaselineRate(5000, 20, dispersion))
        world.ask("v2", BAD)
        needed[dispersion] = rollout_of(world.until("RollingBack").status).candidateRequests
    assert needed[4.0] > 1.5 * needed[1.0]


LATENCY = {"latency": {"threshold": "200ms", "margin": "2%"}}


def test_a_slow_candidate_is_rolled_back() -> None:
    world = serving(rollout=LATENCY, behaviour=Behaviour(slow=0.01), before=BaselineRate(5000, 50, 1.0))
    world.ask("v2", Behaviour(slow=0.3))
    assert signals(rollout_of(world.until("Canary").status).evidence).latency.history == [5000, 50, 1]
    rollout = rollout_of(world.until("RollingBack").status)
    assert rollout.reason == "LatencyHigher"
    assert "answers of the candidate took longer than 200ms" in rollout.message
    assert "worse by more than 2%" in rollout.message
    assert signals(rollout.evidence).latency.verdict == "Fail"
    assert rollout.candidateRequests < 500


def test_a_candidate_that_is_as_fast_is_promoted() -> None:
    world = serving(rollout=LATENCY, behaviour=Behaviour(slow=0.01))
    world.ask("v2", Behaviour(slow=0.01))
    world.until("Promoting")
    assert "Not slower by 2%" in world.status.history[0].message
    assert set(signals(rollout_of(world.status).evidence).weights) == {"errors", "predictions", "latency"}
    world.until("Soaking")
    judged = signals(rollout_of(world.status).evidence).latency
    world.behaviours["v2"] = Behaviour(slow=1.0)
    world.looks(20)
    assert world.status.phase == "Soaking"
    assert signals(rollout_of(world.status).evidence).latency == judged


def test_without_a_threshold_slow_answers_are_not_compared() -> None:
    world = serving()
    world.ask("v2", Behaviour(slow=1.0))
    world.until("Promoting")
    assert signals(rollout_of(world.status).evidence).latency is None


def test_as_long_as_no_answer_was_timed_a_candidate_is_not_promoted() -> None:
    world = serving(rollout=LATENCY, edge=None)
    world.ask("v2")
    world.until("Canary")
    world.looks(100)
    assert world.status.phase == "Canary"
    assert "the routers have timed none" in world.conditions["RolloutHealthy"].message
    world.edge = 200.0
    world.until("Promoting")


def test_a_threshold_that_the_routers_do_not_measure_is_told() -> None:
    world = serving(rollout={"latency": {"threshold": "210ms"}})
    world.ask("v2")
    world.until("Canary")
    message = world.conditions["RolloutHealthy"].message
    assert "longer than 200ms: the routers don't measure 210ms" in message
    assert signals(rollout_of(world.status).evidence).latency.edge == "200ms"
    world.edge = 210.0
    world.look()
    assert world.conditions["RolloutHealthy"].message.endswith("as the evidence allows.")


def test_a_threshold_that_is_taken_back_no_longer_holds_a_candidate_up() -> None:
    world = serving(rollout=LATENCY, edge=None)
    world.ask("v2")
    world.until("Canary")
    world.rollout = {"latency": {"enabled": False}}
    world.ask("v2")
    world.until("Promoting")
    assert signals(rollout_of(world.status).evidence).latency is None


def test_without_a_threshold_and_times_of_stable_nothing_is_waited_for() -> None:
    world = serving(rollout=LATENCY, edge=None)
    world.ask("v2")
    world.until("Canary")
    world.rollout = {}
    world.ask("v2")
    world.until("Promoting")


def test_a_threshold_that_comes_later_is_for_the_next_rollout() -> None:
    world = serving()
    world.ask("v2")
    world.until("Canary")
    world.rollout = LATENCY
    world.ask("v2")
    world.until("Promoting")
    assert signals(rollout_of(world.status).evidence).latency is None


def test_a_status_that_compares_slow_answers_without_a_share_of_alpha_only_has_to_pass() -> None:
    world = serving(rollout=LATENCY)
    world.ask("v2", Behaviour(slow=0.5))
    world.until("Canary")
    rollout, shares = rollout_of(world.status), {"errors": 0.7, "predictions": 0.3}
    entries = [replace(each, weight=shares.get(each.name, 0.0)) for each in rollout.evidence.signals]
    rollout = replace(rollout, evidence=replace(rollout.evidence, signals=entries))
    world.status = replace(world.status, rollout=rollout)
    world.looks(60)
    assert world.status.phase == "Canary"
    assert signals(rollout_of(world.status).evidence).latency.verdict == "Inconclusive"


def test_shifted_predictions_roll_back() -> None:
    world = serving()
    world.ask("v2", Behaviour(positive=0.3))
    plan = world.until("RollingBack")
    assert rollout_of(plan.status).reason == "PredictionsShifted"
    assert "margins.predictions" in rollout_of(plan.status).message


def test_a_shift_within_the_margin_is_promoted() -> None:
    world = serving()
    world.ask("v2", Behaviour(positive=0.11))
    world.until("Promoting")
    assert "No share of its predictions moved" in world.status.history[0].message


def test_without_a_profile_the_predictions_are_not_compared() -> None:
    world = serving(behaviour=Behaviour(positive=None))
    world.ask("v2", Behaviour(positive=None))
    world.until("Promoting")
    assert "Predictions were not compared" in world.status.history[0].message


def test_a_candidate_without_comparable_predictions_is_never_promoted() -> None:
    world = serving(rollout={"deadline": "5m"})
    world.ask("v2", Behaviour(positive=None))
    world.until("Canary")
    world.looks(40, seconds=10)
    assert world.status.phase == "Canary"
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "DeadlineExceeded")
    assert ("Warning", "DeadlineExceeded") in events(world)


def test_a_spent_risk_budget_rolls_back() -> None:
    world = serving(rollout={"riskBudget": 2, "margins": {"errors": "5%"}})
    world.ask("v2", Behaviour(failing=0.05))
    plan = world.until("RollingBack")
    assert rollout_of(plan.status).reason == "RiskBudgetSpent"
    assert budget_of(plan.status).spent >= 2


@pytest.mark.parametrize("behaviour", [GOOD, BAD])
def test_blind_metrics_hold_the_weight_and_decide_nothing(behaviour: Behaviour) -> None:
    world = serving()
    world.ask("v2", behaviour)
    world.until("Canary")
    weight, world.blind = world.weight, True
    world.looks(120, seconds=60)
    assert (world.status.phase, world.weight) == ("Canary", weight)
    healthy = world.conditions["RolloutHealthy"]
    assert (healthy.status, healthy.reason) == ("Unknown", "MetricsUnavailable")
    since, world.blind = len(world.plans), False
    assert events(world).count(("Warning", "MetricsUnavailable")) == 1
    world.until("Promoting" if behaviour is GOOD else "RollingBack")
    back = ("Normal", "MetricsAvailable")
    assert (back in events(world, since)) == (behaviour is GOOD)


def test_a_candidate_gets_no_traffic_while_the_metrics_are_blind() -> None:
    world = serving()
    world.blind = True
    world.ask("v2")
    world.looks(30)
    assert (world.status.phase, world.routed()) == ("Pending", {"v1": 100})
    assert world.conditions["RolloutHealthy"].reason == "MetricsUnavailable"


def test_blind_metrics_keep_the_old_version_warm() -> None:
    world = serving()
    world.ask("v2")
    world.until("Soaking")
    world.blind = True
    world.looks(5, seconds=600)
    assert world.status.phase == "Soaking"
    assert world.running() == {"v1", "v2"}


def test_a_candidate_that_turns_bad_while_soaking_is_rolled_back() -> None:
    world = serving()
    world.ask("v2")
    world.until("Soaking")
    world.behaviours["v2"] = BAD
    world.until("RollingBack")
    assert world.routed() == {"v1": 100}
    assert [d[1] for d in decisions(world)[:2]] == ["RolledBack", "Promoted"]


@pytest.mark.parametrize("phase", ["Canary", "Promoting", "Soaking"])
def test_by_old_samples_no_rollout_goes_on_but_it_can_end(phase: str) -> None:
    """After an outage what is newer may say that the candidate fails, and is read a part at a time."""
    world = serving()
    world.ask("v2").until(phase)
    weight, since = world.weight, rollout_of(world.status).since
    world.unread = True
    for plan in world.looks(4, seconds=600):
        assert (plan.status.phase, world.weight, rollout_of(plan.status).since) == (phase, weight, since)
        assert plan.requeue_after <= 0.1, "the rest is read at once"
    world.behaviours["v2"] = Behaviour(failing=0.9)
    world.until("RollingBack", limit=100, seconds=600)
    assert world.routed() == {"v1": 100}


def test_a_shadow_does_not_end_by_old_pairs() -> None:
    world = serving()
    world.rollout = AGREEING
    world.ask("v2").until("Shadow")
    world.unread = True
    assert all(plan.status.phase == "Shadow" for plan in world.looks(60, seconds=10))
    world.unread = False
    world.until("Canary")


def test_a_clock_that_is_set_back_delays_no_rollback_no_new_version_and_no_soak() -> None:
    world = serving()
    world.ask("v2", BAD).until("RollingBack")
    world.now -= 4000
    world.until("RolledBack", limit=20)
    world.ask("v3").until("Soaking")
    world.now -= 4000
    world.until("Stable", limit=130, seconds=5)
    assert world.routed() == {"v3": 100}


def test_a_candidate_without_ready_pods_gets_no_more_traffic() -> None:
    world = serving()
    world.ask("v2", Behaviour(failing=0.002)).until("Canary")
    before = world.weight
    world.behaviours["v2"] = Behaviour(starts_in=None)
    assert {plan.status.candidateWeight for plan in world.looks(60)} == {before}
    assert world.status.phase == "Canary"
    world.behaviours["v2"] = GOOD
    world.until("Promoting")


def test_a_canary_is_not_opened_for_pods_that_are_not_ready_any_more() -> None:
    world = serving(rollout=AGREEING)
    world.ask("v2").until("Shadow")
    world.behaviours["v2"] = Behaviour(starts_in=None)
    assert {plan.status.phase for plan in world.looks(100)} == {"Shadow"}


def test_a_version_that_passes_waits_for_all_of_its_pods_and_says_so() -> None:
    world = serving()
    world.ask("v2").until("Canary")
    world.some_ready = True
    world.looks(120)
    assert world.status.phase == "Canary"
    assert "It is promoted when its pods are ready: 1 of 2 are ready." in rollout_of(world.status).message
    world.some_ready = False
    world.until("Promoting", limit=5)


BY_TIME: dict[str, Any] = {"deadline": "10m", "margins": {"errors": "0.1%"}, "shadow": {"enabled": False}}
"""Too narrow a margin for a verdict within ten minutes."""


@pytest.mark.parametrize(("what", "decision"), [("Hold", ""), ("RollBack", "RolledBack"), ("Promote", "Promoted")])
def test_at_the_deadline_the_spec_says_what_becomes_of_a_canary(what: str, decision: str) -> None:
    equal = Behaviour(failing=0.001)
    world = serving(rollout=BY_TIME | {"onDeadline": what}, behaviour=equal, requests=5)
    world.ask("v2", equal).until("Canary")
    assert {plan.status.phase for plan in world.looks(59, seconds=10)} == {"Canary"}
    world.looks(2, seconds=10)
    if not decision:
        assert (world.status.phase, world.conditions["Stalled"].reason) == ("Canary", "DeadlineExceeded")
        return
    last = world.status.history[0]
    assert (last.version, last.decision, last.reason) == ("v2", decision, "DeadlineExceeded")
    assert f"spec.rollout.onDeadline is {what}" in last.message


def test_what_leans_to_harm_is_not_promoted_by_time_and_it_says_by_what() -> None:
    world = serving(rollout=BY_TIME | {"onDeadline": "Promote", "margins": {"errors": "0.5%"}}, requests=1)
    world.ask("v2", Behaviour(failing=0.02)).until("Canary")
    world.looks(65, seconds=10)
    assert world.status.phase == "Canary"
    assert "it may be worse by: errors" in world.conditions["Stalled"].message


def test_a_candidate_that_nobody_asked_anything_is_not_promoted_by_time() -> None:
    world = serving(rollout=BY_TIME | {"onDeadline": "Promote"}, requests=0)
    world.ask("v2").until("Canary")
    assert {plan.status.phase for plan in world.looks(70, seconds=10)} == {"Canary"}


def test_a_shadow_without_a_verdict_is_rolled_back_at_the_deadline_where_the_spec_says_so() -> None:
    world = serving(rollout=AGREEING | {"deadline": "10m", "onDeadline": "RollBack"}, requests=0.1)
    world.ask("v2").until("Shadow")
    world.looks(65, seconds=10)
    assert rollout_of(world.status).reason == "DeadlineExceeded"
    assert world.status.phase in ("RollingBack", "RolledBack")


def test_time_that_was_passed_over_is_none_of_the_soak() -> None:
    world = serving()
    world.ask("v2").until("Soaking")
    world.passed_over = True
    assert all(plan.status.phase == "Soaking" for plan in world.looks(3, seconds=3600))
    world.passed_over = False
    assert all(plan.status.phase == "Soaking" for plan in world.looks(11, seconds=50))
    world.until("Stable", limit=20, seconds=5)


@pytest.mark.parametrize("phase", ["Canary", "Promoting", "Soaking"])
def test_a_candidate_whose_pods_crash_is_rolled_back(phase: str) -> None:
    world = serving()
    world.ask("v2")
    world.until(phase)
    world.blind = True
    world.crashed = frozenset({candidate_of(world.status).revision})
    since = len(world.plans)
    plan = world.look()
    assert (plan.status.phase, rollout_of(plan.status).reason) == ("RollingBack", "CandidateCrashing")
    assert events(world, since) == [("Warning", "RolledBack"), ("Warning", "CrashLoopBackOff")]


@pytest.mark.parametrize(
    ("reason", "rolled_back"),
    [
        ("OOMKilled", True),
        ("ModelInvalid", True),
        ("DigestMismatch", True),
        ("ArtifactTooLarge", True),
        ("Unschedulable", False),
        ("ImagePullBackOff", False),
        ("ArtifactUnreachable", False),
    ],
)
def test_a_candidate_without_pods_is_rolled_back_where_the_version_is_to_blame(reason: str, rolled_back: bool) -> None:
    world = serving()
    world.ask("v2").until("Soaking")
    o = later(world)
    gone = Workload(1, 0, False, Problem(reason, "that is why", ends=2))
    plan = decide(replace(o, workloads={**o.workloads, rollout_of(o.status).revision: gone}), world.now + 1)
    assert (plan.status.phase == "RollingBack") == rolled_back
    still_there = replace(gone, ready=1)
    plan = decide(replace(o, workloads={**o.workloads, rollout_of(o.status).revision: still_there}), world.now + 1)
    assert plan.status.phase == "Soaking"


def test_a_new_spec_supersedes_a_canary() -> None:
    world = serving()
    world.ask("v2")
    world.until("Canary")
    world.ask("v3")
    plan = world.look()
    assert world.routed() == {"v1": 100}
    assert decisions(world)[0] == ("v2", "Superseded", "SpecChanged")
    assert (plan.status.phase, candidate_of(plan.status).version) == ("Pending", "v3")
    assert world.running() == {"v1", "v2", "v3"}
    world.looks(4, seconds=2)
    assert world.running() == {"v1", "v3"}
    world.until("Promoting")


def test_asking_for_stable_again_ends_the_rollout() -> None:
    world = serving()
    world.ask("v2")
    world.until("Canary")
    world.ask("v1")
    world.look()
    assert (world.routed(), world.status.rollout, world.status.candidate) == ({"v1": 100}, None, None)
    assert world.status.phase == "Stable"
    world.looks(5, seconds=2)
    assert world.running() == {"v1"}
    assert world.conditions["Ready"].status == "True"


def test_a_rejected_version_is_not_tried_again() -> None:
    world = serving()
    world.ask("v2", BAD).settled("RolledBack")
    world.behaviours["v2"] = GOOD
    before = len(world.plans)
    world.looks(20, seconds=30)
    assert world.status.phase == "RolledBack"
    assert events(world, before) == []
    world.ask("v2", runtime={"replicas": 3})
    world.looks(3)
    assert world.status.phase == "RolledBack"


def test_a_rejected_version_can_be_asked_for_again_after_another_one() -> None:
    world = serving()
    world.ask("v2", BAD).settled("RolledBack")
    world.ask("v1").looks(2)
    assert world.conditions["Ready"].status == "True"
    world.ask("v2", GOOD)
    world.until("Promoting")


def test_a_candidate_that_is_never_ready_is_given_up_at_the_deadline_and_stable_is_untouched() -> None:
    problem = Problem("Unschedulable", "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    world = serving(rollout={"deadline": "10m"})
    world.ask("v2", Behaviour(starts_in=None, problem=problem))
    world.looks(61, seconds=10)
    assert (world.status.phase, world.routed()) == ("Pending", {"v1": 100})
    assert world.conditions["Stalled"].reason == "Unschedulable"
    plan = world.look(10)
    assert (plan.status.phase, rollout_of(plan.status).reason) == ("RollingBack", "NeverReady")
    assert "Insufficient nvidia.com/gpu" in rollout_of(plan.status).message
    assert plan.status.history[0].seconds == 0
    assert world.routed() == {"v1": 100}


def test_the_first_version_is_waited_for_without_end() -> None:
    world = World().ask("v1", Behaviour(starts_in=None))
    world.looks(5, seconds=7200)
    assert world.status.phase == "Pending"
    world.behaviours["v1"] = GOOD
    world.until("Stable")


def test_a_wrong_digest_never_gets_traffic_and_is_told_in_the_conditions() -> None:
    problem = Problem("DigestMismatch", "pvc://models/fraud/v2 has digest sha256:12, not sha256:ab.")
    world = serving()
    world.ask("v2", Behaviour(starts_in=None, problem=problem))
    world.looks(20, seconds=60)
    assert world.routed() == {"v1": 100}
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "DigestMismatch")
    assert problem.message in stalled.message
    assert world.conditions["Ready"].status == "True"
    assert ("Warning", "DigestMismatch") in events(world)


def test_a_first_version_with_a_wrong_digest_is_not_ready_and_says_why() -> None:
    problem = Problem("DigestMismatch", "it is not what was asked for")
    world = World().ask("v1", Behaviour(starts_in=None, problem=problem))
    world.looks(3)
    ready = world.conditions["Ready"]
    assert (ready.status, ready.reason, ready.message) == ("False", "DigestMismatch", problem.message)


def test_a_ladder_is_climbed_step_by_step() -> None:
    steps = [{"weight": 5, "hold": "20s"}, {"weight": 12.25, "hold": "10s"}, {"weight": 50, "hold": "10s"}]
    world = serving(rollout={"steps": steps})
    world.ask("v2")
    world.until("Promoting")
    held: dict[Any, Any] = {}
    for plan in world.plans:
        if plan.status.phase == "Canary":
            held[plan.status.candidateWeight] = held.get(plan.status.candidateWeight, 0) + 1
    assert list(held) == [5, 12.2, 50]
    assert held[5] == 20
    assert held[12.2] == 10
    assert held[50] >= 10


def test_a_candidate_whose_input_was_renamed_is_rolled_back_and_the_message_says_why() -> None:
    world = serving(rollout={"riskBudget": 20})
    world.ask("v2", Behaviour(refusing=1.0))
    rollout = rollout_of(world.until("RollingBack", limit=60).status)
    assert rollout.reason == "ErrorsHigher"
    refused = rollout.candidateRequests
    assert 0 < refused <= 100
    assert f"{refused} of {refused} (100.00 %) attempts on the candidate failed" in rollout.message
    assert f"of them {refused} refused or invalid where stable v1 answered" in rollout.message


def test_a_ladder_does_not_save_a_bad_candidate() -> None:
    world = serving(rollout={"steps": [{"weight": 50, "hold": "1h"}]})
    world.ask("v2", BAD)
    assert rollout_of(world.until("RollingBack", limit=30).status).reason == "ErrorsHigher"


def test_a_changed_spec_while_soaking_settles_first() -> None:
    world = serving()
    world.ask("v2")
    world.until("Soaking")
    world.ask("v3")
    plan = world.look()
    assert (stable_of(plan.status).version, candidate_of(plan.status).version) == ("v2", "v3")
    assert world.routed() == {"v2": 100}
    assert world.running() == {"v1", "v2", "v3"}


def test_two_changes_of_the_spec_in_one_moment_retire_both_candidates() -> None:
    world = serving()
    world.ask("v2")
    world.until("Canary")
    world.ask("v3").look(0)
    world.ask("v4").look(0)
    assert {world.version_of(r.revision) for r in world.status.retiring} == {"v2", "v3"}
    world.settled("Promoting")
    assert world.running() == {"v1", "v4"}


def test_going_back_to_the_old_version_while_it_is_still_warm_is_as_fast_as_a_rollback() -> None:
    world = serving()
    world.ask("v2")
    world.until("Soaking")
    world.ask("v1")
    world.look()
    assert (world.status.phase, stable_of(world.status).version, world.status.candidate) == ("Stable", "v1", None)
    assert [(t.role, t.weight) for t in world.status.traffic] == [("stable", 100)]
    assert (world.status.history[0].decision, world.status.history[0].version) == ("Superseded", "v2")


def test_no_traffic_is_no_evidence() -> None:
    world = serving(requests=0.0)
    world.ask("v2")
    world.until("Canary")
    world.looks(20)
    assert (world.status.phase, world.weight) == ("Canary", 1)


def test_quiet_metrics_change_nothing() -> None:
    world = serving()
    world.ask("v2")
    world.until("Canary")
    world.quiet = True
    before = world.status
    world.looks(10)
    assert world.status == before


@pytest.mark.parametrize("end", ["Stable", "RolledBack", "Promoted"])
def test_an_idle_object_stays_byte_identical(end: str) -> None:
    world = serving()
    if end == "RolledBack":
        world.ask("v2", BAD).settled("RolledBack")
    if end == "Promoted":
        promoted(world)
    world.look(30)
    before = json.dumps(as_manifest(world.status), sort_keys=True)
    records = {name: as_manifest(v.status) for name, v in world.revisions.items()}
    for plan in world.looks(5, seconds=3600):
        assert json.dumps(as_manifest(plan.status), sort_keys=True) == before
        assert plan.events == ()
    assert {name: as_manifest(v.status) for name, v in world.revisions.items()} == records


def test_drift_is_told_and_never_rolls_back() -> None:
    world = serving()
    world.drift = Drift((FeatureDrift("age", 1000, 0.5, 0.2), FeatureDrift("job", 1000, 0.1, 0.2)))
    world.look()
    condition = world.conditions["DriftDetected"]
    assert (condition.status, condition.reason) == ("True", "InputsDrifted")
    assert ": age." in condition.message
    world.drift = None
    world.look()
    assert world.conditions["DriftDetected"] == condition
    world.ask("v2")
    world.until("Promoting")
    world.drift = Drift((FeatureDrift("age", 1000, 0.1, 0.2),))
    world.look()
    assert world.conditions["DriftDetected"].reason == "NoDrift"


def test_a_stable_version_without_a_profile_says_so() -> None:
    world = serving()
    world.drift = Drift()
    world.look()
    assert world.conditions["DriftDetected"].reason == "NoProfile"


def test_a_change_of_the_number_of_pods_is_no_rollout() -> None:
    world = serving()
    world.ask("v1", runtime={"replicas": 5}).look()
    assert rollout_of(world.status).phase == "Stable"
    assert world.status.candidate is None


def test_only_the_newest_decisions_are_kept_in_the_status() -> None:
    world = serving()
    for i in range(12):
        world.ask(f"bad-{i}", BAD)
        world.until("Canary")
    assert len(world.status.history) == 10
    assert all(h.decision == "Superseded" for h in world.status.history)


def test_looks_are_frequent_while_users_are_exposed_and_rare_when_idle() -> None:
    world = serving()
    assert world.look(30).requeue_after == 30
    world.ask("v2")
    world.until("Canary")
    assert world.look().requeue_after == 1


def test_pods_stay_until_every_router_has_left_them_and_the_user_can_go_on_meanwhile() -> None:
    world = World(routers_follow=False).ask("v1")
    world.until("Stable")
    world.ask("v2", BAD)
    world.until("RolledBack")
    world.looks(120)
    assert world.running() == {"v1", "v2"}
    assert world.conditions["Stalled"].reason == "ErrorsHigher"
    waits = world.conditions["PodsReleased"]
    assert (waits.status, waits.reason) == ("False", "WaitingForRouters")
    assert world.status.retiring[0].revision in waits.message
    assert ("Warning", "WaitingForRouters") in events(world)
    world.ask("v3").until("Canary")
    assert world.running() == {"v1", "v2", "v3"}
    world.routers_follow = True
    world.look()
    assert world.running() == {"v1", "v3"}


def test_the_first_version_is_not_live_before_a_router_sends_it_requests() -> None:
    world = World(router=Workload(2, 0)).ask("v1")
    world.looks(10)
    assert (world.status.phase, world.routed()) == ("Pending", {"v1": 100})
    assert world.status.stable is None
    ready = world.conditions["Ready"]
    assert (ready.status, ready.message) == ("False", "v1 is ready; waiting for a router that sends it requests.")
    world.router = Workload(2, 1)
    world.looks(3)
    assert world.status.phase == "Pending", "the nodes need a moment to learn that the router is there"
    world.router = Workload(2, 1, available=1)
    world.look()
    assert (world.status.phase, world.conditions["Ready"].status) == ("Stable", "True")


def test_a_router_that_can_not_start_is_said() -> None:
    problem = Problem("ErrImagePull", "no such image")
    world = World(router=Workload(2, 0, False, problem)).ask("v1")
    world.looks(10)
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "ErrImagePull")
    assert stalled.message == "The router: no such image"


def test_a_first_version_that_no_router_follows_is_said_after_the_deadline() -> None:
    world = World(router=Workload(2, 0), rollout={"deadline": "1m"}).ask("v1")
    world.looks(40, seconds=2.0)
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "DeadlineExceeded")
    assert "fraud-router" in stalled.message


def test_a_spec_that_changes_before_the_first_version_is_live_takes_its_place() -> None:
    world = World(router=Workload(2, 0)).ask("v1")
    world.looks(10)
    world.ask("v2").looks(10)
    assert world.routed() == {"v2": 100}
    world.router = Workload(2, 2, True, available=2)
    world.look()
    assert (world.status.phase, stable_of(world.status).version) == ("Stable", "v2")


def promoting(world: World, seconds: int, metrics: MetricsUnavailable | NewSamples | NoNewSamples) -> Plan:
    """What is decided when the promotion has lasted so long."""
    o = later(world)
    return decide(replace(o, metrics=metrics), seconds + datetime.fromisoformat(rollout_of(o.status).since).timestamp())


def test_a_promotion_says_which_routers_it_waits_for_and_goes_on_without_them() -> None:
    world = serving()
    world.ask("v2").until("Promoting")
    behind = compared(world.now + 1, AttemptBlock(50, 0, 50, 0), behind=("fraud-router-x",))
    early = promoting(world, 30, behind).status
    assert next(c for c in early.conditions if c.type == "Stalled").status == "False"
    plan = promoting(world, 70, behind)
    stalled = next(c for c in plan.status.conditions if c.type == "Stalled")
    assert (plan.status.phase, stalled.status, stalled.reason) == ("Promoting", "True", "RoutersBehind")
    assert "fraud-router-x" in stalled.message
    world.status = stored(plan.status)
    again = promoting(world, 72, NoNewSamples())
    assert next(c for c in again.status.conditions if c.type == "Stalled").message == stalled.message
    plan = promoting(world, 301, behind)
    assert plan.status.phase == "Soaking"
    assert {world.version_of(name) for name in plan.replicas} == {"v1", "v2"}


def test_a_promotion_without_metrics_goes_on_too_and_says_what_is_not_known() -> None:
    world = serving()
    world.ask("v2").until("Promoting")
    plan = promoting(world, 70, MetricsUnavailable("Prometheus can't be asked."))
    stalled = next(c for c in plan.status.conditions if c.type == "Stalled")
    assert (plan.status.phase, stalled.reason) == ("Promoting", "RoutersBehind")
    assert "nobody knows" in stalled.message
    plan = promoting(world, 301, MetricsUnavailable("Prometheus can't be asked."))
    assert plan.status.phase == "Soaking"
    assert {world.version_of(name) for name in plan.replicas} == {"v1", "v2"}


@pytest.mark.parametrize("reason", ["Unschedulable", "ErrImagePull", "CrashLoopBackOff"])
def test_a_problem_that_may_pass_is_none_to_give_up_for(reason: str) -> None:
    """A node that an autoscaler brings takes a minute; kstatus says Failed at once where Stalled is true."""
    world = serving()
    world.ask("v2", Behaviour(starts_in=None, problem=Problem(reason, "that is why", ends=1))).looks(5)
    reconciling = world.conditions["Reconciling"]
    assert (reconciling.status, world.conditions["Stalled"].status) == ("True", "False")
    assert "that is why" in reconciling.message
    world.looks(60, seconds=2.0)
    assert (world.conditions["Stalled"].status, world.conditions["Stalled"].reason) == ("True", reason)


def test_what_a_version_is_to_blame_for_is_said_at_once() -> None:
    world = serving()
    world.ask("v2", Behaviour(starts_in=None, problem=Problem("DigestMismatch", "another one", ends=1))).looks(2)
    assert (world.conditions["Stalled"].status, world.conditions["Stalled"].reason) == ("True", "DigestMismatch")


def test_drift_is_an_event_after_a_rollback_as_well() -> None:
    world = serving()
    world.ask("v2", BAD).until("RolledBack")
    since = len(world.plans)
    world.drift = Drift((FeatureDrift("age", 5000, 0.4, 0.1),))
    world.look()
    assert events(world, since) == [("Warning", "InputsDrifted")]


def test_a_soak_that_can_not_end_is_said() -> None:
    world = serving(rollout={"soak": "10s", "deadline": "1m"})
    world.ask("v2").until("Soaking")
    world.blind = True
    world.looks(40, seconds=2.0)
    assert world.status.phase == "Soaking"
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "DeadlineExceeded")
    assert "metrics" in stalled.message


@pytest.mark.parametrize("phase", ["Canary", "Promoting", "Soaking"])
@pytest.mark.parametrize("reason", ["CrashLoopBackOff", "OOMKilled", "ServingCrashed"])
def test_a_single_crash_may_have_been_the_nodes(phase: str, reason: str) -> None:
    world = serving()
    world.ask("v2").until(phase)
    o = replace(later(world), metrics=NoNewSamples())
    gone = Workload(1, 0, False, Problem(reason, "exit status 137", ends=1))
    candidate = rollout_of(o.status).revision
    assert decide(replace(o, workloads={**o.workloads, candidate: gone}), world.now + 1).status.phase == phase
    assert gone.problem
    again = replace(gone, problem=replace(gone.problem, ends=2))
    plan = decide(replace(o, workloads={**o.workloads, candidate: again}), world.now + 1)
    assert (plan.status.phase, rollout_of(plan.status).reason) == ("RollingBack", "CandidateCrashing")


def test_a_rollback_is_a_failure_for_those_who_read_conditions_alone() -> None:
    world = serving()
    world.ask("v2", BAD).until("RolledBack")
    told = {type_: (c.status, c.reason) for type_, c in world.conditions.items()}
    assert told["Stalled"] == ("True", "ErrorsHigher")
    assert told["Reconciling"] == ("False", "Stalled")
    assert "v2 was rolled back" in world.conditions["Stalled"].message


def test_pods_that_stay_though_no_router_says_so_are_told_after_the_first_rollout() -> None:
    world = World(routers_follow=False, rollout={"soak": "10s"}).ask("v1")
    world.until("Stable")
    world.ask("v2").until("Stable")
    world.looks(60, seconds=2.0)
    waits = world.conditions["PodsReleased"]
    assert (waits.status, waits.reason) == ("False", "WaitingForRouters")
    assert "agent-metrics" in waits.message
    told = [world.conditions[type_].status for type_ in ("Ready", "Reconciling", "Stalled")]
    assert told == ["True", "False", "False"], "users miss nothing, and the next rollout can begin"


def test_a_version_that_is_ready_and_can_not_be_judged_is_said_after_the_deadline() -> None:
    world = serving(rollout={"deadline": "1m"})
    world.blind = True
    world.ask("v2").looks(40, seconds=2.0)
    stalled = world.conditions["Stalled"]
    assert (world.status.phase, stalled.status, stalled.reason) == ("Pending", "True", "DeadlineExceeded")
    assert "no metrics" in stalled.message


@pytest.mark.parametrize("phase", ["Promoting", "Soaking"])
def test_who_has_the_traffic_says_whether_it_is_ready(phase: str) -> None:
    world = serving()
    world.ask("v2").until(phase)
    o = replace(later(world), metrics=NoNewSamples())
    stable, candidate = stable_of(o.status).revision, candidate_of(o.status).revision
    gone = Workload(1, 0)

    def ready(without: Any) -> Any:
        plan = decide(replace(o, workloads={**o.workloads, without: gone}), world.now + 1)
        return next((c.status, c.message) for c in plan.status.conditions if c.type == "Ready")

    assert ready(stable) == ("True", "v2 is serving.")
    assert ready(candidate) == ("False", "No pod of the version v2, which has the traffic, is ready.")


def test_what_the_api_server_refuses_for_some_time_is_said() -> None:
    world = serving()
    o = replace(world.observe(), refused=Problem("ChildRefused", "403 exceeded quota"))
    conditions = {c.type: c for c in decide(o, world.now).status.conditions}
    assert (conditions["Stalled"].status, conditions["Stalled"].reason) == ("True", "ChildRefused")
    assert "403 exceeded quota" in conditions["Stalled"].message


def of_an_older_operator(world: World) -> World:
    """The status lost its evidence: an earlier version kept it in another form."""
    world.status = stored(replace(world.status, rollout=replace(rollout_of(world.status), evidence=Evidence())))
    return world


@pytest.mark.parametrize("steps", [[], [{"weight": 50, "hold": "1s"}]])
def test_a_canary_of_an_older_operator_begins_anew_and_is_judged(steps: list[Any]) -> None:
    for behaviour, phase in ((Behaviour(failing=0.5), "RolledBack"), (Behaviour(), "Promoting")):
        world = serving(rollout={"steps": steps})
        world.ask("v2", behaviour).until("Canary")
        of_an_older_operator(world).until(phase)


@pytest.mark.parametrize("phase", ["Promoting", "Soaking"])
def test_what_is_promoted_already_goes_on_being_judged(phase: str) -> None:
    world = serving(rollout={"soak": "10m"})
    world.ask("v2").until(phase)
    of_an_older_operator(world).behaviours["v2"] = Behaviour(failing=0.5)
    world.until("RollingBack", limit=60)


def test_a_budget_does_not_forget_what_was_spent_when_evidence_begins_anew() -> None:
    world = serving(rollout={"margins": {"errors": "20%"}})
    world.ask("v2", Behaviour(failing=0.05)).until("Canary")
    world.looks(5)
    spent, requests = budget_of(world.status).spent, rollout_of(world.status).candidateRequests
    of_an_older_operator(world)
    world.quiet = True
    world.look()
    assert budget_of(world.status).spent == spent
    world.quiet = False
    world.look()
    assert rollout_of(world.status).candidateRequests >= requests


def test_latency_that_is_taken_out_and_put_back_keeps_its_share_of_alpha() -> None:
    world = serving(rollout=LATENCY | AGREEING)
    world.ask("v2", Behaviour(slow=0.9)).until("Shadow")
    weights = signals(rollout_of(world.status).evidence).weights
    world.rollout = AGREEING
    world.ask("v2").look()
    world.rollout = LATENCY | AGREEING
    world.ask("v2").look()
    assert signals(rollout_of(world.status).evidence).weights == weights
    assert rollout_of(world.until("RollingBack").status).reason == "LatencyHigher"


def test_a_spec_that_flips_during_a_shadow_begins_with_a_reading_of_its_own() -> None:
    world = serving(rollout=AGREEING)
    world.ask("v2").until("Shadow")
    weights = signals(rollout_of(world.status).evidence).weights
    world.ask("v3").look()
    world.ask("v2").until("Shadow")
    assert signals(rollout_of(world.status).evidence).weights == weights
