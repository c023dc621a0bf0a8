import re
from dataclasses import fields, replace
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.api.policy import Fallback, Policy
from headgate_serving.router.envoy.config import Layout, bootstrap_document
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.step import Memory, step
from headgate_serving.router.errors import InvalidTraffic
from headgate_serving.router.policy.protection import UNPROTECTED
from headgate_serving.router.policy.traffic import Intent, Target, parse_deployment, read_policy
from router_policies import written

STABLE = {"revision": "fraud-1a2b3c4d", "role": "stable", "weight": 90}
CANDIDATE = {"revision": "fraud-9e8d7c6b", "role": "candidate", "weight": 10}


def deployment(*traffic: object, **policy: object) -> dict[str, Any]:
    return {"status": {"traffic": list(traffic), "policy": policy}}


def test_the_split_and_the_policy_are_read() -> None:
    intent = parse_deployment(deployment(STABLE, CANDIDATE, timeoutMs=200, retryOnStable=False))
    targets = (Target("fraud-1a2b3c4d", "stable", 900), Target("fraud-9e8d7c6b", "candidate", 100))
    assert intent == Intent(targets, Policy(200, retry_on_stable=False))
    assert intent.stable and intent.stable.revision == "fraud-1a2b3c4d"
    assert intent.candidate and intent.candidate.weight == 100


@pytest.mark.parametrize("raw", [{}, {"status": None}, {"status": {"traffic": []}}])
def test_a_deployment_without_status_has_no_version_and_the_defaults(raw: Any) -> None:
    assert parse_deployment(raw) == Intent()


@pytest.mark.parametrize(
    ("stable", "candidate"), [(99.9, 0.1), (66.7, 33.3), (0, 100), (100, 0), (100.0, 0.0), ("57.5", "42.5")]
)
def test_weights_are_exact_to_a_tenth_of_a_percent(stable: Any, candidate: Any) -> None:
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
def test_a_split_that_cannot_be_right_is_refused(traffic: Any, complaint: str) -> None:
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
def test_a_shadow_that_can_not_be_read_is_left_out_and_said(entry: Any, shadow: Any, complaints: Any) -> None:
    intent = parse_deployment(deployment(STABLE | {"weight": 100}, CANDIDATE | {"weight": 0} | entry))
    assert intent.candidate
    assert (intent.candidate.shadow, intent.shadowed, len(intent.ignored)) == (shadow, shadow > 0, complaints)


def test_who_has_users_gets_no_copies() -> None:
    assert not parse_deployment(deployment(STABLE, CANDIDATE | {"shadow": 10})).shadowed


def test_a_split_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(InvalidTraffic, match="traffic is 'all', not a list"):
        parse_deployment({"status": {"traffic": "all"}})


EVERYTHING = written(
    {
        "timeout": "200ms",
        "retryOnStable": False,
        "match": [{"header": "x-tester"}],
        "affinity": {"cookie": "session"},
        "maxBody": "1Mi",
        "rateLimit": {"requests": 7},
        "fallback": [{"modelDeployment": "simple"}],
    },
    {"latency": {"threshold": "50ms"}, "shadow": {"tolerance": 0.5}},
)


def test_what_the_operator_writes_is_what_is_read() -> None:
    policy, wrong = read_policy(EVERYTHING, Policy())
    assert wrong == ()
    assert policy.manifest() == EVERYTHING
    parts = {field.name for field in fields(Policy) if getattr(policy, field.name) == getattr(Policy(), field.name)}
    assert not parts, "the example says something of each part"


def test_numbers_are_read_as_the_api_server_writes_them() -> None:
    """It writes 3.0 as 3."""
    outputs = [{"name": "y", "datatype": "FP32", "shape": [2], "data": [3.0, 0.5]}]
    policy = written({"fallback": [{"static": {"outputs": outputs}}]}, {"shadow": {"tolerance": 1}})

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    assert read_policy(plain(policy), Policy()) == read_policy(policy, Policy())


@pytest.mark.parametrize("part", EVERYTHING)
@pytest.mark.parametrize("value", [7.5, "soon", [[]], -1, {"x": {}}, {"kind": "query", "name": "x"}, "\ud800"])
def test_a_part_that_cannot_be_read_is_what_it_was_and_the_others_are_followed(part: str, value: object) -> None:
    last_good = parse_deployment(deployment(STABLE, CANDIDATE, **EVERYTHING)).policy
    changed = EVERYTHING | {"timeoutMs": 300, "maxBodyBytes": 1000} | {part: value}
    after = parse_deployment(deployment(STABLE | {"weight": 100}, **changed), last_good)
    (said,) = after.ignored
    assert said.startswith(f"status.policy.{part}")
    assert [target.role for target in after.targets] == ["stable"]
    expected: dict[str, Any] = {"timeout_ms": 300, "max_body_bytes": 1000}
    expected.pop({"timeoutMs": "timeout_ms", "maxBodyBytes": "max_body_bytes"}.get(part, ""), None)
    assert after.policy == replace(last_good, **expected)


@pytest.mark.parametrize(
    ("part", "value", "complaint"),
    [
        ("timeoutMs", 0, "timeoutMs: .*greater than or equal to 1"),
        ("timeoutMs", 3_600_001, "timeoutMs: .*less than or equal to 3600000"),
        ("slowMs", 0, "slowMs: "),
        ("maxBodyBytes", 1 << 62, "maxBodyBytes: "),
        ("rateLimit", {"requests": 10_000_001}, "rateLimit.requests: .*less than or equal to 10000000"),
        ("rateLimit", {"requests": 1, "header": ":path"}, "rateLimit.header: .*match pattern"),
        ("affinity", {"kind": "cookie", "name": "a;b"}, "affinity.name: .*match pattern"),
        ("affinity", {"kind": "header", "name": "X-User"}, "affinity: .*match pattern"),
        ("matches", [{"selector": {"kind": "header", "name": "a"}, "role": "shadow"}], "matches.0.role: "),
        ("matches", [{"selector": {"kind": "header", "name": "a"}, "how": "exact"}], "value must be given for exact"),
        ("matches", [{"selector": {"kind": "header", "name": "a"}, "value": "b"}], "and only for those"),
        ("matches", [{"selector": {"kind": "cookie", "name": "a"}, "how": "exact", "value": "b; c=d"}], "matches.0.va"),
        ("agreement", {"tolerance": -1}, "agreement.tolerance: "),
        ("agreement", {"tolerance": float("nan")}, "agreement.tolerance: "),
        ("agreement", {"outputs": [{}]}, "agreement.outputs.0.name: "),
        ("fallback", {"models": ["../v1"]}, "fallback.models.0: .*match pattern"),
        ("fallback", {"models": ["a"] * 5}, "fallback.models: .*at most 4"),
        ("fallback", {"onLowConfidence": True}, "needs a static answer"),
        ("fallback", {"static": {"name": "a", "outputs": []}}, "fallback.static.outputs: .*at least 1"),
    ],
)
def test_it_is_said_where_a_policy_is_wrong(part: str, value: object, complaint: str) -> None:
    _, (said,) = read_policy({part: value}, Policy())
    assert re.search(complaint, said)


LABEL = {"name": "label", "datatype": "INT64", "shape": [-1], "data": [0]}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": ""}, "at least 1"),
        ({"name": "a" * 257}, "at most 256"),
        ({"shape": []}, "at least 1"),
        ({"shape": [0]}, "must have sizes from 1"),
        ({"shape": [1, -1]}, "-1 only as the first"),
        ({"shape": [2]}, "as many values as its shape"),
        ({"shape": [1000, 1000]}, "as many values as its shape"),
        ({"datatype": "BYTES"}, "as many values as its shape"),
        ({"text": ["a"]}, "as many values as its shape"),
        ({"datatype": "BYTES", "data": [], "text": [1]}, "valid string"),
        ({"datatype": "BYTES", "data": [], "text": ["\ud800"]}, "valid string|unicode"),
        ({"datatype": "INT9"}, "Input should be 'BOOL'"),
        ({"datatype": None}, "Input should be 'BOOL'"),
        ({"data": [0.5]}, "can't hold"),
        ({"data": ["x"]}, "valid number"),
        ({"datatype": "UINT8", "data": [256]}, "can't hold"),
        ({"datatype": "BOOL", "data": [2]}, "can't hold"),
        ({"datatype": "FP16", "data": [65505]}, "can't hold"),
        ({"datatype": "FP64", "data": [float("inf")]}, "finite number"),
    ],
)
def test_a_static_answer_that_no_engine_could_give_is_no_fallback(changes: Any, complaint: str) -> None:
    static = {"name": "safe", "outputs": [LABEL | changes]}
    policy, (said,) = read_policy({"fallback": {"models": ["simple"], "static": static}}, Policy())
    assert policy.fallback == Fallback()
    assert re.search(complaint, said)


def test_two_outputs_of_a_static_answer_have_two_names() -> None:
    _, (said,) = read_policy({"fallback": {"static": {"name": "safe", "outputs": [LABEL, LABEL]}}}, Policy())
    assert "must have different names" in said


def test_without_a_policy_the_last_one_stays_and_without_any_nobody_is_routed() -> None:
    last_good = Policy(200)
    bare = {"status": {"traffic": [STABLE | {"weight": 100}]}}
    intent = parse_deployment(bare, last_good)
    assert (intent.policy, len(intent.ignored)) == (last_good, 1)
    with pytest.raises(InvalidTraffic, match=r"status\.policy is missing"):
        parse_deployment(bare)


KEYS = (
    *EVERYTHING, "selector", "kind", "name", "how", "value", "role", "requests", "seconds", "header", "tolerance",
    "outputs", "models", "static", "onLowConfidence", "datatype", "shape", "data", "text",
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


@given(st.lists(GARBAGE | SECTIONS, max_size=3))
@settings(max_examples=300)
def test_no_policy_whatever_is_in_it_holds_up_the_split(policies: Any) -> None:
    last_good = Policy()
    for policy in policies:
        intent = parse_deployment({"status": {"traffic": [STABLE, CANDIDATE], "policy": policy}}, last_good)
        last_good = intent.policy
        assert [target.weight for target in intent.targets] == [900, 100]
        documents, _ = step(Memory({}, {}), intent, {}, 0.0)
        discovery_response(documents.routes)
        discovery_response(*documents.clusters.values())
        bootstrap_document("ns", "fraud", Layout(PurePosixPath("/xds")), intent, UNPROTECTED)
