"""Nobody has rights that he does not use. Told last: only all stories together use them all."""

from __future__ import annotations

import pytest

from stories.installation import Headgate
from stories.rights import Rights
from stories.session import Session


@pytest.mark.alone
def test_each_right_was_used(
    rights: Rights | None, told_in: Session | None, headgate: Headgate, namespace: str, request: pytest.FixtureRequest
) -> None:
    if rights is None or told_in is None or not told_in.all_are_told or request.session.testsfailed:
        pytest.skip("all stories together say that, on the embedded cluster")
    model = headgate.model(namespace)
    model.ask_for(headgate.world.artifact("v1"))
    model.until_stable("v1")
    rights.everything_was_used(namespace, model.name)
