import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate_serving.router.envoy.config import clusters
from router_envoy import Router, running_router


@pytest.fixture(scope="session")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """One Envoy for all tests: each uses revisions of its own."""
    root: Path = tmp_path_factory.mktemp("xds")
    with running_router(root) as running:
        yield running
        assert running.count("envoy_cluster_manager_cds_update_rejected") == 0
        assert running.count("envoy_http_rds_update_rejected") == 0
        assert "[lua]" not in (root / "log").read_text(), "a script failed"


@pytest.fixture
def long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that is ejected does not come back before the test ends, however busy the machine is."""
    monkeypatch.setattr(clusters, "EJECTED_MS", 600_000)
    monkeypatch.setattr(clusters, "LONGEST_EJECTED_MS", 600_000)


@pytest.fixture
def refused_connections() -> Iterator[None]:
    """asyncio leaves some sockets of clients whose handshake is refused to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
