"""The CRDs: structural, self-contained, with the models' defaults, and fresh in the tree."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from headgate.api import generate
from headgate.api.pod_parts import ReadAs
from headgate.api.ruled import SpecModel
from headgate.api.schema import model_deployment_crd, model_revision_crd, structural
from headgate.api.spec import Spec
from headgate.api.status import Status

Schema = dict[str, Any]

ROOT = Path(__file__).parents[3]
CRDS = {"ModelDeployment": model_deployment_crd(), "ModelRevision": model_revision_crd()}
FORBIDDEN = {
    "$ref",
    "$defs",
    "definitions",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "const",
    "title",
    "propertyNames",
    "patternProperties",
    "dependencies",
    "examples",
}
TYPES = {"object", "array", "string", "integer", "number", "boolean"}


def schema_of(crd: Schema) -> Schema:
    schema: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Schema, path: str = "", root: bool = True) -> Iterator[tuple[str, Schema]]:
    """Every schema in a schema."""
    yield path or ".", schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from nodes(schema[name], f"{path}[{name}]")


@pytest.mark.parametrize("kind", CRDS)
def test_the_schema_is_structural(kind: str) -> None:
    for path, node in nodes(schema_of(CRDS[kind])):
        assert not FORBIDDEN & set(node), path
        assert node.get("x-kubernetes-int-or-string", False) is ("type" not in node), path
        assert node.get("type", "string") in TYPES, path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert all(isinstance(node.get(f, True), bool) for f in ("exclusiveMinimum", "exclusiveMaximum")), path
        assert not isinstance(node.get("additionalProperties"), bool), path
        assert node.get("x-kubernetes-preserve-unknown-fields", True) is True, path


@pytest.mark.parametrize("kind", CRDS)
def test_arrays_say_what_they_hold_and_objects_what_is_in_them(kind: str) -> None:
    for path, node in nodes(schema_of(CRDS[kind])):
        if node.get("type") == "array":
            assert "items" in node, path
        if node.get("type") == "object" and path != ".metadata":
            assert {"properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(node), path


def test_the_defaults_of_the_schema_are_those_of_the_models() -> None:
    def filled(schema: Schema, value: dict[str, Any]) -> dict[str, Any]:
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = inner["default"]
            if isinstance(value.get(name), dict):
                value[name] = filled(inner, dict(value[name]))
        return value

    model = {"version": "1", "uri": "file:///m"}
    by_schema = filled(structural(Spec), {"model": model})
    by_models = Spec.model_validate({"model": model}).model_dump(mode="json", exclude_none=True)
    assert by_schema == by_models


def test_a_status_has_no_defaults() -> None:
    assert all("default" not in node for _, node in nodes(structural(Status)))


def test_every_field_of_the_spec_is_described() -> None:
    for path, node in nodes(structural(Spec)):
        if not path.endswith("]") and path != ".":
            assert node.get("description"), path


def test_every_rule_of_a_model_is_in_the_schema_wherever_it_is_used() -> None:
    def models(annotation: object) -> list[type[SpecModel]]:
        """The models in a field's type, each as often as it is used."""
        if isinstance(annotation, type) and issubclass(annotation, SpecModel):
            fields = annotation.model_fields.values()
            return [annotation, *(m for f in fields for part in (f.annotation, *f.metadata) for m in models(part))]
        if isinstance(annotation, ReadAs):
            return models(annotation.model)
        return [m for part in get_args(annotation) for m in models(part)]

    expected = Counter(rule.message for m in models(Spec) for rule in m.RULES)
    found = Counter(
        rule["message"] for _, node in nodes(structural(Spec)) for rule in node.get("x-kubernetes-validations", [])
    )
    assert {message: found[message] for message in expected} == expected


def test_conditions_are_a_map_by_type() -> None:
    conditions = schema_of(CRDS["ModelDeployment"])["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert "type" in conditions["items"]["required"]


def test_the_scale_subresource_points_at_fields_that_there_are() -> None:
    version = CRDS["ModelDeployment"]["spec"]["versions"][0]
    scale = version["subresources"]["scale"]
    for path in scale.values():
        node = schema_of(CRDS["ModelDeployment"])
        for part in path.strip(".").split("."):
            node = node["properties"][part]
    assert {c["name"] for c in version["additionalPrinterColumns"]} >= {"Ready", "Phase", "Stable", "Weight"}


def test_a_revision_is_immutable() -> None:
    spec = schema_of(CRDS["ModelRevision"])["properties"]["spec"]
    assert {"rule": "self == oldSelf", "message": "a revision is immutable"} in spec["x-kubernetes-validations"]


def test_the_generated_files_are_fresh(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_file_is_named_and_then_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(generate, "files", lambda: {Path("crds/models.yaml"): "new", Path("docs/fields.md"): "same"})
    Path("docs").mkdir()
    Path("docs/fields.md").write_text("same")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == "crds/models.yaml is stale: run `make crds`\n"
    assert generate.main([]) == 0
    assert Path("crds/models.yaml").read_text() == "new"
    assert generate.main(["--check"]) == 0


def test_the_generated_crds_are_the_models() -> None:
    written = yaml.safe_load((ROOT / "crds/modelrevisions.yaml").read_text())
    assert written == CRDS["ModelRevision"]


def test_no_map_in_a_status_can_become_null() -> None:
    """Server-side apply turns a map whose keys were all taken out into null, which the schema refuses."""

    def maps(schema: Schema, path: str) -> Iterator[str]:
        if "additionalProperties" in schema:
            yield path
        for name, part in schema.get("properties", {}).items():
            yield from maps(part, f"{path}.{name}")  # lists are replaced as a whole: nothing in them is taken out

    for kind, crd in CRDS.items():
        status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
        assert list(maps(status, f"{kind}.status")) == []
