"""Nothing among the tests is left over: each file has tests, and what tests share is used."""

import ast
import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
HELPERS = TESTS / "helpers"
FILES = [path for folder in ("tests", "e2e", "bench") for path in (TESTS.parent / folder).rglob("*.py")]


def has_tests(path: Path) -> bool:
    """Functions named test_, or a class named Test, such as a state machine's `TestCase`."""
    return bool(re.search(r"^(?:    )?(?:async )?def test_|^(?:class )?Test\w+", path.read_text(), re.MULTILINE))


def defined(path: Path) -> list[str]:
    """Functions and classes of a module."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)]


def test_each_test_file_has_tests() -> None:
    assert [path.name for path in FILES if path.name.startswith("test_") and not has_tests(path)] == []


def test_each_helper_is_used() -> None:
    words = Counter(word for path in FILES for word in re.findall(r"\w+", path.read_text()))
    unused = [f"{path.name}: {name}" for path in HELPERS.glob("*.py") for name in defined(path) if words[name] == 1]
    assert unused == []
