"""The tables of docs/architecture.md and the way in README name files and functions that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
DECIDED = re.findall(r"^\| [^|]+ \| `((?:operator|serving)/[^`]+)` \| `(\w+)` \|$", TEXT, re.MULTILINE)
README = (ROOT / "README.md").read_text()


def defined(path):
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_the_table_has_twenty_rows():
    assert len(DECIDED) >= 20


@pytest.mark.parametrize(("path", "name"), DECIDED)
def test_what_decides_is_where_the_table_says(path, name):
    assert name in defined(path)


def test_the_way_of_a_change_leads_through_files_that_are_there():
    way = re.findall(r"^\d\. \[`[^`]+`\]\(([^)]+)\)", README, re.MULTILINE)
    assert 5 <= len(way) <= 8
    assert all((ROOT / path).is_file() for path in way)


def test_files_that_documents_link_to_are_there():
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([\w./-]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
