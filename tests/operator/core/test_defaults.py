"""What happens before and in a canary where the spec says nothing about it."""

from dataclasses import dataclass
from typing import Any

import pytest

from headgate.api.spec import Spec
from headgate.api.status import Evidence, SignalEvidence
from headgate.core.model import BaselineRate
from headgate.core.signals.latency import slow_after
from world import Behaviour, World, rollout_of

BUSY = BaselineRate(attempts=900_000, failures=0, seconds=1800.0)


def live(requests: float = 500.0, before: BaselineRate = BUSY, **world: Any) -> World:
    return World(requests=requests, before=before, **world).ask("v1").settled("Stable")


def shadow(world: World) -> SignalEvidence:
    found = rollout_of(world.status).evidence.of("shadow")
    assert found
    return found


def test_a_candidate_that_answers_no_copy_goes_before_it_has_a_user() -> None:
    world = live()
    world.ask("v2", Behaviour(silent=1.0)).until("RolledBack")
    assert rollout_of(world.status).reason == "ShadowFailing"
    assert all(t.weight == 100 for plan in world.plans for t in plan.status.traffic if t.role == "stable")


def test_one_that_answers_well_goes_on_though_it_answers_otherwise() -> None:
    world = live()
    world.ask("v2", Behaviour(agreeing=0.3)).until("Canary")
    assert "alike" in shadow(world).summary
    assert world.now - 1_800_000_000 < 60


@pytest.mark.parametrize(("requests", "fraction"), [(500.0, 4.0), (25.0, 80.0), (5.0, 100.0)])
def test_about_twenty_requests_a_second_are_copied(requests: float, fraction: float) -> None:
    world = live(requests, BaselineRate(round(1800 * requests), 0, seconds=1800.0))
    world.ask("v2").until("Shadow")
    assert world.status.traffic[-1].shadow == fraction


def test_with_little_traffic_the_canary_begins_after_a_while_and_it_is_said() -> None:
    world = live(0.05, BaselineRate(90, 0, seconds=1800.0))
    world.ask("v2").until("Shadow")
    began = world.now
    world.until("Canary")
    assert 120 < world.now - began < 130
    told = [plan.status.rollout.message for plan in world.plans if plan.status.rollout]
    assert any("copies within 2m, too few for a verdict" in message for message in told)


def test_without_traffic_there_is_no_shadow_and_no_alpha_is_kept_for_it() -> None:
    world = live(before=BaselineRate())
    world.ask("v2").until("Canary")
    assert rollout_of(world.status).evidence.of("shadow") is None


def test_without_a_shadow_the_canary_begins_at_once() -> None:
    world = live(rollout={"shadow": {"enabled": False}})
    world.ask("v2").until("Canary")
    assert "Shadow" not in {plan.status.phase for plan in world.plans}


def test_where_answers_have_to_agree_the_shadow_does_not_end_with_time() -> None:
    world = live(0.05, BaselineRate(90, 0, seconds=1800.0), rollout={"shadow": {"minAgreement": "98%"}})
    world.ask("v2").until("Shadow")
    world.looks(300)
    assert world.status.phase == "Shadow"


@dataclass(frozen=True)
class Times:
    """Stable's times before the rollout."""

    usual: float | None

    def failures(self) -> BaselineRate:
        return BaselineRate()

    def slow_answers(self, edge: float) -> BaselineRate:
        return BaselineRate()

    def time_of(self, part: float) -> float | None:
        return self.usual


def spec(**latency: Any) -> Spec:
    return Spec.model_validate({"model": {"version": "1", "uri": "file:///m"}, "rollout": {"latency": latency}})


@pytest.mark.parametrize(
    ("latency", "usual", "expected"),
    [
        ({}, 1.0, 0.005),
        ({}, 25.0, 0.05),
        ({}, None, None),
        ({"threshold": "200ms"}, 25.0, 0.2),
        ({"enabled": False}, 25.0, None),
        ({"enabled": False, "threshold": "200ms"}, 25.0, None),
    ],
)
def test_what_is_slow_the_spec_says_or_stable(latency: Any, usual: float | None, expected: float | None) -> None:
    assert slow_after(spec(**latency), Evidence(), Times(usual)) == expected


def test_what_is_slow_stays_what_it_was_when_the_canary_began() -> None:
    state = SignalEvidence(name="latency", weight=0.2, state='{"edge": "50ms"}')
    assert slow_after(spec(), Evidence(signals=[state]), Times(1000.0)) == 0.05
