"""The servers of the table, and the option that writes docs/conformance.md."""

from collections.abc import Iterator

import pytest

from conformance_servers import Ours, Triton


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-conformance", action="store_true", help="write docs/conformance.md")


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    servers = Ours(tmp_path_factory.mktemp("ours"))
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    server = Triton(tmp_path_factory.mktemp("triton"))
    yield server
    server.stop()
