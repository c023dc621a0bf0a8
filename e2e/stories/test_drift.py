"""Story 8: live inputs move away from those of the training. Headgate says so, and rolls nothing back for it."""

from __future__ import annotations

from stories.clients import Clients
from stories.installation import Headgate

OLDER = "0:20"
"""Everybody is twenty years older: the first column is AGEP."""


def test_drifted_inputs_are_reported_and_do_not_stop_a_rollout(headgate: Headgate, namespace: str) -> None:
    census = headgate.model(namespace)
    census.ask_for(headgate.world.artifact("v1"))
    census.until_stable("v1")
    clients = Clients.of(census, shift=OLDER)

    drifted = census.until(lambda seen: seen.condition("DriftDetected").status == "True", 90, "the drift is seen")
    assert drifted.condition("DriftDetected").reason == "InputsDrifted"
    assert "AGEP" in drifted.condition("DriftDetected").message
    assert "SEX" not in drifted.condition("DriftDetected").message
    assert drifted.is_stable("v1"), "this is no reason to do anything"
    census.until(lambda _: ("Warning", "InputsDrifted") in census.events(), 10, "an event tells it")

    census.ask_for(headgate.world.artifact("v1", version="v1-again"))
    promoted = census.until_stable("v1-again", seconds=240)
    assert promoted.decisions[-1] == ("v1-again", "Promoted", "EvidencePassed")
    census.until(lambda seen: seen.condition("DriftDetected").status == "True", 60, "it is seen in the new pods too")
    clients.saw_no_failure()
