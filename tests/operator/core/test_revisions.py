"""What makes a revision, and what is put on its record."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.api.spec import Spec
from headgate.core.revisions import HISTORY_LIMIT, forgettable, revision_name
from told import counts
from world import DEFAULTS, DIGEST, Behaviour, World, candidate_of, rollout_of, stable_of

MODEL = {"version": "1", "uri": "file:///models/1"}
CUSTOM = {"engine": "custom", "image": "registry.example/own:1"}


def name(model: dict[str, Any] = MODEL, **spec: Any) -> str:
    return revision_name("fraud", Spec.model_validate({"model": model, **spec}))


def test_a_revision_is_called_after_its_deployment_and_eight_hex_digits() -> None:
    assert re.fullmatch(r"fraud-[0-9a-f]{8}", name())


@pytest.mark.parametrize(
    "spec",
    [
        {"runtime": {"replicas": 7}},
        {"runtime": {"autoscaling": {"maxReplicas": 7}}},
        {"runtime": {"engine": "onnxruntime", "replicas": 1, "resources": {}, "podTemplate": {}}},
        {"runtime": {"podTemplate": {"nodeSelector": {}, "tolerations": [], "env": []}}},
        {"runtime": {"podTemplate": {"serviceAccountName": "", "priorityClassName": ""}}},
        {"rollout": {"alpha": 0.05}},
        {"traffic": {"timeout": "2s"}},
        {"governance": {"owner": "risk"}},
        {"monitoring": {"drift": {"tolerance": 0.2}, "sample": "1%"}},
        {"runtime": {"command": [], "args": []}},
    ],
)
def test_neither_the_number_of_pods_nor_a_default_nor_a_policy_makes_a_new_revision(spec: dict[str, Any]) -> None:
    assert name(**spec) == name()


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {**MODEL, "version": "2"}},
        {"model": {**MODEL, "uri": "file:///models/2"}},
        {"model": {**MODEL, "digest": DIGEST}},
        {"runtime": {"image": "registry.example/own:1"}},
        {"runtime": CUSTOM},
        {"runtime": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
        {"runtime": {"podTemplate": {"nodeSelector": {"gpu": "a100"}}}},
        {"runtime": {"podTemplate": {"env": [{"name": "A", "value": "b"}]}}},
    ],
)
def test_whatever_changes_the_pods_makes_a_new_revision(spec: dict[str, Any]) -> None:
    assert name(**spec) != name()


@pytest.mark.parametrize("more", [{"command": ["/server"]}, {"args": ["--fast"]}, {"args": ["--fast", "--safe"]}])
def test_what_a_custom_engine_starts_with_makes_a_new_revision(more: dict[str, Any]) -> None:
    assert name(runtime={**CUSTOM, **more}) != name(runtime=CUSTOM)


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ({}, "fraud-4f38e969"),
        ({"image": "registry.example/own:1"}, "fraud-7fffdf08"),
        (
            {
                "engine": "onnxruntime",
                "image": "registry.example/own:1",
                "resources": {"limits": {"nvidia.com/gpu": 1}},
                "podTemplate": {"nodeSelector": {"gpu": "a100"}, "env": [{"name": "A", "value": "b"}]},
            },
            "fraud-1293bc66",
        ),
    ],
)
def test_a_later_headgate_calls_a_revision_as_an_earlier_one_did(runtime: dict[str, Any], expected: str) -> None:
    assert name(runtime=runtime) == expected


@given(st.permutations(["version", "uri", "digest"]))
def test_the_order_of_the_fields_does_not_matter(order: list[Any]) -> None:
    fields = {**MODEL, "digest": DIGEST}
    assert name({k: fields[k] for k in order}) == name(fields)


def recorded(world: World, version: str) -> tuple[Any, ...]:
    view = next(v for v in world.revisions.values() if v.spec.model.version == version)
    return [(d.decision, d.reason) for d in view.status.decisions], view.status


def test_decisions_are_recorded_once_and_with_the_evidence() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2", Behaviour(failing=0.2)).settled("RolledBack")
    world.looks(10, seconds=30)
    decisions, status = recorded(world, "v2")
    assert decisions == [("RolledBack", "ErrorsHigher")]
    (decision,) = status.decisions
    assert decision.evidence.of("errors").verdict == "Fail"
    assert decision.candidateRequests == counts(decision.evidence, "errors")["candidateAttempts"] > 0
    assert decision.generation == 2
    assert (status.state, status.digest) == ("RolledBack", DIGEST)


def test_the_first_version_is_recorded_without_evidence() -> None:
    world = World().ask("v1").settled("Stable")
    decisions, status = recorded(world, "v1")
    assert decisions == [("Live", "FirstVersion")]
    assert status.decisions[0].evidence is None
    assert status.state == "Stable"


def test_a_superseded_candidate_keeps_the_evidence_that_there_was() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2").until("Canary")
    world.looks(3)
    world.ask("v3").look()
    decisions, status = recorded(world, "v2")
    assert decisions == [("Superseded", "SpecChanged")]
    assert counts(status.decisions[0].evidence, "errors")["candidateAttempts"] > 0
    assert status.state == "Retired"


def test_a_decision_is_recorded_even_if_the_operator_died_after_it_wrote_the_status() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2", Behaviour(failing=0.2)).until("Canary")
    before = {}
    while world.status.phase == "Canary":
        before = dict(world.revisions)
        world.look()
    world.revisions = before
    world.look()
    decisions, status = recorded(world, "v2")
    assert decisions == [("RolledBack", "ErrorsHigher")]
    assert status.decisions[0].evidence.of("errors").verdict == "Fail"


def test_a_rollout_after_a_rejection_is_a_record_of_its_own() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2", Behaviour(failing=0.2)).settled("RolledBack")
    world.ask("v1").look()
    world.ask("v2", Behaviour()).until("Promoting")
    assert [d[0] for d in recorded(world, "v2")[0]] == ["RolledBack", "Promoted"]


def test_a_candidate_remembers_what_it_was_born_to_replace() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2").until("Soaking")
    _, status = recorded(world, "v2")
    view = world.revisions[rollout_of(world.status).revision]
    assert status.baseline.revision == stable_of(world.status).revision == view.spec.parent
    assert (status.baseline.uri, status.baseline.digest) == ("pvc://models/fraud/v1", DIGEST)
    world.now += 600
    world.settled("Stable")
    assert recorded(world, "v2")[1].baseline == status.baseline


def test_the_image_that_was_the_default_is_frozen() -> None:
    world = World().ask("v1").settled("Stable")
    (view,) = world.revisions.values()
    assert view.spec.runtime.image == DEFAULTS.serving_image


def test_of_a_custom_engine_headgates_own_image_is_frozen_too() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2", runtime={**CUSTOM, "command": ["/server"], "args": ["--fast"]}).look()
    frozen = {v.spec.model.version: v.spec.runtime for v in world.revisions.values()}
    assert (frozen["v1"].tools, frozen["v1"].engine) == ("", "onnxruntime")
    own = frozen["v2"]
    assert (own.image, own.tools, own.engine) == (CUSTOM["image"], DEFAULTS.serving_image, "custom")
    assert (own.command, own.args) == (["/server"], ["--fast"])


def test_a_rejected_revision_stays_rejected_when_the_history_has_forgotten_it() -> None:
    world = World().ask("v1").settled("Stable")
    world.ask("v2", Behaviour(failing=0.2)).settled("RolledBack")
    world.ask("v1").look()
    world.status = replace(world.status, history=[])
    world.look()
    assert recorded(world, "v2")[1].state == "RolledBack"


def test_old_records_are_forgotten_beyond_the_limit_the_oldest_first() -> None:
    world = World().ask("v1").settled("Stable")
    for i in range(HISTORY_LIMIT + 4):
        world.ask(f"w{i}").look(10)
    world.looks(2, seconds=10)
    unused = set(world.revisions) - {r.revision for r in (stable_of(world.status), candidate_of(world.status))}
    assert len(unused) == HISTORY_LIMIT
    versions = {v.spec.model.version for v in world.revisions.values()}
    assert {"v1", "w13"} <= versions
    assert versions.isdisjoint({"w0", "w1"})


def test_what_is_in_use_is_never_forgotten() -> None:
    world = World().ask("v1").settled("Stable")
    view = next(iter(world.revisions.values()))
    many = {f"fraud-{i:08x}": replace(view, name=f"fraud-{i:08x}", created=f"{i:03d}") for i in range(15)}
    o = replace(world.observe(), revisions=many)
    kept = frozenset({"fraud-00000000", "fraud-00000001"})
    assert forgettable(o, kept) == ("fraud-00000002", "fraud-00000003", "fraud-00000004")
