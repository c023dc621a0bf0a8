"""The fetcher as a call, and the HTTP server that misbehaves."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifact_places import Fetch, Place, Run, make_artifact, read_log, serving
from artifact_registry import PASSWORD, USER, Login
from headgate_serving.artifact.command import main


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with serving(Place(make_artifact(tmp_path / "place"))) as served:
        yield served


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetch:
    log = tmp_path / "log"
    monkeypatch.setenv("HEADGATE_TERMINATION_LOG", str(log))
    monkeypatch.setenv("HEADGATE_PVC_ROOT", str(tmp_path / "pvc"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def run(uri: str, *options: str, meanwhile: Callable[[], object] = lambda: None) -> Run:
        waited: list[float] = []

        def wait(seconds: float) -> None:
            waited.append(seconds)
            meanwhile()

        code = main(["--uri", uri, "--to", str(tmp_path / "to"), *options], wait=wait)
        return Run(code, read_log(log), waited, tmp_path / "to")

    return run


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    """What `docker login` leaves in a folder of its own."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)

    def as_user(host: str, password: str = PASSWORD) -> None:
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        (tmp_path / "docker").mkdir(exist_ok=True)
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))

    return as_user


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """An S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
