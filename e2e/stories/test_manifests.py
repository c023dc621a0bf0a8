"""Story 2: a real API server and `headgate validate` judge every manifest alike, and both name the field."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from stories.installation import Headgate
from tools.setup.cache import REPOSITORY

HEADGATE = Path(sys.executable).with_name("headgate")
TABLE = REPOSITORY / "tests" / "helpers" / "manifest_cases.py"

Json = dict[str, Any]


def test_bad_manifests_are_refused_with_the_field_by_both(headgate: Headgate, namespace: str, tmp_path: Path) -> None:
    bad = table().BAD
    assert len(bad) > 20

    offline = validated(headgate, [case.manifest for case in bad], tmp_path)
    wrong = []
    for case, found in zip(bad, offline, strict=True):
        if f": {case.field}: " not in found or case.reason not in found:
            wrong.append(f"{case.name}: headgate validate said: {found or 'valid'}")
        said = applied(headgate, case.manifest, namespace)
        if not re.search(rf"\b{re.escape(last_word(case.field))}\b", said):
            wrong.append(f"{case.name}: the API server said: {said or 'created'}")
    assert not wrong, "\n".join(wrong)
    assert headgate.cluster.get("modeldeployments", f"--namespace={namespace}")["items"] == []


def test_good_manifests_are_taken_by_both(headgate: Headgate, namespace: str, tmp_path: Path) -> None:
    good = table().GOOD
    offline = validated(headgate, list(good.values()), tmp_path)
    assert dict(zip(good, offline, strict=True)) == dict.fromkeys(good, "")
    server = {name: applied(headgate, each, namespace, "--dry-run=server") for name, each in good.items()}
    assert server == dict.fromkeys(good, "")


def last_word(field: str) -> str:
    """What both call a field; one of them numbers items with dots, and the other in brackets."""
    return [word for word in field.split(".") if not word.isdigit()][-1]


def table() -> ModuleType:
    """The unit tests' table: one for `headgate validate`, for the CRD's schema and for the API server."""
    spec = importlib.util.spec_from_file_location("manifest_cases", TABLE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def applied(headgate: Headgate, manifest: Json, namespace: str, *options: str) -> str:
    """What `kubectl apply` said against it; "" if it was taken. Unknown fields are refused, as they are by default."""
    text = json.dumps({**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}})
    done = headgate.cluster.run(["kubectl", "apply", *options, "--filename=-"], input=text, check=False)
    return done.stderr if done.returncode else ""


def validated(headgate: Headgate, manifests: list[Json], folder: Path) -> list[str]:
    """What `headgate validate` said against each; "" if it is valid."""
    files = [folder / f"{number:03}.yaml" for number, _ in enumerate(manifests)]
    for file, manifest in zip(files, manifests, strict=True):
        file.write_text(json.dumps(manifest))
    done = headgate.cluster.run([HEADGATE, "validate", *(f"--filename={file}" for file in files)], check=False)
    assert done.returncode in (0, 1), done.stderr
    said = done.stdout.splitlines() if done.returncode else []
    return ["\n".join(line for line in said if line.startswith(f"{file}: ")) for file in files]
