"""Story 5: the metrics go away in mid-canary. The weight holds, nobody is judged without evidence, and it goes on."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from stories.clients import Clients
from stories.installation import Headgate
from stories.models import ladder
from stories.seen import Seen
from stories.waiting import throughout

pytestmark = pytest.mark.alone
HOLD = 25


def test_a_canary_holds_without_metrics_and_goes_on_when_they_are_back(headgate: Headgate, namespace: str) -> None:
    census = headgate.model(namespace, **ladder((20, f"{HOLD}s"), (50, "1s")))
    census.ask_for(headgate.world.artifact("v1"))
    census.until_stable("v1")
    clients = Clients.of(census)
    census.ask_for(headgate.world.artifact("v2"))
    census.until_canary("v2")
    canary = census.until(lambda seen: seen.counted("candidate") > 0, 20, "the evidence grows")

    with headgate.without("prometheus"):
        blind = census.until(is_blind, 30, "it says that it is blind")
        assert "hold" in blind.condition("RolloutHealthy").message
        ladder_over = datetime.fromisoformat(canary.rollout["stepSince"]).timestamp() + HOLD + 5

        def holds(seen: Seen) -> bool:
            return is_blind(seen) and seen.weights == canary.weights and seen.decisions == canary.decisions

        assert holds(throughout(census.look, holds, max(10, ladder_over - time.time()), "the weight"))
        clients.saw_no_failure()

    headgate.ready("prometheus")
    seeing = census.until(lambda seen: seen.condition("RolloutHealthy").status == "True", 60, "the metrics are back")
    assert seeing.counted("candidate") >= blind.counted("candidate"), "what was learnt is kept"
    promoted = census.until_stable("v2", seconds=180)
    assert promoted.decisions[-1] == ("v2", "Promoted", "EvidencePassed")
    told = [reason for _, reason in census.events()]
    assert (told.count("MetricsUnavailable"), told.count("MetricsAvailable")) == (1, 1)
    clients.saw_no_failure()


def is_blind(seen: Seen) -> bool:
    condition = seen.condition("RolloutHealthy")
    return seen.phase == "Canary" and (condition.status, condition.reason) == ("Unknown", "MetricsUnavailable")
