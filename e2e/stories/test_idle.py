"""Story 7: nothing happens, and Headgate writes nothing: no status, no annotation, no finalizer, no spec ever."""

from __future__ import annotations

from stories.idle import MINUTES, Idle, whole
from stories.waiting import until


def test_a_model_that_is_left_alone_stays_as_it_is_for_five_minutes(idle: Idle) -> None:
    model = idle.model

    # The other stories took most of this time.
    seen = until(model.look, lambda _: idle.minutes() >= MINUTES, 60 * MINUTES + 10, "five minutes")

    assert whole(seen) == idle.before
    assert "annotations" not in seen.raw["metadata"]
    assert "finalizers" not in seen.raw["metadata"]
    assert seen.condition("DriftDetected").status == "False", "the census of today is the one of the profile"
    assert idle.clients.saw_no_failure()["totals"]["ok"] > 60 * MINUTES * 0.9 * idle.clients.rate

    model.ask_for(model.world.artifact("v1"), "--server-side")
    again = model.look()

    assert again.raw["metadata"]["resourceVersion"] == seen.raw["metadata"]["resourceVersion"]
    assert whole(again) == idle.before
