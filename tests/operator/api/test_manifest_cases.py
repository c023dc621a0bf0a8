"""One table of manifests before `headgate validate` and before the CRD's schema: both agree."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft4Validator, ValidationError, validators

from headgate.api import rules
from headgate.api.policy import Policy
from headgate.api.schema import model_deployment_crd
from headgate.api.spec import Spec
from headgate.core.dataplane.policy import resolved
from headgate_cli.validate import check
from headgate_serving.router.policy.traffic import parse_deployment
from manifest_cases import BAD, GOOD, MINIMAL, Bad

Schema = dict[str, Any]
SCHEMA: Schema = model_deployment_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


CASES = [pytest.param(bad, id=bad.name) for bad in BAD]
(SHORT_NAME,) = re.findall(r"matches\('(.*)'\)", rules.SHORT_NAME.cel)


def without_nulls(value: Any) -> Any:
    """Fields that are null are dropped before the API server validates."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


OPENAPI = validators.extend(
    Draft4Validator,
    {"x-kubernetes-int-or-string": lambda validator, _, value, __: int_or_string(validator, value)},
)(SCHEMA)
"""OpenAPI 3.0 says exclusive bounds as draft 4 does."""


def int_or_string(validator: Draft4Validator, value: Any) -> Iterator[ValidationError]:
    """What stands in the place of a type."""
    if not (validator.is_type(value, "string") or validator.is_type(value, "integer")):
        yield ValidationError(f"{value!r} is no integer and no string")


def keys_twice(schema: Schema, value: Any) -> Iterator[Any]:
    """Items of a list with the same key, which the API server refuses."""
    if isinstance(value, list):
        if schema.get("x-kubernetes-list-type") == "map":
            keys = [
                [item.get(key) for key in schema["x-kubernetes-list-map-keys"]]
                for item in value
                if isinstance(item, dict)
            ]
            yield from (key for at, key in enumerate(keys) if key in keys[:at])
        for item in value:
            yield from keys_twice(schema.get("items", {}), item)
    elif isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            yield from keys_twice(inner, value.get(name))


def unknown_fields(schema: Schema, value: Any) -> Iterator[str]:
    """What the API server would prune, or refuse when it is strict."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, list):
        for item in value:
            yield from unknown_fields(schema.get("items", {}), item)
    elif isinstance(value, dict) and "properties" in schema:
        for name, inner in value.items():
            if name in schema["properties"]:
                yield from unknown_fields(schema["properties"][name], inner)
            else:
                yield name


@pytest.mark.parametrize("name", GOOD)
def test_a_good_manifest_is_valid(name: str) -> None:
    assert check(GOOD[name]) == []


@pytest.mark.parametrize("name", GOOD)
def test_a_good_manifest_fits_the_schema(name: str) -> None:
    manifest = without_nulls(GOOD[name])
    assert list(OPENAPI.iter_errors(manifest)) == []
    assert list(unknown_fields({**SCHEMA, "properties": {**SCHEMA["properties"], "metadata": {}}}, manifest)) == []


@pytest.mark.parametrize("name", GOOD)
def test_routers_can_read_all_of_a_good_manifest(name: str) -> None:
    split = [{"revision": "fraud-1a2b3c4d", "role": "stable", "weight": 100}]
    manifest = without_nulls(GOOD[name])
    for written in (
        manifest,
        {**manifest, "spec": Spec.model_validate(manifest["spec"]).model_dump(exclude_none=True)},
    ):
        policy = resolved("fraud", Spec.model_validate(written["spec"])).manifest()
        intent = parse_deployment({"status": {"traffic": split, "policy": policy}})
        assert intent.ignored == ()
        assert len(intent.targets) == 1


@pytest.mark.parametrize("bad", CASES)
def test_no_manifest_however_bad_holds_up_what_routers_do(bad: Bad) -> None:
    split = [{"revision": "fraud-1a2b3c4d", "role": "stable", "weight": 100}]
    manifest = bad.manifest if isinstance(bad.manifest.get("spec"), dict) else {}
    policy = Policy(200)
    intent = parse_deployment({**manifest, "status": {"traffic": split, "policy": policy.manifest()}})
    assert (len(intent.targets), intent.policy, intent.ignored) == (1, policy, ())


@pytest.mark.parametrize("bad", CASES)
def test_a_bad_manifest_is_refused_with_field_and_reason(bad: Bad) -> None:
    findings = check(bad.manifest)
    assert [f.field for f in findings] == [bad.field]
    assert bad.reason in findings[0].reason


@pytest.mark.parametrize("bad", CASES)
def test_a_bad_manifest_is_refused_by_the_api_server_for_the_reason_in_the_table(bad: Bad) -> None:
    manifest = without_nulls(bad.manifest)
    fits = OPENAPI.is_valid(manifest)
    unknown = list(unknown_fields({**SCHEMA, "properties": {**SCHEMA["properties"], "metadata": {}}}, manifest))
    by_name = not re.match(SHORT_NAME, manifest["metadata"]["name"])
    if bad.by == "schema":
        assert not fits
    else:
        assert fits, "the schema alone lets it pass"
    assert bool(list(keys_twice(SCHEMA, manifest))) == (bad.by == "key")
    assert bool(unknown) == (bad.by == "unknown field")
    assert by_name == (bad.by == "name")


def test_several_mistakes_are_all_told() -> None:
    broken = {**MINIMAL, "spec": {**MINIMAL["spec"], "rollout": {"alpha": 7, "soak": "x"}, "extra": 1}}
    assert [f.field for f in check(broken)] == ["spec.rollout.alpha", "spec.rollout.soak", "spec.extra"]


@pytest.mark.parametrize("metadata", [None, [], {}, {"name": None}, {"name": 7}])
def test_a_manifest_without_a_usable_name_is_refused(metadata: object) -> None:
    assert [f.field for f in check({**MINIMAL, "metadata": metadata})] == ["metadata.name"]


def test_another_version_of_the_api_is_refused() -> None:
    (finding,) = check({**MINIMAL, "apiVersion": "headgate.dev/v1"})
    assert (finding.field, finding.reason) == ("apiVersion", "must be headgate.dev/v1alpha1")
