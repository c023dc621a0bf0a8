"""`headgate validate --prometheus`: what the queries of a manifest's signals give now."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headgate_cli import main
from manifest_cases import COUNTERS, GAUGE, manifest
from ports import free_port
from real_prometheus import prometheus

Tried = Callable[..., tuple[int, list[str]]]
"""Signals -> exit status, lines."""
ONE = 'label_replace(vector({}), "headgate_revision", "fraud-{}", "", "")'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@pytest.fixture
def tried(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tried:
    def run(*signals: Any, address: str = url, namespace: str | None = "models") -> tuple[int, list[str]]:
        written = manifest(("spec.rollout.signals", list(signals)), ("metadata.namespace", namespace))
        file = tmp_path / "fraud.yaml"
        file.write_text(yaml.safe_dump(written))
        status = main(["validate", "-f", str(file), "--prometheus", address])
        return status, capsys.readouterr().out.replace(f"{file}: fraud: ", "").splitlines()

    return run


def test_each_query_is_asked_and_what_it_gives_is_printed(tried: Tried) -> None:
    both = f"{ONE.format(3, 'a')} or {ONE.format(4.5, 'b')}"
    assert tried(COUNTERS | {"events": both, "trials": ONE.format(9, "a")}, GAUGE | {"query": ONE.format(1, "b")}) == (
        0,
        [
            "1 ModelDeployment valid",
            "cancelled: events: fraud-a 3, fraud-b 4.5",
            "cancelled: trials: fraud-a 9",
            "backlog: query: fraud-b 1",
        ],
    )


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sum(", "it is no PromQL: "),
        ("backlog", 'each of its selectors has to have namespace="models": backlog has not'),
        ('backlog{namespace="models"}', "no series with the label headgate_revision in the namespace models"),
        ("vector(1)", "1 series, and none with the label headgate_revision in the namespace models"),
        ("1", "it gives a scalar, "),
        (ONE.format("NaN", "a"), "fraud-a: its value for fraud-a is nan"),
    ],
)
def test_what_a_rollout_could_not_read_is_said_and_is_no_success(tried: Tried, query: str, told: str) -> None:
    status, (_, line) = tried(GAUGE | {"query": query})
    assert status == 1
    assert line.startswith(f"backlog: query: {told}")


def test_without_a_namespace_it_is_kubectls_own(tried: Tried) -> None:
    _, (_, line) = tried(GAUGE, namespace=None)
    assert 'namespace="default"' in line


def test_nobody_there_is_said(tried: Tried) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    status, (_, line) = tried(GAUGE, address=address)
    assert status == 1
    assert line.startswith(f"backlog: query: {address} can't be asked: ")


def test_a_manifest_that_is_wrong_is_not_asked_about(tried: Tried) -> None:
    status, lines = tried(GAUGE | {"max": None})
    assert (status, len(lines)) == (1, 1)
    assert "must have events" in lines[0]


def test_without_signals_there_is_nothing_to_ask(tried: Tried) -> None:
    assert tried(address="http://nowhere.invalid") == (0, ["1 ModelDeployment valid"])


@pytest.mark.parametrize("address", ["prometheus:9090", "file:///etc/passwd", "http://", "http://x/?q=1"])
def test_what_is_no_address_is_refused(tried: Tried, address: str) -> None:
    with pytest.raises(SystemExit):
        tried(GAUGE, address=address)
