import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_serving.router.config.routes import _shares, route_document
from headgate_serving.router.matching import Match, Selector, parse_affinity, parse_matches
from headgate_serving.router.traffic import Intent, Target, parse_deployment

STABLE, CANDIDATE = Target("fraud-1a2b3c4d", "stable", 900), Target("fraud-9e8d7c6b", "candidate", 100)
USER = Selector("header", "x-user-id")
TESTERS = {"header": "X-Tester", "exact": "yes"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (TESTERS, Match(Selector("header", "x-tester"), "exact", "yes", "candidate")),
        (
            {"cookie": "Beta", "prefix": "on", "role": "stable"},
            Match(Selector("cookie", "Beta"), "prefix", "on", "stable"),
        ),
        ({"header": "x-internal"}, Match(Selector("header", "x-internal"), "present", "", "candidate")),
        (
            {"header": "x", "cookie": None, "exact": None, "prefix": None},
            Match(Selector("header", "x"), "present", "", "candidate"),
        ),
    ],
)
def test_matches_are_read(entry, expected):
    assert parse_matches([entry]) == ((expected,), ())


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("x-tester", "is no object"),
        ({}, "a header or a cookie"),
        ({"header": "a", "cookie": "b"}, "not both"),
        ({"header": ":path"}, "is no name of a header"),
        ({"header": 3}, "is no name of a header"),
        ({"cookie": "a;b"}, "is no name of a cookie"),
        ({"header": "a", "exact": "b", "prefix": "c"}, "not one value"),
        ({"header": "a", "exact": ""}, "not one value"),
        ({"cookie": "a", "exact": "b; c=d"}, "not one value"),
        ({"header": "a", "prefix": 1}, "not one value"),
        ({"header": "a", "role": "shadow"}, "neither stable nor candidate"),
        ({"header": "a", "role": ["stable"]}, "neither stable nor candidate"),
    ],
)
def test_what_can_not_be_read_is_left_out_and_said(entry, complaint):
    matches, (wrong,) = parse_matches([TESTERS, entry])
    assert [match.selector.name for match in matches] == ["x-tester"]
    assert wrong.startswith("spec.traffic.match[1]: ")
    assert complaint in wrong


def test_a_match_of_another_release_does_not_hold_up_the_split():
    traffic = [{"revision": "fraud-1a2b3c4d", "role": "stable", "weight": 100}]
    wishes = {"match": [{"query": "tester"}], "affinity": {"address": True}}
    intent = parse_deployment({"spec": {"traffic": wishes}, "status": {"traffic": traffic}})
    assert intent.stable
    assert intent.matches == () and intent.affinity is None
    assert [text.partition(":")[0] for text in intent.ignored] == ["spec.traffic.match[0]", "spec.traffic.affinity"]


def test_affinity_is_read():
    assert parse_affinity({"cookie": "session"}) == (Selector("cookie", "session"), ())
    assert parse_affinity(None) == parse_affinity({}) == (None, ())


@pytest.mark.parametrize("role", ["stable", "candidate"])
def test_with_one_version_nobody_is_matched(role):
    matches, _ = parse_matches([TESTERS | {"role": role}])

    def matched(*targets):
        routes = route_document(Intent(targets, matches=matches))["virtual_hosts"][0]["routes"]
        return any(header["name"] == "x-tester" for route in routes for header in route["match"].get("headers", ()))

    assert matched(STABLE, CANDIDATE)
    assert not matched(Target("fraud-1a2b3c4d", "stable", 1000))


def users_of(role, intent):
    """The parts of the range from 0 to 1000 that are this version's."""
    begin, found = 0, set()
    for target, weight in _shares(intent):
        if target.role == role:
            found |= set(range(begin, begin + weight))
        begin += weight
    assert begin == 1000
    return found


@given(st.text("0123456789abcdef", min_size=8, max_size=8), st.integers(0, 1000), st.integers(0, 1000))
def test_a_growing_weight_moves_nobody_back(name, one, other):
    def candidates(weight):
        targets = (Target("fraud-stable", "stable", 1000 - weight), Target(f"fraud-{name}", "candidate", weight))
        return users_of("candidate", Intent(targets, affinity=USER))

    less, more = sorted((one, other))
    assert len(candidates(less)) == less
    assert candidates(less) <= candidates(more)


def test_other_candidates_begin_with_other_users():
    first = set()
    for number in range(50):
        targets = (Target("fraud-stable", "stable", 990), Target(f"fraud-{number:08x}", "candidate", 10))
        first |= users_of("candidate", Intent(targets, affinity=USER))
    assert len(first) > 300
