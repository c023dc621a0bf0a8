"""What people ask for beside the spec: a command in this module, in a simulated rollout."""

from dataclasses import dataclass

from headgate.api.status import Status
from headgate.core.model import Command, Observation
from headgate.core.phases import phase_of, transitions
from world import Behaviour, World

BAD = Behaviour(failing=0.3)


@dataclass(frozen=True)
class Pause(Command):
    """Nothing goes on while it is there."""

    def obey(self, o: Observation, status: Status, now: float) -> Status | None:
        return status if status.rollout and phase_of(status.rollout).running else None


@dataclass(frozen=True)
class Abort(Command):
    """One version is not to be rolled out any further."""

    version: str
    user: str

    def obey(self, o: Observation, status: Status, now: float) -> Status | None:
        rollout = status.rollout
        if rollout is None or rollout.version != self.version or phase_of(rollout).outcome != "undecided":
            return None
        return transitions.roll_back(status, "Aborted", f"{self.user} has ended the rollout.", now)


def in_canary(behaviour: Behaviour | None = None) -> World:
    world = World().ask("v1").settled("Stable")
    world.ask("v2", behaviour).until("Canary")
    return world


def test_a_command_holds_a_rollout_until_it_is_taken_back() -> None:
    world = in_canary()
    world.commands = (Pause(),)
    before = world.routed()
    plans = world.looks(60)
    assert {plan.status.phase for plan in plans} == {"Canary"}
    assert world.routed() == before
    requests = world.status.rollout.candidateRequests if world.status.rollout else 0
    assert requests > 100, "what is served meanwhile counts"
    world.commands = ()
    world.settled("Stable")
    assert world.routed() == {"v2": 100}


def test_no_command_holds_back_a_rollback_for_harm() -> None:
    world = in_canary(BAD)
    world.commands = (Pause(),)
    assert world.until("RollingBack", limit=30).status.history[0].reason == "ErrorsHigher"


def test_a_command_rolls_back_and_the_spec_that_comes_after_it_is_not_followed_again() -> None:
    world = in_canary()
    world.commands = (Abort("v2", "ada"),)
    plan = world.look()
    assert (plan.status.phase, world.routed()) == ("RollingBack", {"v1": 100})
    assert plan.status.history[0].message == "ada has ended the rollout."
    world.settled("RolledBack")
    world.looks(30)
    assert world.status.phase == "RolledBack"
    world.ask("v3").settled("Stable")
    assert world.routed() == {"v3": 100}


def test_the_command_that_is_listed_first_counts() -> None:
    world = in_canary()
    world.commands = (Pause(), Abort("v2", "ada"))
    assert world.look().status.phase == "Canary"
    world.commands = (Abort("v2", "ada"), Pause())
    assert world.look().status.phase == "RollingBack"


def test_a_rollout_begins_with_metrics_that_were_read_for_it() -> None:
    """v3's pods are still there from before, so it is ready at once; what was read then was about v2."""
    world = World().ask("v1").settled("Stable")
    world.ask("v3").until("Canary")
    world.ask("v2").look()
    world.ask("v3")
    assert world.look(3.0).status.phase == "Pending", "v2 is ready by now"
    assert world.look().status.phase == "Canary"
