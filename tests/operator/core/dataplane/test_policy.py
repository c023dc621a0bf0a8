"""What the routers are told of a spec: in milliseconds and bytes, with header names in lower case."""

from collections.abc import Mapping
from typing import Any

import pytest

from headgate.api.policy import (
    Agreement,
    ComparedOutput,
    Fallback,
    Match,
    Policy,
    RateLimit,
    Selector,
    StaticAnswer,
    StaticOutput,
)
from headgate.api.spec import Latency, Rollout, Shadow, Spec, Traffic
from headgate.core.dataplane.policy import resolved
from world import World

MODEL = {"version": "1", "uri": "s3://models/fraud/1"}
TESTERS = Selector("header", "x-tester")
LABEL = {"name": "label", "datatype": "INT64", "shape": [-1], "data": [0]}
READ = StaticAnswer("safe", (StaticOutput("label", "INT64", (-1,), (0,)),))
SAFE = {"static": {"name": "safe", "outputs": [LABEL]}}

TRAFFIC: dict[str, list[tuple[Any, Policy]]] = {
    "timeout": [
        ("1ms", Policy(1)),
        ("200ms", Policy(200)),
        ("1.5s", Policy(1500)),
        ("1m30s", Policy(90_000)),
        ("0.0025s", Policy(2)),
        ("1h", Policy(3_600_000)),
    ],
    "retryOnStable": [(False, Policy(retry_on_stable=False)), (True, Policy())],
    "match": [
        ([{"header": "X-Tester", "exact": "Yes"}], Policy(matches=(Match(TESTERS, "exact", "Yes"),))),
        (
            [{"cookie": "Beta", "prefix": "on", "role": "stable"}, {"header": "x-tester"}],
            Policy(matches=(Match(Selector("cookie", "Beta"), "prefix", "on", "stable"), Match(TESTERS))),
        ),
        ([{"header": "x-tester", "cookie": None, "exact": None}], Policy(matches=(Match(TESTERS),))),
    ],
    "affinity": [
        ({"header": "X-Tester"}, Policy(affinity=TESTERS)),
        ({"cookie": "User"}, Policy(affinity=Selector("cookie", "User"))),
        (None, Policy()),
    ],
    "maxBody": [
        ("1000", Policy(max_body_bytes=1000)),
        ("1Ki", Policy(max_body_bytes=1024)),
        ("10Mi", Policy(max_body_bytes=10 << 20)),
        ("999999999Gi", Policy(max_body_bytes=999_999_999 << 30)),
    ],
    "rateLimit": [
        ({"requests": 5}, Policy(rate_limit=RateLimit(5))),
        ({"requests": 5, "unit": "Minute"}, Policy(rate_limit=RateLimit(5, 60))),
        ({"requests": 5, "unit": "Hour", "header": "X-Key"}, Policy(rate_limit=RateLimit(5, 3600, "x-key"))),
    ],
    "fallback": [
        ([{"modelDeployment": "simple"}, SAFE], Policy(fallback=Fallback(("simple",), READ))),
        ([{"modelDeployment": "simple"}, {"modelDeployment": "fraud"}], Policy(fallback=Fallback(("simple",)))),
        ([{"static": {"outputs": [LABEL]}}], Policy(fallback=Fallback((), StaticAnswer("static", READ.outputs)))),
    ],
}
LATENCY: dict[str, list[tuple[Any, Policy]]] = {
    "threshold": [("150ms", Policy(slow_ms=150)), (None, Policy())],
    "enabled": [(False, Policy())],
}
SHADOW: dict[str, list[tuple[Any, Policy]]] = {
    "tolerance": [(0, Policy(agreement=Agreement(0.0))), (0.5, Policy(agreement=Agreement(0.5)))],
    "outputs": [
        (
            [{"name": "a"}, {"name": "b", "tolerance": 0}],
            Policy(agreement=Agreement(outputs=(ComparedOutput("a", 0.01), ComparedOutput("b", 0)))),
        ),
    ],
}
ELSEWHERE = {
    "clients",
    # Arguments and mounts of the routers' pods: docs/decisions/08-protection-as-arguments.md.
    *("tls", "authentication", "accessLog", "routers", "routerAutoscaling", "routerResources"),
    # Needs a fallback: a test of its own.
    "fallbackOnLowConfidence",
    # What the operator itself counts by, or, as a weight, in status.traffic.
    *("margin", "fraction", "minPairs", "minAgreement", "maxDuration"),
}


def cases(table: Mapping[str, list[tuple[Any, Policy]]]) -> list[Any]:
    return [pytest.param({name: value}, policy, id=f"{name} {n}") for name in table for n, (value, policy) in
            enumerate(table[name])]  # fmt: skip


def policy_of(**spec: Any) -> Policy:
    return resolved("fraud", Spec.model_validate({"model": MODEL, **spec}))


@pytest.mark.parametrize(("traffic", "policy"), cases(TRAFFIC))
def test_what_is_said_of_traffic_is_resolved(traffic: dict[str, Any], policy: Policy) -> None:
    assert policy_of(traffic=traffic) == policy


@pytest.mark.parametrize(("latency", "policy"), cases(LATENCY))
def test_what_is_slow_is_resolved(latency: dict[str, Any], policy: Policy) -> None:
    assert policy_of(rollout={"latency": latency}) == policy


@pytest.mark.parametrize(("shadow", "policy"), cases(SHADOW))
def test_what_agrees_is_resolved(shadow: dict[str, Any], policy: Policy) -> None:
    assert policy_of(rollout={"shadow": shadow}) == policy


def test_an_unsure_answer_may_be_the_fallbacks_matter() -> None:
    traffic = {"fallback": [SAFE], "fallbackOnLowConfidence": True}
    assert policy_of(traffic=traffic).fallback == Fallback((), READ, on_low_confidence=True)


def test_outputs_may_be_others_where_the_schema_may_change() -> None:
    assert not policy_of(rollout={"schemaChange": "Allowed"}).agreement.same_outputs


def test_every_field_that_is_the_routers_business_has_a_case() -> None:
    fields = {*Traffic.model_fields, *Latency.model_fields, *Shadow.model_fields}
    assert fields == {*TRAFFIC, *LATENCY, *SHADOW} | ELSEWHERE
    assert {"latency", "shadow"} <= set(Rollout.model_fields)


def test_a_spec_that_says_nothing_is_the_default() -> None:
    assert policy_of() == Policy()


def test_policy_and_split_change_in_one_update() -> None:
    world = World().ask("v1", traffic={"timeout": "250ms"}).settled("Stable")
    assert world.status.policy == Policy(250).manifest()
    world.ask("v2", traffic={"timeout": "300ms"}).until("Canary")
    assert len(world.status.traffic) == 2
    assert Policy.read(world.status.policy) == Policy(300)
