"""s3:// against moto's server, gs:// against an emulator of Cloud Storage: real HTTP, connections that break."""

import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import pytest
from gcp_storage_emulator.server import create_server

from artifact_places import WHOLE, Fetch, breaking_proxy, make_artifact
from headgate_serving.artifact import build_manifest, digest_of, gs, s3
from headgate_serving.artifact.web import new_client
from headgate_serving.errors import BucketNotFound

Put = Callable[[str, bytes], None]


@dataclass
class Store:
    """A running server of one kind, with a bucket `models`."""

    scheme: str
    url: str
    endpoint: str
    put: Put
    push: Callable[[str, str, dict[str, Path]], None]


@pytest.fixture(scope="module")
def gcs_url() -> Iterator[str]:
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    yield f"http://127.0.0.1:{server._api._httpd.server_port}"
    server.stop()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def amazon(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    urllib.request.urlopen(urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")).close()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto_url)
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="models")
    return Store(
        "s3",
        moto_url,
        "AWS_ENDPOINT_URL_S3",
        lambda key, raw: client.put_object(Bucket="models", Key=key, Body=raw),
        s3.push,
    )


@pytest.fixture
def google(gcs_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    httpx.get(f"{gcs_url}/wipe").raise_for_status()
    httpx.post(f"{gcs_url}/storage/v1/b", json={"name": "models"}).raise_for_status()

    def put(key: str, raw: bytes) -> None:
        asked = {"uploadType": "media", "name": key}
        httpx.post(f"{gcs_url}/upload/storage/v1/b/models/o", params=asked, content=raw).raise_for_status()

    def push(bucket: str, key: str, files: dict[str, Path]) -> None:
        with new_client() as client:
            gs.push(bucket, key, files, client)

    return Store("gs", gcs_url, "STORAGE_EMULATOR_HOST", put, push)


@pytest.fixture(params=["s3", "gs"])
def store(request: pytest.FixtureRequest) -> Store:
    chosen: Store = request.getfixturevalue({"s3": "amazon", "gs": "google"}[request.param])
    return chosen


def fill(store: Store, folder: Path, *, manifest: bool = True) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and (manifest or path.name != "manifest.json"):
            store.put(f"fraud/1/{path.relative_to(folder).as_posix()}", path.read_bytes())


@pytest.mark.parametrize("manifest", [True, False], ids=["with manifest", "without"])
def test_brings_a_folder(store: Store, tmp_path: Path, fetch: Fetch, manifest: bool) -> None:
    source = make_artifact(tmp_path / "source")
    fill(store, source, manifest=manifest)
    store.put("fraud/10/model.onnx", b"another one, whose path begins alike")
    run = fetch(f"{store.scheme}://models/fraud/1", "--digest", digest_of(source))
    assert (run.code, run.said, run.waited) == (0, {"reason": "Fetched", "digest": digest_of(source)}, [])
    assert run.files == WHOLE


def test_without_a_manifest_a_wrong_byte_is_found_by_the_digest(store: Store, tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source")
    fill(store, source, manifest=False)
    store.put("fraud/1/model.onnx", b"the Model")
    run = fetch(f"{store.scheme}://models/fraud/1", "--digest", digest_of(source))
    assert (run.code, run.said["reason"], run.files) == (15, "DigestMismatch", [])


def test_brings_only_some_of_what_is_listed(store: Store, tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source")
    fill(store, source, manifest=False)
    options = ["--only", "profile.json", "--only", "samples.json", "--digest", digest_of(source)]
    run = fetch(f"{store.scheme}://models/fraud/1", *options)
    assert (run.code, run.said, run.files) == (0, {"reason": "Fetched"}, ["profile.json"])


def test_brings_a_single_object(store: Store, fetch: Fetch) -> None:
    store.put("fraud/some model.onnx", b"the model")
    run = fetch(f"{store.scheme}://models/fraud/some model.onnx")
    assert (run.code, (run.to / "model.onnx").read_bytes()) == (0, b"the model")


def test_goes_on_where_the_connection_broke(
    store: Store, tmp_path: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_artifact(tmp_path / "source")
    fill(store, source)
    with breaking_proxy(store.url) as proxy:
        monkeypatch.setenv(store.endpoint, proxy.url)
        proxy.cuts = [700_000, 500_000]
        run = fetch(f"{store.scheme}://models/fraud/1", "--digest", digest_of(source))
    # Two pieces of 700 and 500 kB lead to the end of 1,280 kB: had it begun anew, the second would be lost.
    assert (run.code, proxy.broken, run.waited) == (0, 2, [0.5, 1.0])
    assert run.files == WHOLE


def test_nothing_there(store: Store, fetch: Fetch) -> None:
    folder = fetch(f"{store.scheme}://models/nothing")
    single = fetch(f"{store.scheme}://models/nothing.onnx")
    assert (folder.code, folder.said["reason"]) == (single.code, single.said["reason"]) == (10, "ArtifactNotFound")


def test_no_such_bucket(store: Store, fetch: Fetch, tmp_path: Path) -> None:
    run = fetch(f"{store.scheme}://elsewhere/fraud/1")
    assert (run.code, run.said["reason"], run.waited) == (11, "BucketNotFound", [])
    assert "no such bucket" in run.said["message"]
    with pytest.raises(BucketNotFound):
        store.push("elsewhere", "fraud/1", {"model.onnx": make_artifact(tmp_path / "a") / "model.onnx"})


def test_nobody_listens(store: Store, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.endpoint, "http://127.0.0.1:1")
    run = fetch(f"{store.scheme}://models/fraud/1", "--attempts", "2")
    assert (run.code, run.said["reason"], run.waited) == (13, "HostUnreachable", [0.5])


def test_no_permission_and_no_word_of_the_credentials(amazon: Store, tmp_path: Path, fetch: Fetch) -> None:
    fill(amazon, make_artifact(tmp_path / "source"))
    httpx.post(f"{amazon.url}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        run = fetch("s3://models/fraud/1")
    finally:
        httpx.post(f"{amazon.url}/moto-api/reset-auth", content=b"inf").raise_for_status()
    assert (run.code, run.said["reason"], run.waited) == (14, "AccessDenied", [])
    assert "s3:GetObject" in run.said["message"]
    assert "a-secret-key" not in run.said["message"]


def test_keys_that_lead_out_of_the_folder(amazon: Store, fetch: Fetch) -> None:
    amazon.put("fraud/1/model.onnx", b"the model")
    amazon.put("fraud/1/../../etc/passwd", b"x")
    assert fetch("s3://models/fraud/1").said["reason"] == "PathOutside"


def test_pushed_is_fetched(store: Store, tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source")
    files = {path: source / path for path in [*build_manifest(source).files, "manifest.json"]}
    store.push("models", "fraud/2", files)
    run = fetch(f"{store.scheme}://models/fraud/2", "--digest", digest_of(source))
    assert (run.code, run.files) == (0, WHOLE)


@pytest.mark.parametrize(("uri", "package"), [("s3://models/fraud", "boto3"), ("gs://models/fraud", "google")])
def test_a_client_that_is_not_installed(uri: str, package: str, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    monkeypatch.setitem(__import__("sys").modules, "google.auth", None)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    run = fetch(uri)
    assert (run.code, run.said["reason"]) == (21, "ClientMissing")
    assert package in run.said["message"]
    assert f"headgate[{uri[:2]}]" in run.said["message"]


@pytest.mark.parametrize("uri", ["s3://models", "s3:///fraud", "gs://models/"])
def test_uris_without_a_path(uri: str, fetch: Fetch) -> None:
    assert fetch(uri).said["reason"] == "ArtifactInvalid"
