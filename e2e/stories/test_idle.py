"""Story 7: nothing happens, and Headgate writes nothing: no status, no annotation, no finalizer, no spec ever."""

from __future__ import annotations

import time

import yaml

from stories.clients import Clients
from stories.installation import Headgate
from stories.seen import Seen

MINUTES = 5.0
RATE = 10.0


def test_a_model_that_is_left_alone_stays_as_it_is_for_five_minutes(headgate: Headgate, namespace: str) -> None:
    model = headgate.model(namespace)
    model.ask_for(headgate.world.artifact("v1"), "--server-side")
    model.until_stable("v1")
    clients = Clients.of(model, rate=RATE)
    before = model.until(lambda seen: seen.condition("DriftDetected").status == "False", 60, "its inputs are judged")

    time.sleep(60 * MINUTES)

    seen = model.look()
    assert whole(seen) == whole(before)
    assert "annotations" not in seen.raw["metadata"]
    assert "finalizers" not in seen.raw["metadata"]
    assert seen.condition("DriftDetected").status == "False", "the census of today is the one of the profile"
    assert clients.saw_no_failure()["totals"]["ok"] > 60 * MINUTES * 0.9 * RATE

    model.ask_for(headgate.world.artifact("v1"), "--server-side")
    again = model.look()

    assert again.raw["metadata"]["resourceVersion"] == seen.raw["metadata"]["resourceVersion"]
    assert whole(again) == whole(before)


def whole(seen: Seen) -> str:
    """Everything that the API server keeps, resourceVersion and managedFields with their times included."""
    return yaml.safe_dump(seen.raw)
