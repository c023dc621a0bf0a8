"""Story 3: an artifact that is broken never gets a request, stable goes on, and the condition says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stories.clients import Clients
from stories.installation import Headgate
from stories.models import Model
from stories.seen import Condition, Seen
from stories.waiting import throughout
from stories.world import Artifact, World


class Broken(NamedTuple):
    """What is wrong, the reason that has to be given, and words that tell what to do."""

    artifact: Callable[[World], Artifact]
    reason: str
    advice: str


BROKEN = (
    Broken(World.with_wrong_digest, "DigestMismatch", "spec.model.digest is not its own"),
    Broken(World.missing, "ArtifactNotFound", "headgate digest FOLDER --write"),
    Broken(World.not_onnx, "ModelInvalid", "onnx.checker.check_model"),
)


def test_broken_versions_never_get_traffic_and_stable_goes_on(headgate: Headgate, namespace: str) -> None:
    good = headgate.world.artifact("v1")
    census = headgate.model(namespace)
    census.ask_for(good)
    live = census.until_stable("v1")
    serving = live.weights
    clients = Clients.of(census, rate=20)

    for broken in BROKEN:
        artifact = broken.artifact(headgate.world)
        census.ask_for(artifact)
        stalled = census.until(stalled_on(artifact.version), 60, f"{artifact.version} is stalled")
        says(stalled.condition("Stalled"), broken)
        assert stalled.condition("Ready").status == "True", "stable serves"
        throughout(census.look, lambda seen: seen.weights == serving and seen.stable == "v1", 3, "stable has it all")

    assert set(clients.state()["revisions"]) == set(serving)
    assert [decision for _, decision, _ in stalled.decisions] == ["Live", "Superseded", "Superseded"]

    census.ask_for(good)
    ended = census.until(lambda seen: seen.is_stable("v1") and not seen.rollout, 30, "the rollout has ended")
    assert ended.condition("Stalled").status == "False"
    assert ended.condition("Reconciling").status == "False"
    census.until(lambda _: census.revisions_with("apps/v1/deployments") == set(serving), 30, "broken pods are gone")
    assert set(clients.saw_no_failure()["revisions"]) == set(serving)


def test_a_first_version_that_is_broken_says_so_until_it_is_mended(headgate: Headgate, namespace: str) -> None:
    names = [f"census-{number}" for number, _ in enumerate(BROKEN)]
    models = [headgate.model(namespace, name, traffic={"routers": 1}) for name in names]
    for model, broken in zip(models, BROKEN, strict=True):
        model.ask_for(broken.artifact(headgate.world))

    for model, broken in zip(models, BROKEN, strict=True):
        seen = model.until(not_ready_for(broken.reason), 60, f"it is not ready: {broken.reason}")
        assert seen.condition("Ready").status == "False"
        says(seen.condition("Ready"), broken)
        assert seen.weights == {}, "there is nobody to serve"

    for model in models:
        model.ask_for(headgate.world.artifact("v1"))
    for model in models:
        mended(model)


def stalled_on(version: str) -> Callable[[Seen], bool]:
    def done(seen: Seen) -> bool:
        return seen.view.rollout_version == version and seen.condition("Stalled").status == "True"

    return done


def not_ready_for(reason: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.condition("Ready").reason == reason


def says(condition: Condition, broken: Broken) -> None:
    assert condition.reason == broken.reason
    assert broken.advice in condition.message, condition


def mended(model: Model) -> None:
    seen = model.until_stable("v1")
    assert seen.decisions[-1] == ("v1", "Live", "FirstVersion")
    only = set(seen.weights)
    model.until(lambda _: model.revisions_with("apps/v1/deployments") == only, 30, "the broken pods are gone")
