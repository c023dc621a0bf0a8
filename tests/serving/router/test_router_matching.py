from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.api.policy import Match, Policy, Selector
from headgate_serving.router.envoy.config.routes import _shares, route_document
from headgate_serving.router.policy.traffic import Intent, Target

STABLE, CANDIDATE = Target("fraud-1a2b3c4d", "stable", 900), Target("fraud-9e8d7c6b", "candidate", 100)
USER = Selector("header", "x-user-id")


@pytest.mark.parametrize("role", ["stable", "candidate"])
def test_with_one_version_nobody_is_matched(role: Any) -> None:
    testers = Match(Selector("header", "x-tester"), "exact", "yes", role)

    def matched(*targets: Any) -> Any:
        routes = route_document(Intent(targets, Policy(matches=(testers,))))["virtual_hosts"][0]["routes"]
        return any(header["name"] == "x-tester" for route in routes for header in route["match"].get("headers", ()))

    assert matched(STABLE, CANDIDATE)
    assert not matched(Target("fraud-1a2b3c4d", "stable", 1000))


def users_of(role: Any, intent: Any) -> Any:
    """The parts of the range from 0 to 1000 that are this version's."""
    begin, found = 0, set()
    for target, weight in _shares(intent):
        if target.role == role:
            found |= set(range(begin, begin + weight))
        begin += weight
    assert begin == 1000
    return found


@given(st.text("0123456789abcdef", min_size=8, max_size=8), st.integers(0, 1000), st.integers(0, 1000))
def test_a_growing_weight_moves_nobody_back(name: Any, one: Any, other: Any) -> None:
    def candidates(weight: Any) -> Any:
        targets = (Target("fraud-stable", "stable", 1000 - weight), Target(f"fraud-{name}", "candidate", weight))
        return users_of("candidate", Intent(targets, Policy(affinity=USER)))

    less, more = sorted((one, other))
    assert len(candidates(less)) == less
    assert candidates(less) <= candidates(more)


def test_other_candidates_begin_with_other_users() -> None:
    first = set()
    for number in range(50):
        targets = (Target("fraud-stable", "stable", 990), Target(f"fraud-{number:08x}", "candidate", 10))
        first |= users_of("candidate", Intent(targets, Policy(affinity=USER)))
    assert len(first) > 300
