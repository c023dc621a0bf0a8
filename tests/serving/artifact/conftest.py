"""The fetcher as a call, and the HTTP server that misbehaves."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from artifact_places import Fetch, Place, Run, make_artifact, read_log, serving

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
