"""The names that several parts agree on stand in `contract` alone, and the documents have them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.api import contract

ROOT = Path(__file__).parents[3]
CONTRACT = Path(contract.__file__)
PRODUCT = sorted(path for folder in ("operator", "serving", "cli") for path in (ROOT / folder).rglob("*.py"))
PROGRAMS = {
    contract.AgentArgument: ("serving/headgate_serving/router", "operator/headgate/core/dataplane"),
    contract.RuntimeArgument: ("serving/headgate_serving/runtime", "operator/headgate/core/engines"),
    contract.MonitorArgument: ("serving/headgate_serving/sidecar", "operator/headgate/core/engines"),
    contract.FetchArgument: ("serving/headgate_serving/artifact", "operator/headgate/core/manifests"),
}
"""An argument such as --model is other programs' word too: who starts each of them, and who reads its arguments."""
ALSO_WORDS = {
    *(contract.HTTP_PORT_NAME, contract.GRPC_PORT_NAME, contract.SAMPLES_PORT_NAME, contract.METRICS_PORT_NAME),
    *(contract.RUNTIME_COMPONENT, contract.ROUTER_COMPONENT),
}
"""Names of the contract that are words of the language, and stand for other things as well."""
KUBERNETES_OWN = {contract.VERSION: "a version of an API of Kubernetes' has the same form"}


def constants(path: Path) -> Iterator[tuple[int, Any]]:
    """Line and value of each constant that is no docstring."""
    tree = ast.parse(path.read_text())
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in texts:
            yield node.lineno, node.value


def names() -> set[str]:
    values = {value for name, value in vars(contract).items() if name.isupper() and isinstance(value, str)}
    return values - ALSO_WORDS - KUBERNETES_OWN.keys()


def arguments(program: type) -> set[str]:
    return {value for name, value in vars(program).items() if name.isupper()}


def again(path: Path, known: set[str]) -> list[str]:
    """Where a file spells one of these names; of a counter also without what Prometheus adds."""
    bare = known | {name.removesuffix("_total") for name in known}
    return [
        f"{path.relative_to(ROOT)}:{line}: {value!r}"
        for line, value in constants(path)
        if (value.decode("latin-1") if isinstance(value, bytes) else value) in bare
    ]


def test_no_name_is_spelled_a_second_time() -> None:
    assert [place for path in PRODUCT if path != CONTRACT for place in again(path, names())] == []


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_no_argument_is_spelled_a_second_time(program: type[object]) -> None:
    files = [path for folder in PROGRAMS[program] for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 2
    assert [place for path in files for place in again(path, arguments(program))] == []


def test_no_port_is_spelled_a_second_time() -> None:
    ports = {value for name, value in vars(contract).items() if name.endswith("_PORT") and isinstance(value, int)}
    assert ports == {8000, 8001, 8002, 8003, 8004, 8080, 8081}
    # The operator's own port is a setting of its own.
    own = ROOT / "operator" / "headgate" / "settings.py"
    assert [
        f"{path.relative_to(ROOT)}:{line}"
        for path in PRODUCT
        if path not in (CONTRACT, own)
        for line, value in constants(path)
        if value in ports or (isinstance(value, str) and value in map(str, ports))
    ] == []


def test_the_documents_name_every_series_header_and_label() -> None:
    text = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    shown = {
        value
        for name, value in vars(contract).items()
        if name.isupper() and isinstance(value, str) and value.startswith(("headgate", "x-headgate", "HEADGATE"))
    }
    assert [name for name in sorted(shown) if name not in text] == []


def test_the_scanner_knows_a_second_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "copy.py"
    path.write_text(
        '"""headgate_ready"""\nREADY = "headgate_ready"\nPAIRS = "headgate_shadow_pairs"\nH = b"x-headgate-client"\n'
    )
    assert len(again(path, names())) == 3
