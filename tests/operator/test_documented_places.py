"""What docs/architecture.md, docs/decisions and the way in README name is there: files, functions, headings."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
DECIDED = re.findall(r"^\| [^|]+ \| `((?:operator|serving)/[^`]+)` \| `(\w+)` \|$", TEXT, re.MULTILINE)
README = (ROOT / "README.md").read_text()
DECISIONS = ROOT / "docs" / "decisions"
DECISION_FILES = sorted(DECISIONS.glob("[0-9]*.md"))
HEADINGS = ["Context", "Choice", "Figures", "Consequences"]
TOP = "operator|serving|bench|core|api|edges|cli|tests|e2e|docs|charts|crds"
NAMED = re.compile(rf"`((?:{TOP})/[\w./-]*|\w[\w./-]*\.(?:py|md))`")
"""A path in backticks. A file may be named by the end of its path."""
PLACES = [ROOT, ROOT / "operator" / "headgate", ROOT / "serving", ROOT / "serving" / "headgate_serving"]


def defined(path: str) -> set[Any]:
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_the_table_has_twenty_rows() -> None:
    assert len(DECIDED) >= 20


@pytest.mark.parametrize(("path", "name"), DECIDED)
def test_what_decides_is_where_the_table_says(path: str, name: str) -> None:
    assert name in defined(path)


def test_the_way_of_a_change_leads_through_files_that_are_there() -> None:
    way = re.findall(r"^\d\. \[`[^`]+`\]\(([^)]+)\)", README, re.MULTILINE)
    assert 5 <= len(way) <= 8
    assert all((ROOT / path).is_file() for path in way)


def test_files_that_documents_link_to_are_there() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([\w./-]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"


def is_there(path: str) -> bool:
    ends = (any((ROOT / folder).rglob(path)) for folder in ("operator", "serving"))
    return any((place / path).exists() for place in PLACES) or any(ends)


@pytest.mark.parametrize("path", [ROOT / "docs" / "architecture.md", *DECISION_FILES], ids=lambda path: path.stem)
def test_paths_in_backticks_are_there(path: Path) -> None:
    assert [named for named in NAMED.findall(path.read_text()) if not is_there(named)] == []


@pytest.mark.parametrize("path", DECISION_FILES, ids=lambda path: path.stem)
def test_a_decision_has_its_headings_in_order(path: Path) -> None:
    title, *_ = lines = path.read_text().splitlines()
    found = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert title.startswith(f"# {path.name[:2]}. ")
    assert found in (HEADINGS, [heading for heading in HEADINGS if heading != "Figures"])


def test_every_decision_is_in_the_table_by_its_number_and_title() -> None:
    rows = re.findall(
        r"^\| (\d\d) \| \[([^\]]+)\]\(([^)]+)\) \| [^|]+ \|$", (DECISIONS / "README.md").read_text(), re.M
    )
    titles = [path.read_text().splitlines()[0].removeprefix("# ") for path in DECISION_FILES]
    assert [(f"{number}. {title}", name) for number, title, name in rows] == [
        (title, path.name) for title, path in zip(titles, DECISION_FILES, strict=True)
    ]
    assert [number for number, *_ in rows] == [f"{number:02}" for number in range(1, len(rows) + 1)]


def test_the_tests_that_security_names_are_there() -> None:
    said = re.findall(r"\[((?:test_\w+(?:\.py)?(?:, )?)+)\]", (ROOT / "docs" / "security.md").read_text())
    named = {name for names in said for name in names.split(", ")}
    files = [path for folder in ("tests", "e2e") for path in (ROOT / folder).rglob("test_*.py")]
    functions = {name for path in files for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)}
    assert len(named) > 20
    assert named - functions - {path.name for path in files} == set()
