"""Writes what follows from the models: `python -m headgate.api.generate [--check]`.

The CRDs go into `crds/` and into the chart, the table of all fields of the spec into `docs/fields.md`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from headgate.api.schema import Schema, model_deployment_crd, model_revision_crd, structural
from headgate.api.spec import Spec

HEADER = "# Generated from operator/headgate/api by `make crds`. Don't edit.\n"
CRD_FOLDERS = (Path("crds"), Path("charts/headgate/files/crds"))
FIELDS = Path("docs/fields.md")
AS_IN_A_POD = ("spec.runtime.podTemplate.affinity", "spec.runtime.resources", "spec.traffic.routerResources")
"""Whose fields are not in the table: they are those of Kubernetes."""
FIELDS_HEADER = """# Fields of a ModelDeployment

Generated from `operator/headgate/api/spec.py` by `make crds`. Don't edit.

| field | type | default | what |
|---|---|---|---|
"""


def files() -> dict[Path, str]:
    """Path -> content of everything that is generated."""
    crds = {folder / name: text for folder in CRD_FOLDERS for name, text in crd_files().items()}
    return {**crds, FIELDS: FIELDS_HEADER + "".join(_rows("spec", structural(Spec)))}


def _rows(path: str, schema: Schema) -> Iterator[str]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        if "properties" in field and where not in AS_IN_A_POD:
            yield from _rows(where, field)
            continue
        items = field.get("items", {})
        default = (
            "**required**" if name in required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
        )
        kind = " or ".join(f"`{v}`" for v in field.get("enum", [])) or field.get("type", "integer or string")
        rules = [r["message"] for r in field.get("x-kubernetes-validations", [])]
        text = " ".join([field.get("description", ""), *(f"It {r}." for r in rules)]).replace("|", "\\|")
        yield f"| `{where}` | {kind} | {default} | {text} |\n"
        if "properties" in items:
            yield from _rows(f"{where}[]", items)


def crd_files() -> dict[str, str]:
    """File name -> YAML of each CRD."""

    def dump(crd: Schema) -> str:
        return HEADER + yaml.safe_dump(crd, sort_keys=False, width=120)

    return {
        "modeldeployments.yaml": dump(model_deployment_crd()),
        "modelrevisions.yaml": dump(model_revision_crd()),
    }


def main(argv: list[str]) -> int:
    """Write the files, or with --check say which are stale. The exit status is 1 when any is."""
    stale = 0
    for path, text in files().items():
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in argv:
            print(f"{path} is stale: run `make crds`", file=sys.stderr)
            stale = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path}")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
