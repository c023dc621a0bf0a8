"""Users who ask by gRPC keep their version while it grows, testers choose theirs, and none sees a failure."""

from __future__ import annotations

from stories.grpc_clients import GrpcClients
from stories.installation import Headgate
from stories.models import ladder, merged
from stories.waiting import until

TRAFFIC = {"match": [{"header": "x-tester", "exact": "yes"}], "affinity": {"header": "x-user-id"}}
STEPS = ladder((5, "5s"), (20, "5s"), (50, "5s"))


def test_users_of_grpc_keep_their_version_and_see_no_failure(headgate: Headgate, namespace: str) -> None:
    models = headgate.world.artifact
    census = headgate.model(namespace, **merged({"traffic": TRAFFIC}, STEPS))
    census.ask_for(models("v1"))
    v1 = census.until_stable("v1").revision_of("v1")

    with GrpcClients.of(census, rate=100) as users:
        census.ask_for(models("v2"))
        v2 = census.until_canary("v2").revision_of("v2")
        until(lambda: answering_testers(users), lambda seen: seen == {v2}, 10, "the routers follow, and testers get v2")
        census.until_stable("v2", seconds=240)
        assert answering_testers(users) == {v2}
    users.saw_no_failure()
    assert {revision for seen in users.answered.values() for revision in seen} == {v1, v2}
    assert not users.back_and_forth()

    with GrpcClients.of(census, rate=100) as users:
        census.ask_for(models("v3"))
        failing = census.until(lambda seen: seen.was_rolled_back("v3"), 300, "v3 is rolled back")
        assert failing.decisions[-1][:2] == ("v3", "RolledBack")
        assert failing.decisions[-1][2] in ("ErrorsHigher", "RiskBudgetSpent")
    users.saw_no_failure()
    assert headgate.attempts(census)[failing.revision_of("v3")] > 0


def answering_testers(users: GrpcClients) -> set[str]:
    """The revisions that answer them, over all connections."""
    return {users.ask(number, ("x-tester", "yes")) for number in range(20)}
