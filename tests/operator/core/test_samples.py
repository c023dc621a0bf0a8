"""Of whose answers a monitor gets copies: those of custom engines, in every phase and role."""

from typing import Any

import pytest

from headgate.api.status import Status, TrafficTarget
from headgate.core.samples import with_samples
from world import Behaviour, World

CUSTOM = {"engine": "custom", "image": "registry.example/own:1"}


def asked(version: str, custom: bool, sample: str = "10%", **behaviour: Any) -> dict[str, Any]:
    """What `World.ask` takes for a version."""
    runtime = {"runtime": CUSTOM} if custom else {}
    return {"version": version, "behaviour": Behaviour(**behaviour), "monitoring": {"sample": sample}, **runtime}


def serving(custom: bool, **rollout: Any) -> World:
    return World(rollout=rollout).ask(**asked("v1", custom)).settled("Stable")


def samples(world: World) -> dict[str, Any]:
    return {world.version_of(t.revision): t.sample for t in world.status.traffic}


@pytest.mark.parametrize(
    ("stable", "candidate", "expected"),
    [
        (False, False, {"v1": None, "v2": None}),
        (False, True, {"v1": None, "v2": 10}),
        (True, False, {"v1": 10, "v2": None}),
        (True, True, {"v1": 10, "v2": 10}),
    ],
)
def test_each_version_has_the_sample_of_its_own_engine_in_every_phase(
    stable: bool, candidate: bool, expected: dict[str, Any]
) -> None:
    world = serving(stable, shadow={"fraction": "20%", "minPairs": 500, "minAgreement": "98%"})
    assert samples(world) == {"v1": expected["v1"]}
    world.ask(**asked("v2", candidate))
    for phase in ("Shadow", "Canary", "Promoting", "Soaking"):
        world.until(phase)
        assert samples(world) == expected, phase
    world.now += 600
    world.settled("Stable")
    assert samples(world) == {"v2": expected["v2"]}


def test_a_rollback_leaves_stable_its_sample() -> None:
    world = serving(custom=True)
    world.ask(**asked("v2", custom=True, failing=0.1)).until("RollingBack")
    assert samples(world) == {"v1": 10}


def test_another_sample_is_followed_at_once_and_is_no_new_version() -> None:
    world = serving(custom=True)
    world.ask(**asked("v2", custom=True)).until("Canary")
    revisions = set(world.revisions)
    world.ask(**asked("v2", custom=True, sample="0.02%")).look()
    assert samples(world) == {"v1": 0.1, "v2": 0.1}
    world.ask(**asked("v2", custom=True, sample="33.33%")).look()
    assert samples(world) == {"v1": 33.3, "v2": 33.3}
    assert set(world.revisions) == revisions


def test_the_engine_is_that_of_the_revision_not_of_the_spec() -> None:
    world = serving(custom=True)
    world.ask(**asked("v2", custom=False)).until("Pending")
    assert samples(world) == {"v1": 10}


def test_while_the_record_of_a_revision_is_not_known_its_sample_stays_what_it_was() -> None:
    traffic = [TrafficTarget(revision="fraud-00000000", role="stable", weight=100, sample=5)]
    assert with_samples(Status(traffic=traffic), {}, "10%").traffic[0].sample == 5
