"""Four minutes under load: the runtime's memory stays as it is, no request fails, and SIGTERM under load loses none."""

from __future__ import annotations

import pytest

from bench.serving.cases import CASES
from bench.serving.soak import soak

MINUTES = 4
# `python -m bench.serving.soak` takes an hour, at 70 % of what the server could do at the beginning; here others work
# on the same cores, and may halve what it can do at any time.
SHARE = 0.35
MOST_DRIFT = 0.05


@pytest.mark.timeout(60 * MINUTES + 300)
def test_the_runtime_stays_as_it_is() -> None:
    tabular = next(case for case in CASES if case.name == "tabular")

    verdict = soak(tabular, "json", MINUTES, SHARE)

    assert not verdict.wrongs(MOST_DRIFT)
    assert verdict.requests > 100_000
