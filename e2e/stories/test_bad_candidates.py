"""Versions that fail in every way that there is: each is rolled back, and no user sees any of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stories.clients import Clients
from stories.grpc_clients import GrpcClients
from stories.installation import Headgate
from stories.models import Model, ladder, merged
from stories.servers import faulty

pytestmark = pytest.mark.alone

BUDGET = 4.0
"""Seconds: a fifth of what the slow version takes."""
FAULTS = ("error", "some-errors", "hang", "oom", "cut", "slow", "garbage")
LATE = 10.0
"""Who waits so long has waited for the slow version. The router itself answers 504 after BUDGET, which is a failure."""

SPEC = merged(
    ladder((20, "1m")),
    {
        "traffic": {"timeout": f"{BUDGET:g}s"},
        "runtime": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "400Mi"}}},
    },
)


def test_no_user_sees_what_a_bad_candidate_does(headgate: Headgate, namespace: str) -> None:
    census = headgate.model(namespace, **SPEC)
    good = headgate.world.artifact("v2", "good")
    census.ask_for(good)
    live = census.until_stable("good")
    users = Clients.of(census, rate=150, budget=LATE)

    with GrpcClients.of(census, rate=50) as callers:
        for fault in FAULTS:
            with_fault(census, fault).ask_for(replace(good, version=fault))
            assert census.until_rolled_back(fault).decisions[-1][:2] == (fault, "RolledBack")
            state = users.saw_no_failure()
            assert state["totals"]["late"] == 0, f"{fault}: {state['totals']}"
            callers.saw_no_failure()
            assert callers.slowest < LATE

    bad = {census.record_of(fault)["metadata"]["name"] for fault in FAULTS}
    attempts = headgate.attempts(census)
    assert all(attempts[revision] for revision in bad), "users were really assigned to each of them"
    no_more_retries_than_failures(headgate, census, live.revision_of("good"))


def with_fault(census: Model, fault: str) -> Model:
    """The same deployment with the faulty server."""
    server = faulty(census.world.images["demo"], fault)
    return replace(census, spec=merged(census.spec, {"runtime": server}))


def no_more_retries_than_failures(headgate: Headgate, census: Model, stable: str) -> None:
    """Each failure of a candidate is tried again once; stable's own requests almost never are."""
    retried = headgate.counted(census, "envoy_cluster_upstream_rq_retry")
    failed = headgate.counted(census, "envoy_cluster_endpoint_rq_error")
    assert retried <= failed, f"{retried} were tried again, and {failed} had failed"
    assert retried[stable] < 10
    assert not headgate.counted(census, "envoy_cluster_upstream_rq_retry_overflow").total()
