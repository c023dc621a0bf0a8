"""What the docstring of a module says of who calls it is true: the module that it names imports it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "operator", ROOT / "serving", ROOT / "cli"]
SENTENCE = re.compile(r"\b(?:[Cc]alled|[Uu]sed) by ((?:[^.;:]|\.(?=\w))*)")
NAME = re.compile(r"`([a-z_][\w.]*)`")
"""A module; a command of more than one word is none."""


def dotted(source: Path, path: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {dotted(source, path): ast.parse(path.read_text()) for source in SOURCES for path in source.rglob("*.py")}


PACKAGES = {dotted(source, path) for source in SOURCES for path in source.rglob("__init__.py")}


def imports(module: str) -> Iterator[str]:
    """Modules that a module imports, and names of what may be some."""
    parts = [*module.split("."), *(["__init__"] if module in PACKAGES else [])]
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = parts[: -node.level] if node.level else []
            found = ".".join([*start, *([node.module] if node.module else [])])
            yield found
            yield from (f"{found}.{alias.name}" for alias in node.names)


IMPORTS = {module: set(imports(module)) for module in TREES}
CLAIMS = [
    (module, caller)
    for module, tree in TREES.items()
    for sentence in SENTENCE.findall(ast.get_docstring(tree) or "")
    for caller in NAME.findall(" ".join(sentence.split()))
]


def calls(caller: str, module: str) -> bool:
    """Whether a module of this name, or one in the package of this name, imports the other one."""
    inside = re.compile(rf"(.*\.)?{re.escape(caller)}(\..*)?")
    return any(module in imported for name, imported in IMPORTS.items() if inside.fullmatch(name))


def test_there_is_something_to_check() -> None:
    assert len(CLAIMS) > 20


@pytest.mark.parametrize(("module", "caller"), CLAIMS)
def test_who_is_said_to_call_a_module_imports_it(module: str, caller: str) -> None:
    assert calls(caller, module), f"{module} says that it is called by {caller}, which does not import it"
