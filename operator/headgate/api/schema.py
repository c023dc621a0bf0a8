"""From the pydantic models to CustomResourceDefinitions.

Turns pydantic's JSON schema (2020-12, with references) into Kubernetes' structural form (OpenAPI 3.0): references
are written out, `X | None` becomes an optional X, exclusive bounds become flags, a nested model's default becomes
`{}` so that the API server fills it in from the inner defaults.
"""

from typing import Any

from headgate.api import GROUP, VERSION, contract, fallback_rules, rules
from headgate.api.revision import RevisionSpec, RevisionStatus
from headgate.api.ruled import SpecModel
from headgate.api.spec import Spec
from headgate.api.status import Status
from headgate.api.stored import Stored

Schema = dict[str, Any]

_DROPPED = ("title", "$defs", "additionalProperties", "propertyNames", "const")


def structural(model: type[SpecModel] | type[Stored]) -> Schema:
    """The structural schema of `model`, self-contained. Only a spec has defaults: a status is what was observed."""
    dropped = _DROPPED if issubclass(model, SpecModel) else (*_DROPPED, "default")
    raw = model.model_json_schema() if issubclass(model, SpecModel) else model.schema()
    definitions = raw.get("$defs", {})
    rules_by_name = {m.__name__: m.RULES for m in _subclasses(SpecModel)}

    def convert(node: Schema) -> Schema:
        if "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[1]
            merged = {**definitions[name], **{k: v for k, v in node.items() if k != "$ref"}}
            out = convert(merged)
            if isinstance(node.get("default"), dict) and "default" not in dropped:
                out["default"] = {}
            _add_rules(out, rules_by_name.get(name, ()))
            return out
        if "anyOf" in node:
            (inner,) = (option for option in node["anyOf"] if option.get("type") != "null")
            outer = {k: v for k, v in node.items() if k not in ("anyOf", "default")}
            return convert({**inner, **outer})
        out = {k: v for k, v in node.items() if k not in dropped}
        if "const" in node:
            out["enum"] = [node["const"]]
        _flag_exclusive_bounds(out)
        _keep_map_values(node, out, convert)
        if "properties" in out:
            out["properties"] = {k: convert(v) for k, v in out["properties"].items()}
        if "items" in out:
            out["items"] = convert(out["items"])
        if "description" in out:
            out["description"] = " ".join(out["description"].split())
        return out

    converted = convert(raw)
    _add_rules(converted, getattr(model, "RULES", ()))
    return converted


def _subclasses(cls: type[SpecModel]) -> list[type[SpecModel]]:
    return [s for direct in cls.__subclasses__() for s in (direct, *_subclasses(direct))]


def _add_rules(out: Schema, model_rules: tuple[rules.Rule, ...]) -> None:
    if model_rules:
        out["x-kubernetes-validations"] = [rule.manifest() for rule in model_rules]


def _flag_exclusive_bounds(out: Schema) -> None:
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in out:
            out[inclusive] = out.pop(exclusive)
            out[exclusive] = True


def _keep_map_values(node: Schema, out: Schema, convert: Any) -> None:
    values = node.get("additionalProperties")
    if isinstance(values, dict) and not node.get("x-kubernetes-preserve-unknown-fields"):
        out["additionalProperties"] = convert(values)


def _crd(kind: str, plural: str, short: list[str], version: Schema) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
                "categories": ["headgate"],
            },
            "versions": [{"name": VERSION, "served": True, "storage": True, **version}],
        },
    }


def _object(description: str, spec: Schema, status: Schema) -> Schema:
    return {
        "openAPIV3Schema": {
            "description": description,
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": spec,
                "status": status,
            },
        }
    }


def _column(name: str, path: str, type_: str = "string", **more: Any) -> Schema:
    return {"name": name, "type": type_, "jsonPath": path, **more}


def model_deployment_crd() -> Schema:
    """The CRD of ModelDeployment."""
    status = structural(Status)
    _keyed(status["properties"]["conditions"], "type")
    _keyed(status["properties"]["rollout"]["properties"]["evidence"]["properties"]["signals"], "name")
    schema = _object(
        "A model in production: what is served, and how a new version is let in.", structural(Spec), status
    )
    schema["openAPIV3Schema"]["x-kubernetes-validations"] = [
        rules.SHORT_NAME.manifest(),
        fallback_rules.NOT_ITSELF.manifest(),
    ]
    return _crd(
        "ModelDeployment",
        contract.DEPLOYMENTS,
        ["mdep"],
        {
            "schema": schema,
            "subresources": {
                "status": {},
                "scale": {
                    "specReplicasPath": ".spec.runtime.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                },
            },
            "additionalPrinterColumns": [
                _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
                _column("Phase", ".status.phase"),
                _column("Stable", ".status.stable.version"),
                _column("Candidate", ".status.candidate.version"),
                _column("Weight", ".status.candidateWeight", "number"),
                _column("Reason", '.status.conditions[?(@.type=="Ready")].reason', priority=1),
                _column("Age", ".metadata.creationTimestamp", "date"),
            ],
        },
    )


def _keyed(items: Schema, key: str) -> None:
    """A list in which each entry has a name."""
    items["x-kubernetes-list-type"] = "map"
    items["x-kubernetes-list-map-keys"] = [key]


def model_revision_crd() -> Schema:
    """The CRD of ModelRevision."""
    spec = structural(RevisionSpec)
    spec["x-kubernetes-validations"] = [{"rule": "self == oldSelf", "message": "a revision is immutable"}]
    schema = _object("One version that was asked for, and every decision about it.", spec, structural(RevisionStatus))
    return _crd(
        "ModelRevision",
        "modelrevisions",
        ["mrev"],
        {
            "schema": schema,
            "subresources": {"status": {}},
            "additionalPrinterColumns": [
                _column("Model", ".spec.deployment"),
                _column("Version", ".spec.model.version"),
                _column("State", ".status.state"),
                _column("Decision", ".status.decisions[-1:].reason"),
                _column("Age", ".metadata.creationTimestamp", "date"),
            ],
        },
    )
