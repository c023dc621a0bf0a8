"""models:/ and runs:/ against MLflow's own tracking server, filled by MLflow's own client."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from artifact_mlflow import Mlflow, running_mlflow
from artifact_places import WHOLE, Fetch, breaking_proxy, make_artifact
from headgate_serving.artifact import digest_of
from headgate_serving.artifact.sources import source_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("source") / "model")


@pytest.fixture(scope="module")
def logged(server: Mlflow, source: Path) -> dict[str, str]:
    return server.log(source, "dbfs:/elsewhere/fraud", "s3://models/fraud/3")


@pytest.fixture(autouse=True)
def surroundings(server: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)


@pytest.mark.parametrize("uri", ["models:/fraud/1", "models:/{model}", "runs:/{run}/model", "runs:/{run}/model/"])
def test_brings_a_folder(logged: dict[str, str], source: Path, fetch: Fetch, uri: str) -> None:
    digest = digest_of(source)
    run = fetch(uri.format(**logged), "--digest", digest)
    assert (run.code, run.said, run.files) == (0, {"reason": "Fetched", "digest": digest}, WHOLE)


def test_brings_a_folder_that_has_no_manifest(
    server: Mlflow, logged: dict[str, str], source: Path, fetch: Fetch
) -> None:
    proxy = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/0/{logged['run']}/artifacts/plain"
    for path in ("model.onnx", "profile.json", "sub/some weights.bin"):
        httpx.put(f"{proxy}/{path}", content=(source / path).read_bytes()).raise_for_status()
    run = fetch(f"runs:/{logged['run']}/plain", "--digest", digest_of(source))
    assert (run.code, run.files) == (0, WHOLE)


def test_brings_a_single_file(logged: dict[str, str], fetch: Fetch) -> None:
    run = fetch(f"runs:/{logged['run']}/model/model.onnx")
    assert (run.code, (run.to / "model.onnx").read_bytes()) == (0, b"the model")


def test_goes_on_where_the_connection_broke(
    server: Mlflow, logged: dict[str, str], source: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with breaking_proxy(server.url) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        proxy.cuts = [700_000, 500_000]
        run = fetch("models:/fraud/1", "--digest", digest_of(source))
    assert (run.code, proxy.broken, run.waited) == (0, 2, [0.5, 1.0])


def test_http_goes_on_too_at_a_server_that_knows_ranges(
    server: Mlflow, logged: dict[str, str], source: Path, fetch: Fetch
) -> None:
    with breaking_proxy(server.url) as proxy:
        proxy.cuts = [700_000, 500_000]
        folder = f"{proxy.url}/api/2.0/mlflow-artifacts/artifacts/0/{logged['run']}/artifacts/model"
        run = fetch(folder, "--digest", digest_of(source))
    # Two pieces of 700 and 500 kB lead to the end of 1,280 kB: had it begun anew, the second would be lost.
    assert (run.code, proxy.broken, run.waited, run.files) == (0, 2, [0.5, 1.0], WHOLE)


def test_a_version_in_an_object_store_is_read_from_there(
    logged: dict[str, str], fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    run = fetch("models:/fraud/3", "--attempts", "1")
    assert run.said["reason"] == "HostUnreachable"
    assert run.said["message"].startswith("s3://models/fraud/3")


@pytest.mark.parametrize(
    ("uri", "reason", "text"),
    [
        ("models:/fraud/9", "ArtifactNotFound", "knows no models:/fraud/9"),
        ("models:/nothing/1", "ArtifactNotFound", "knows no models:/nothing/1"),
        ("models:/m-0123", "ArtifactNotFound", "knows no models:/m-0123"),
        ("runs:/0123/model", "ArtifactNotFound", "knows no runs:/0123"),
        ("runs:/{run}/nothing", "ArtifactNotFound", "nothing at"),
        ("runs:/{run}/model/sub", "ModelMissing", "found: some weights.bin"),
        ("models:/fraud/2", "ArtifactInvalid", "dbfs:/elsewhere/fraud"),
        ("models:/fraud@champion", "ArtifactInvalid", "aliases are not taken"),
        ("models:/fraud/Production", "ArtifactInvalid", "aliases are not taken"),
        ("models:/fraud", "ArtifactInvalid", "models:/NAME/VERSION"),
        ("runs:/{run}/model/../../other", "PathOutside", "'..'"),
    ],
)
def test_uris_that_lead_nowhere(logged: dict[str, str], fetch: Fetch, uri: str, reason: str, text: str) -> None:
    run = fetch(uri.format(**logged))
    assert (run.said["reason"], run.files, run.waited) == (reason, [], [])
    assert text in run.said["message"]


def test_no_server_nobody_there(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    run = fetch("models:/fraud/1", "--attempts", "2")
    assert (run.code, run.said["reason"], run.waited) == (13, "HostUnreachable", [0.5])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "MLFLOW_TRACKING_URI" in fetch("models:/fraud/1").said["message"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"MLFLOW_TRACKING_TOKEN": "secret"}, "Bearer secret"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"}, "Basic bWU6c2VjcmV0"),
        ({}, None),
    ],
)
def test_credentials_go_along(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], sent: str | None) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        if request.url.path.endswith("get-download-uri"):
            return httpx.Response(200, content=iter([b'{"artifact_uri": "mlflow-artifacts:/1/model"}']))
        return httpx.Response(200, content=iter([b'{"files": [{"path": "model.onnx", "file_size": 3}]}']))

    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        source_for("models:/fraud/1", client, Path("/pvc")).listing()
    assert seen == [sent, sent]
