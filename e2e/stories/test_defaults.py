"""The default spec: what is wrong with a version is found before it has a user, and the rest before it has many.

`make faults` does this with all kinds of candidates, and `docs/evidence.md` has its table.
"""

from __future__ import annotations

import pytest

from candidates.kinds import BAD, GOOD, RATE
from candidates.trial import LIMIT_GOOD, Scene, bad
from stories.installation import Headgate

pytestmark = pytest.mark.alone

BEFORE_USERS = {
    "renamed input": ("preflight", "PreflightFailed"),
    "columns swapped at export": ("preflight", "PreflightFailed"),
    "truncated artifact": ("start", "ArtifactTruncated"),
    "NaN for some": ("preflight", "PreflightFailed"),
    "labels flipped": ("shadow", "ShadowDisagrees"),
}
IN_CANARY = {"constant answer": "PredictionsShifted", "late": "LatencyHigher"}


def test_nothing_bad_gets_through_with_six_lines_of_yaml(headgate: Headgate) -> None:
    kinds = {kind.name: kind for kind in BAD}
    with Scene.of(headgate, "stable") as scene:
        for name, expected in BEFORE_USERS.items():
            result = bad(headgate, scene, kinds[name])
            assert (result.phase, result.reason) == expected
            assert (result.asked, result.answered) == (0, 0), "no user had any part in it"
        for name, reason in IN_CANARY.items():
            result = bad(headgate, scene, kinds[name])
            assert (result.phase, result.reason) == ("canary", reason)
            assert 0 < result.asked < 60 * RATE
        scene.clients.saw_no_failure()


def test_a_good_version_is_promoted_with_six_lines_of_yaml(headgate: Headgate) -> None:
    retrained = next(kind for kind in GOOD if kind.name == "retrained")
    with Scene.of(headgate, "stable", rate=4 * RATE) as scene:
        result = scene.roll_out(headgate, retrained, {}, LIMIT_GOOD)
        assert result.found == "promoted"
        scene.clients.saw_no_failure()
