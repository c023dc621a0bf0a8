"""Story 9: the user changes their mind in mid-canary, twice. Nothing fails, and nothing of it is left."""

from __future__ import annotations

from stories.clients import Clients
from stories.installation import Headgate
from stories.models import Model, ladder
from stories.seen import Seen


def test_a_canary_is_superseded_and_the_next_one_is_called_off(headgate: Headgate, namespace: str) -> None:
    models = headgate.world.artifact
    census = headgate.model(namespace, **ladder((20, "10m")))
    census.ask_for(models("v1"))
    live = census.until_stable("v1")
    clients = Clients.of(census)
    census.ask_for(models("v2"))
    first = census.until_canary("v2")

    census.ask_for(models("v2", version="v2-mended"))
    second = census.until_canary("v2-mended")
    stable, candidate = live.revision_of("v1"), second.revision_of("v2-mended")
    assert second.decisions[-1] == ("v2", "Superseded", "SpecChanged")
    assert second.weights == {stable: 80.0, candidate: 20.0}
    assert second.rollout["startedAt"] > first.rollout["startedAt"]
    only_these_are_left(census, {stable, candidate})

    census.ask_for(models("v1"))
    back = census.until(lambda seen: seen.is_stable("v1") and not seen.rollout, 30, "v1 is all there is")
    assert back.decisions[-1] == ("v2-mended", "Superseded", "SpecChanged")
    assert back.weights == {stable: 100.0}
    assert roles(back) == ("v1", "-")
    assert back.condition("RolloutHealthy").reason == "NoRollout"
    assert back.condition("Reconciling").status == "False"
    only_these_are_left(census, {stable})
    assert [census.record_of(version)["status"]["state"] for version in ("v1", "v2", "v2-mended")] == [
        "Stable",
        "Retired",
        "Retired",
    ]
    clients.saw_no_failure()


def roles(seen: Seen) -> tuple[str, str]:
    return seen.view.stable, seen.view.candidate


def only_these_are_left(census: Model, revisions: set[str]) -> None:
    """No pods, Deployments and Services of other revisions."""

    def tidy(seen: Seen) -> bool:
        left = [census.revisions_with(path) for path in ("apps/v1/deployments", "v1/services", "v1/pods")]
        return not seen.status.get("retiring") and left == [revisions] * 3

    census.until(tidy, 90, f"there is nothing but {revisions}")
