"""Nobody has rights that he does not use. Told last: only all stories together use them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from stories.idle import Idle
from stories.rights import Rights


def test_each_right_was_used(rights: Rights | None, request: pytest.FixtureRequest) -> None:
    told = {item.path for item in request.session.items}
    missing = {*Path(__file__).parent.glob("test_*.py")} - told
    if rights is None or missing or request.session.testsfailed:
        pytest.skip("all stories together say that, on the embedded cluster")
    idle: Idle = request.getfixturevalue("idle")
    rights.everything_was_used(idle.model.namespace, idle.model.name)
