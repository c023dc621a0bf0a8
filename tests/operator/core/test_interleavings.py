"""Any order of specs, faults, lost writes and jumps of the clock keeps what has to hold: see `interleavings`.

`make soak-decide` takes a million steps.
"""

import os

import pytest

from interleavings import Walk

STEPS = int(os.environ.get("STEPS", "100000"))
WALKS = 50


@pytest.mark.parametrize("seed", range(WALKS))
def test_any_order_of_events_keeps_what_has_to_hold_and_a_good_version_gets_through(seed: int) -> None:
    walk = Walk(seed)
    while walk.steps < STEPS / WALKS:
        walk.step()
    walk.ends()
