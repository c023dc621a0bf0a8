"""Open files: as many as may be, and some of them never for clients."""

import contextlib
import resource
import socket
from pathlib import Path

import httpx
import pytest

import serving_models as models
from headgate_serving.http import descriptors
from patience import PATIENCE
from serving_process import Served

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))"


def open_files(pid: int) -> list[str]:
    """The soft and the hard limit of a process."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.split()[3:5] for line in lines if line.startswith("Max open files"))


def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    models.score(tmp_path / "model.onnx")
    served = Served(tmp_path, log=tmp_path / "log", before=LIMIT.format(soft=300, hard=900))
    assert open_files(served.process.pid) == ["900", "900"]
    assert open_files(served.child) == ["900", "900"]
    served.wait_for("the soft limit of 300 open files is raised to 900")
    assert served.stop() == 0


def test_health_and_metrics_answer_whatever_clients_hold(tmp_path: Path) -> None:
    models.score(tmp_path / "model.onnx")
    served = Served(tmp_path, log=tmp_path / "log", before=LIMIT.format(soft=260, hard=260))
    with contextlib.ExitStack() as idle:
        for address in (served.address, served.grpc_address):
            host, port = address.split(":")
            for _ in range(300):
                with contextlib.suppress(ConnectionError):
                    idle.enter_context(socket.create_connection((host, int(port)), PATIENCE))
        served.wait_for("connections, the most that are taken")
        for _ in range(3):
            assert httpx.get(served.metrics_url, timeout=PATIENCE).status_code == 200
        assert answers(f"http://{served.address}/v2/health/live")
    assert served.stop() == 0


def answers(url: str) -> bool:
    """Whether there is an answer in the end: who came before and says nothing is sent away after a moment."""
    for _ in range(1000):
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=PATIENCE).status_code == 200:
                return True
    return False


@pytest.mark.parametrize(
    ("soft", "protocols", "each"),
    [(1 << 20, 2, 4096), (resource.RLIM_INFINITY, 2, 4096), (1024, 2, 416), (1024, 1, 896), (64, 2, 8)],
)
def test_some_are_kept(monkeypatch: pytest.MonkeyPatch, soft: int, protocols: int, each: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert descriptors.connections_each(protocols) == each


def test_a_limit_that_can_not_be_raised_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.raise_limit()
    assert "1024 open files could not be raised to 1048576: not allowed" in caplog.text
