from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_serving.router.config import Layout, bootstrap_document
from headgate_serving.router.config.documents import discovery_response
from headgate_serving.router.errors import InvalidTraffic
from headgate_serving.router.protection import UNPROTECTED
from headgate_serving.router.step import Memory, step
from headgate_serving.router.traffic import DEFAULT_TIMEOUT_MS, Intent, Target, parse_deployment, parse_duration

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


def test_a_split_of_the_wrong_kind_is_refused():
    with pytest.raises(InvalidTraffic, match="traffic is 'all', not a list"):
        parse_deployment({"status": {"traffic": "all"}})


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("200ms", 200), ("1s", 1000), ("1.5s", 1500), ("1m30s", 90_000), ("2h", 7_200_000)]
)
def test_durations_are_milliseconds(text, milliseconds):
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "200", "ms", "-1s", "1 s", 200, None, "1..5s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidTraffic, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("timeout", "complaint"),
    [
        ("0s", "from 1 ms to 3600000 ms"),
        ("0.5ms", "from 1 ms to 3600000 ms"),
        ("1h1ms", "from 1 ms to 3600000 ms"),
        ("9999999999h", "from 1 ms to 3600000 ms"),
        ("9" * 5000 + "h", "no duration"),
        ("soon", "no duration"),
        ("٣s", "no duration"),
        (200, "no duration"),
        ({}, "no duration"),
    ],
)
def test_a_timeout_that_no_router_can_keep_holds_up_nothing(timeout, complaint):
    last_good = {}
    first = parse_deployment(deployment(STABLE, CANDIDATE, timeout=timeout), last_good)
    assert (first.timeout_ms, len(first.targets)) == (DEFAULT_TIMEOUT_MS, 2)
    assert parse_deployment(deployment(STABLE, CANDIDATE, timeout="200ms"), last_good).timeout_ms == 200
    rolled_back = parse_deployment(deployment(STABLE | {"weight": 100}, timeout=timeout), last_good)
    assert [target.role for target in rolled_back.targets] == ["stable"]
    assert rolled_back.timeout_ms == 200
    (said,) = rolled_back.ignored
    assert complaint in said


GOOD = {
    "timeout": "200ms",
    "retryOnStable": False,
    "match": [{"header": "x-tester"}],
    "affinity": {"cookie": "session"},
    "maxBody": "1Mi",
    "rateLimit": {"requests": 7},
    "fallback": [{"modelDeployment": "simple"}],
}
GOOD_ROLLOUT = {"latency": {"threshold": "50ms"}, "shadow": {"tolerance": 0.5}}


@pytest.mark.parametrize(
    ("wishes", "rollout", "parts"),
    [
        *(({part: 7.5}, {}, 1) for part in GOOD),
        ({}, {"latency": 7}, 1),
        ({}, {"latency": {}}, 1),
        ({}, {"latency": {"threshold": "2h"}}, 1),
        ({}, {"shadow": 7}, 1),
        ({}, {"shadow": {"tolerance": 10**400}}, 1),
        (7, {}, 1),
        ({}, 7, 1),
        ("everything", "everything", 2),
    ],
)
def test_each_part_that_cannot_be_read_is_what_it_was_and_the_others_are_followed(wishes, rollout, parts):
    last_good = {}
    raw = {"spec": {"traffic": GOOD, "rollout": GOOD_ROLLOUT}, "status": {"traffic": [STABLE, CANDIDATE]}}
    before = parse_deployment(raw, last_good)
    assert before.ignored == ()

    def changed(old, new):
        return {**old, **new} if isinstance(new, dict) else new

    spec = {"traffic": changed(GOOD, wishes), "rollout": changed(GOOD_ROLLOUT, rollout)}
    after = parse_deployment({"spec": spec, "status": {"traffic": [STABLE | {"weight": 100}]}}, last_good)
    assert len(after.ignored) == parts
    assert after.wishes == before.wishes
    assert [target.role for target in after.targets] == ["stable"]
    if isinstance(wishes, dict) and "timeout" not in wishes:
        spec["traffic"]["timeout"] = "300ms"
        assert parse_deployment({"spec": spec, "status": {}}, last_good).timeout_ms == 300


def test_a_spec_that_is_none_is_what_it_was():
    last_good = {}
    before = parse_deployment({"spec": {"traffic": GOOD, "rollout": GOOD_ROLLOUT}}, last_good)
    after = parse_deployment({"spec": [1], "status": {"traffic": [STABLE | {"weight": 100}]}}, last_good)
    assert after.wishes == before.wishes
    assert len(after.ignored) == 1


KEYS = (
    "timeout", "retryOnStable", "match", "affinity", "maxBody", "rateLimit", "fallback", "fallbackOnLowConfidence",
    "header", "cookie", "exact", "prefix", "role", "requests", "unit", "modelDeployment", "static", "outputs", "name",
    "datatype", "shape", "data", "text", "latency", "threshold", "shadow", "tolerance", "traffic", "rollout",
)  # fmt: skip
TEXTS = (
    "1s",
    "0.5ms",
    "9999999999h",
    "64Mi",
    "x-tester",
    "FP32",
    "BYTES",
    "INT64",
    "stable",
    "Hour",
    "simple",
    "\ud800",
)
GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(TEXTS)
    | st.text(max_size=5)
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=25,
)
SECTIONS = st.dictionaries(st.sampled_from(KEYS), GARBAGE, max_size=8)


@given(st.lists(st.one_of(GARBAGE, st.fixed_dictionaries({"traffic": SECTIONS, "rollout": SECTIONS})), max_size=3))
@settings(max_examples=300)
def test_no_spec_whatever_is_in_it_holds_up_the_split(specs):
    last_good = {}
    for spec in specs:
        intent = parse_deployment({"spec": spec, "status": {"traffic": [STABLE, CANDIDATE]}}, last_good)
        assert [target.weight for target in intent.targets] == [900, 100]
        documents, _ = step(Memory({}, {}), intent, {}, 0.0)
        discovery_response(documents.routes)
        discovery_response(*documents.clusters.values())
        bootstrap_document("ns", "fraud", Layout(PurePosixPath("/xds")), intent, UNPROTECTED)


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
