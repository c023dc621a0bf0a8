"""Writes the CRDs into `crds/` and into the chart: `python -m headgate.api.generate [--check]`."""

import sys
from pathlib import Path

import yaml

from headgate.api.schema import Schema, model_deployment_crd, model_revision_crd

HEADER = "# Generated from operator/headgate/api by `make crds`. Don't edit.\n"
TARGETS = (Path("crds"), Path("charts/headgate/files/crds"))


def documents() -> dict[str, str]:
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
    for folder in TARGETS:
        for name, text in documents().items():
            path = folder / name
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
