"""A model that gets few requests: in most looks one version has none, and still what is bad goes."""

from typing import Any

import pytest

from headgate.api.status import Rollout
from headgate.core.model import BaselineRate, NewSamples
from headgate.core.signals import rate
from headgate.core.signals.errors import ERRORS
from told import signals
from world import Behaviour, World, rollout_of, stored

LOOK = 5.0
HALF_A_DAY = 12 * 3600


def canary(
    requests: float,
    behaviour: Behaviour,
    rollout: dict[str, Any] | None = None,
    before: BaselineRate | None = None,
    stable: Behaviour | None = None,
) -> World:
    """A world whose second version has just got its first traffic."""
    world = World(interval=LOOK, rollout=rollout or {}, before=before or BaselineRate())
    world.ask("v1", stable or Behaviour()).settled("Stable")
    world.requests = requests
    world.ask("v2", behaviour)
    world.until("Canary")
    return world


def ended(world: World, seconds: int = HALF_A_DAY) -> Rollout:
    """Look every five seconds until the canary is decided."""
    for _ in range(int(seconds / LOOK)):
        plan = world.look(LOOK)
        if plan.status.phase != "Canary":
            return rollout_of(plan.status)
    return rollout_of(world.status)


@pytest.mark.parametrize(
    ("requests", "seed"), [(0.005, 1), (0.02, 1), (0.02, 2), (0.05, 1), (0.05, 2), (0.5, 1), (0.5, 2), (5.0, 1)]
)
def test_a_candidate_that_always_fails_goes_within_its_budget(requests: float, seed: int) -> None:
    world = World(interval=LOOK, seed=seed).ask("v1").settled("Stable")
    world.requests = requests
    world.ask("v2", Behaviour(failing=1.0)).until("Canary")
    rollout = ended(world)
    assert (rollout.phase, rollout.reason) == ("RollingBack", "ErrorsHigher")
    assert rollout.budget
    assert rollout.candidateRequests <= rollout.budget.total
    assert world.conditions["RolloutHealthy"].status == "False"
    assert signals(rollout.evidence).errors.candidateFailures == rollout.candidateRequests


def test_what_it_cost_is_told_at_once_and_not_when_stable_has_requests_too() -> None:
    world = canary(0.05, Behaviour(failing=1.0), rollout={"steps": [{"weight": 100, "hold": "1h"}]})
    for _ in range(200):
        evidence = signals(rollout_of(world.look(LOOK).status).evidence).errors
        if evidence.candidateAttempts >= 3:
            break
    assert evidence.waiting[:2] == [3, 3]
    rollout = rollout_of(world.status)
    assert rollout.candidateRequests == 3
    assert rollout.budget
    assert rollout.budget.spent == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize(
    ("weight", "known"), [(100, BaselineRate(90, 0, 1.0, 1800.0)), (99, BaselineRate(90, 0, 1.0, 1800.0))]
)
def test_a_candidate_that_gets_all_the_requests_goes_too(weight: int, known: BaselineRate) -> None:
    """Stable is hardly ever beside it, so it is compared with what stable was before."""
    known = BaselineRate(90, 0, 1.0, 1800.0)
    world = canary(0.05, Behaviour(failing=1.0), rollout={"steps": [{"weight": weight, "hold": "10h"}]}, before=known)
    rollout = ended(world)
    assert rollout.reason in {"ErrorsHigher", "RiskBudgetSpent"}
    assert rollout.candidateRequests <= 21


def test_a_good_candidate_stays() -> None:
    rollout = ended(canary(0.2, Behaviour(failing=0.05), stable=Behaviour(failing=0.05)), seconds=3600)
    assert rollout.phase == "Canary"
    assert signals(rollout.evidence).errors.candidateAttempts > 100


def test_a_candidate_whose_answers_are_all_slow_goes() -> None:
    world = canary(0.05, Behaviour(slow=1.0), rollout={"latency": {"threshold": "200ms", "margin": "1%"}})
    rollout = ended(world)
    assert (rollout.phase, rollout.reason) == ("RollingBack", "LatencyHigher")
    assert rollout.candidateRequests < 40


def test_a_candidate_that_predicts_something_else_goes() -> None:
    rollout = ended(canary(0.1, Behaviour(positive=1.0), stable=Behaviour(positive=0.0)))
    assert (rollout.phase, rollout.reason) == ("RollingBack", "PredictionsShifted")
    assert rollout.candidateRequests < 200


def test_the_weight_follows_nothing_that_waits() -> None:
    """Else the failures of a block that is not complete would decide how it goes on, and the bet on it were no bet."""
    one, other = (canary(0.05, Behaviour(failing=share), rollout={"maxWeight": 100}) for share in (0.0, 1.0))
    for _ in range(2000):
        weights, seen = zip(
            *((w.weight, ERRORS.state_in(rollout_of(w.status).evidence)) for w in (one, other)), strict=True
        )
        used = [rate.settled(e).candidateAttempts for e in seen]
        if any(used):
            break
        assert weights[0] == weights[1]
        one.look(LOOK)
        other.look(LOOK)
    assert any(used)


def test_an_operator_that_starts_anew_goes_on_with_what_waits() -> None:
    """`World` stores the status after every look as the API server does; here twice, and nothing is counted twice."""
    world = canary(0.05, Behaviour(failing=1.0))
    waited = False
    for _ in range(400):
        world.status = stored(stored(world.status))
        rollout = rollout_of(world.look(LOOK).status)
        waited = waited or bool(signals(rollout.evidence).errors.waiting)
        if rollout.phase != "Canary":
            break
    assert waited
    assert rollout.reason == "ErrorsHigher"
    rollouts = [plan.status.rollout for plan in world.plans if plan.status.rollout]
    measured = [seen for rollout in rollouts if (seen := signals(rollout.evidence).errors)]
    assert [e.candidateAttempts for e in measured] == sorted(e.candidateAttempts for e in measured)
    assert rollout.candidateRequests == signals(rollout.evidence).errors.candidateAttempts


def test_metrics_that_bring_nothing_make_nothing_older_or_newer() -> None:
    world = canary(0.05, Behaviour())
    for _ in range(400):
        world.look(LOOK)
        if signals(rollout_of(world.status).evidence).errors.waiting:
            break
    before = signals(rollout_of(world.status).evidence).errors
    world.quiet = True
    world.looks(10, LOOK)
    assert signals(rollout_of(world.status).evidence).errors == before
    world.quiet = False
    assert isinstance(world.observe().metrics, NewSamples)
