"""Story 4: the deciding operator dies in mid-canary, twice. Another one goes on, and counts nothing twice.

One that only loses the lease stops deciding, and its process goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from stories.clients import Clients
from stories.installation import RELEASE, SYSTEM, Headgate
from stories.models import Model, ladder
from stories.seen import Seen
from stories.waiting import until

pytestmark = pytest.mark.alone
TAKEOVER = 30.0


def test_another_operator_takes_over_in_mid_canary(headgate: Headgate, namespace: str) -> None:
    census = headgate.model(namespace, **ladder((20, "60s"), (50, "1s")))
    census.ask_for(headgate.world.artifact("v1"))
    census.until_stable("v1")
    clients = Clients.of(census)
    census.ask_for(headgate.world.artifact("v2"))
    exposed = census.until_canary("v2")

    before = census.until(lambda seen: seen.counted("candidate") > 0, 20, "the evidence grows")
    takes_over(headgate, headgate.kill)
    crashed = census.until(lambda seen: seen.counted("candidate") > before.counted("candidate"), 20, "it grows again")
    takes_over(headgate, headgate.remove)
    after = census.until(lambda seen: seen.counted("candidate") > crashed.counted("candidate"), 20, "it grows again")

    assert after.phase == "Canary"
    assert after.rollout["startedAt"] == exposed.rollout["startedAt"], "the same rollout"
    counts_each_attempt_once(headgate, census, before, after)
    since = int(datetime.fromisoformat(after.rollout["exposedAt"]).timestamp()) - 1
    asked = sum(second["sent"] for second in clients.state(since)["seconds"])
    assert after.counted("candidate") + after.counted("stable") <= asked

    promoted = census.until_stable("v2", seconds=180)
    assert promoted.decisions == [("v1", "Live", "FirstVersion"), ("v2", "Promoted", "EvidencePassed")]
    told = [reason for _, reason in census.events()]
    assert (told.count("CanaryStarted"), told.count("Promoted")) == (1, 1)
    clients.saw_no_failure()


def test_who_loses_the_lease_stands_by_and_is_not_restarted(headgate: Headgate, namespace: str) -> None:
    headgate.ready("operator")
    names = {pod["metadata"]["name"]: restarts(pod) for pod in headgate.pods("operator")}
    leader = headgate.leader()
    assert leader in names
    patch = json.dumps({"spec": {"holderIdentity": "somebody-else", "leaseTransitions": 99}})
    headgate.cluster.kubectl("patch", "lease", RELEASE, f"--namespace={SYSTEM}", "--type=merge", f"--patch={patch}")
    until(headgate.leader, lambda holder: holder in names, TAKEOVER, "an operator leads again")

    census = headgate.model(namespace)
    census.ask_for(headgate.world.artifact("v1"))
    census.until_stable("v1")
    assert {pod["metadata"]["name"]: restarts(pod) for pod in headgate.pods("operator")} == names


def restarts(pod: dict[str, Any]) -> int:
    """How often the operator's container has started again."""
    return sum(int(container["restartCount"]) for container in pod["status"]["containerStatuses"])


def takes_over(headgate: Headgate, end: Callable[[str], None]) -> None:
    """Another pod holds the Lease soon after the leader's end."""
    leader = headgate.leader()
    began = time.monotonic()
    end(leader)
    until(headgate.leader, lambda holder: holder not in ("", leader), TAKEOVER, "another operator leads")
    print(f"another operator leads after {time.monotonic() - began:.1f} s")


def counts_each_attempt_once(headgate: Headgate, census: Model, before: Seen, after: Seen) -> None:
    """What the evidence gained between two cursors is what the routers counted between these two times."""
    begin = headgate.attempts(census, at=before.rollout["cursor"])
    end = headgate.attempts(census, at=after.rollout["cursor"])
    for who, version in (("candidate", "v2"), ("stable", "v1")):
        revision = after.revision_of(version)
        gained = after.counted(who) - before.counted(who)
        assert gained == end[revision] - begin[revision], who
    assert after.counted("candidate") == end[after.revision_of("v2")], "all that it ever had"
    assert after.rollout["cursor"] == pytest.approx(time.time(), abs=30), "and all that there was lately"
