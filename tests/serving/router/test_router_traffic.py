import pytest

from headgate_serving.router.errors import InvalidTraffic
from headgate_serving.router.traffic import Intent, Target, parse_deployment, parse_duration

STABLE = {"revision": "fraud-1a2b3c4d", "role": "stable", "weight": 90}
CANDIDATE = {"revision": "fraud-9e8d7c6b", "role": "candidate", "weight": 10}


def deployment(*traffic, **wishes):
    return {"spec": {"traffic": wishes}, "status": {"traffic": list(traffic)}}


def test_the_split_the_timeout_and_the_retry_are_read():
    intent = parse_deployment(deployment(STABLE, CANDIDATE, timeout="200ms", retryOnStable=False))
    assert intent == Intent(
        (Target("fraud-1a2b3c4d", "stable", 900), Target("fraud-9e8d7c6b", "candidate", 100)), 200, False
    )
    assert intent.stable and intent.stable.revision == "fraud-1a2b3c4d"
    assert intent.candidate and intent.candidate.weight == 100


@pytest.mark.parametrize("raw", [{}, {"status": None, "spec": None}, {"spec": {}, "status": {"traffic": []}}])
def test_a_deployment_without_status_has_no_version_and_the_defaults(raw):
    assert parse_deployment(raw) == Intent((), 1000, True)


@pytest.mark.parametrize(
    ("stable", "candidate"), [(99.9, 0.1), (66.7, 33.3), (0, 100), (100, 0), (100.0, 0.0), ("57.5", "42.5")]
)
def test_weights_are_exact_to_a_tenth_of_a_percent(stable, candidate):
    intent = parse_deployment(deployment(STABLE | {"weight": stable}, CANDIDATE | {"weight": candidate}))
    assert [target.weight for target in intent.targets] == [round(float(stable) * 10), round(float(candidate) * 10)]


@pytest.mark.parametrize(
    ("traffic", "complaint"),
    [
        pytest.param([STABLE], "add up to 90 %", id="weights that don't add up"),
        pytest.param([STABLE, CANDIDATE | {"weight": 10.05}], "one decimal", id="a hundredth of a percent"),
        pytest.param([STABLE, CANDIDATE | {"weight": -10}], "one decimal", id="a negative weight"),
        pytest.param([STABLE, CANDIDATE | {"weight": float("nan")}], "one decimal", id="a weight that is NaN"),
        pytest.param([STABLE, CANDIDATE | {"weight": True}], "no number", id="a weight that is true"),
        pytest.param([STABLE, CANDIDATE | {"weight": "ten"}], "no number", id="a weight in words"),
        pytest.param([STABLE, CANDIDATE | {"weight": None}], "no number", id="no weight"),
        pytest.param([STABLE, CANDIDATE | {"role": "stable"}], "role twice", id="two stables"),
        pytest.param([STABLE, CANDIDATE | {"role": "shadow"}], "neither", id="an unknown role"),
        pytest.param([STABLE, STABLE | {"role": "candidate", "weight": 10}], "revision twice", id="one revision twice"),
        pytest.param([STABLE | {"revision": "../etc"}], "no name", id="a revision that leaves the folder"),
        pytest.param([STABLE | {"revision": "a/b"}], "no name", id="a revision with a slash"),
        pytest.param(["stable"], "not an object", id="an entry that is no object"),
    ],
)
def test_a_split_that_cannot_be_right_is_refused(traffic, complaint):
    with pytest.raises(InvalidTraffic, match=complaint):
        parse_deployment(deployment(*traffic))


@pytest.mark.parametrize(
    ("entry", "shadow", "complaints"),
    [
        pytest.param({}, 0, 0, id="no shadow"),
        pytest.param({"shadow": 0}, 0, 0, id="a shadow of nothing"),
        pytest.param({"shadow": None}, 0, 0, id="null"),
        pytest.param({"shadow": 12.5}, 125, 0, id="an eighth"),
        pytest.param({"shadow": "all"}, 0, 1, id="in words"),
        pytest.param({"shadow": 0.05}, 0, 1, id="a hundredth of a percent"),
        pytest.param({"shadow": [1]}, 0, 1, id="a list"),
    ],
)
def test_a_shadow_that_can_not_be_read_is_left_out_and_said(entry, shadow, complaints):
    intent = parse_deployment(deployment(STABLE | {"weight": 100}, CANDIDATE | {"weight": 0} | entry))
    assert (intent.candidate.shadow, intent.shadowed, len(intent.ignored)) == (shadow, shadow > 0, complaints)


def test_who_has_users_gets_no_copies():
    assert not parse_deployment(deployment(STABLE, CANDIDATE | {"shadow": 10})).shadowed


def test_a_section_of_the_wrong_kind_is_refused():
    with pytest.raises(InvalidTraffic, match="traffic is 'all', not a list"):
        parse_deployment({"status": {"traffic": "all"}})
    with pytest.raises(InvalidTraffic, match="retryOnStable is 'yes'"):
        parse_deployment(deployment(retryOnStable="yes"))


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("200ms", 200), ("1s", 1000), ("1.5s", 1500), ("1m30s", 90_000), ("2h", 7_200_000)]
)
def test_durations_are_milliseconds(text, milliseconds):
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "200", "ms", "-1s", "1 s", 200, None, "1..5s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidTraffic, match="no duration"):
        parse_duration(text)


def test_a_timeout_of_nothing_is_refused():
    with pytest.raises(InvalidTraffic, match="at least 1 ms"):
        parse_deployment(deployment(timeout="0s"))


@pytest.mark.parametrize(
    ("rollout", "slow_ms"),
    [
        ({"latency": {"threshold": "1.5s"}}, 1500),
        ({"latency": {"threshold": "soon"}}, None),
        ({"latency": {}}, None),
        ({"latency": None}, None),
        ({"latency": 7}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_threshold_that_cannot_be_read_stops_no_router(rollout, slow_ms):
    assert parse_deployment({"spec": {"rollout": rollout}}).slow_ms == slow_ms
