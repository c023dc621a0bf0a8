"""Story 2: a real API server and `headgate validate` judge every manifest alike, and both name the field."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from setup.cache import REPOSITORY
from stories.installation import Headgate

HEADGATE = Path(sys.executable).with_name("headgate")
TABLE = REPOSITORY / "tests" / "operator" / "api" / "manifest_cases.py"

Json = dict[str, Any]


def test_bad_manifests_are_refused_with_the_field_by_both(headgate: Headgate, namespace: str) -> None:
    bad = table().BAD
    assert len(bad) > 20

    wrong = []
    for case in bad:
        offline, server = validated(headgate, case.manifest), applied(headgate, case.manifest, namespace)
        field = case.field.rpartition(".")[2]
        last = field if not field.isdigit() else case.field.rpartition(".")[0].rpartition(".")[2]
        if not offline or f"{case.field}: " not in offline or case.reason not in offline:
            wrong.append(f"{case.name}: headgate validate said: {offline or 'valid'}")
        if not server or not re.search(rf"\b{re.escape(last)}\b", server):
            wrong.append(f"{case.name}: the API server said: {server or 'created'}")
    assert not wrong, "\n".join(wrong)
    assert headgate.cluster.get("md", f"--namespace={namespace}")["items"] == []


def test_good_manifests_are_taken_by_both(headgate: Headgate, namespace: str) -> None:
    good = table().GOOD
    judged = {
        name: (validated(headgate, manifest), applied(headgate, manifest, namespace, "--dry-run=server"))
        for name, manifest in good.items()
    }
    assert judged == dict.fromkeys(good, ("", ""))


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


def validated(headgate: Headgate, manifest: Json) -> str:
    """What `headgate validate` said against it; "" if it is valid."""
    done = headgate.cluster.run([HEADGATE, "validate", "-f", "-"], input=yaml.safe_dump(manifest), check=False)
    return done.stdout if done.returncode else ""
