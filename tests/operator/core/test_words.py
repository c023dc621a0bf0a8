"""Names that belong into one place."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from headgate.api.revision import RevisionState
from headgate.api.status import DecisionKind, Phase

OPERATOR = Path(__file__).parents[3] / "operator" / "headgate"
PHASES = set(get_args(Phase))
OTHERS = {*get_args(RevisionState), *get_args(DecisionKind)}
"""Words that name something else as well."""


def test_only_its_own_folder_knows_envoys_series_and_settings() -> None:
    told: dict[Any, Any] = {}
    for path in OPERATOR.rglob("*.py"):
        if "dataplane/envoy" in path.as_posix():
            continue
        lines = path.read_text().splitlines()
        told |= {
            f"{path.relative_to(OPERATOR)}:{n}": line for n, line in enumerate(lines, 1) if "envoy" in line.lower()
        }
    allowed = re.compile(
        r"envoy_image|Image of Envoy|EnvoyDataPlane|Envoy's container|Envoy can wait|router\.envoy\.|ENVOY_MEMORY"
    )
    assert {where: line for where, line in told.items() if not allowed.search(line)} == {}


def names_of_phases(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each string that only names a phase, or that is compared with one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in PHASES - OTHERS:
            yield node.lineno, str(node.value)
        if isinstance(node, ast.Compare) and any(
            isinstance(side, ast.Attribute) and side.attr == "phase" for side in (node.left, *node.comparators)
        ):
            strings = (each for side in (node.left, *node.comparators) for each in ast.walk(side))
            yield from (
                (each.lineno, each.value)
                for each in strings
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )


def test_only_phases_and_the_api_know_the_names_of_phases() -> None:
    found = {
        f"{path.relative_to(OPERATOR)}:{line}": name
        for path in OPERATOR.rglob("*.py")
        if path.relative_to(OPERATOR).parts[0] != "api" and "core/phases" not in path.as_posix()
        for line, name in names_of_phases(ast.parse(path.read_text()))
    }
    assert found == {}
