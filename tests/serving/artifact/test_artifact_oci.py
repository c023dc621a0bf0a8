"""oci:// against a small registry that the client of `oras` takes for one, and OCI layouts on a disk."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import oras.client
import pytest

from artifact_places import WHOLE, Fetch, breaking_proxy, make_artifact, mounted
from artifact_registry import FakeRegistry, Login, pushed, running_registry
from headgate_serving.artifact import build_manifest, digest_of
from headgate_serving.errors import AccessDenied, ArtifactExists


@pytest.fixture
def registry(login: Login) -> Iterator[FakeRegistry]:
    with running_registry() as running:
        login(running.host)
        yield running


def test_pushed_is_fetched_by_tag_and_by_digest(registry: FakeRegistry, tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source")
    uri = f"oci://{registry.host}/models/fraud"
    assert pushed(source, f"{uri}:1")
    by_tag = fetch(f"{uri}:1", "--digest", digest_of(source))
    assert (by_tag.code, by_tag.files, by_tag.said["digest"]) == (0, WHOLE, digest_of(source))
    manifest = hashlib.sha256(registry.manifests["1"][1]).hexdigest()
    assert fetch(f"{uri}@sha256:{manifest}").said["digest"] == digest_of(source)


def test_a_second_push_uploads_nothing_and_another_artifact_needs_a_word(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    source, uri = make_artifact(tmp_path / "source"), f"oci://{registry.host}/models/fraud:1"
    assert pushed(source, uri)
    before = registry.uploads
    assert not pushed(source, uri)
    assert pushed(source, f"oci://{registry.host}/models/fraud:2")
    assert registry.uploads == before
    (source / "profile.json").write_text('{"another": 1}')
    with pytest.raises(ArtifactExists, match="--overwrite"):
        pushed(source, uri)
    assert pushed(source, uri, overwrite=True)
    assert registry.uploads == before + 1


def test_the_client_of_oras_reads_what_we_push_and_we_read_what_it_pushes(
    registry: FakeRegistry, tmp_path: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.wants_login = False
    source = make_artifact(tmp_path / "source")
    pushed(source, f"oci://{registry.host}/models/fraud:1")
    theirs = oras.client.OrasClient(hostname=registry.host, insecure=True)
    theirs.pull(target=f"{registry.host}/models/fraud:1", outdir=str(tmp_path / "theirs"))
    assert digest_of(tmp_path / "theirs") == digest_of(source)
    (source / "sub" / "some weights.bin").unlink()  # this client forgets folders
    monkeypatch.chdir(source)
    theirs.push(target=f"{registry.host}/models/theirs:1", files=["model.onnx", "profile.json"])
    run = fetch(f"oci://{registry.host}/models/theirs:1", "--digest", digest_of(source))
    assert (run.code, run.files) == (0, [path for path in WHOLE if "/" not in path])


def test_goes_on_where_the_connection_broke(registry: FakeRegistry, tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source")
    registry.wants_login = False
    pushed(source, f"oci://{registry.host}/models/fraud:1")
    with breaking_proxy(f"http://{registry.host}") as proxy:
        proxy.cuts = [700_000, 500_000]
        run = fetch(f"{proxy.url.replace('http', 'oci')}/models/fraud:1", "--digest", digest_of(source))
    assert (run.code, proxy.broken, len(registry.ranges)) == (0, 2, 2)


def test_wrong_credentials_are_not_told(registry: FakeRegistry, tmp_path: Path, fetch: Fetch, login: Login) -> None:
    source = make_artifact(tmp_path / "source")
    login(registry.host, "a-wrong-one")
    run = fetch(f"oci://{registry.host}/models/fraud:1")
    assert (run.code, run.said["reason"], run.waited) == (14, "AccessDenied", [])
    assert "a-wrong-one" not in str(run.said)
    with pytest.raises(AccessDenied):
        pushed(source, f"oci://{registry.host}/models/fraud:1")
    (tmp_path / "docker" / "config.json").write_text("{")
    assert fetch(f"oci://{registry.host}/models/fraud:1").said["reason"] == "AccessDenied"


def test_nothing_there_and_nobody_there(registry: FakeRegistry, fetch: Fetch) -> None:
    assert fetch(f"oci://{registry.host}/models/fraud:9").said["reason"] == "ArtifactNotFound"
    run = fetch("oci://127.0.0.1:1/models/fraud:9", "--attempts", "2")
    assert (run.code, run.said["reason"], run.waited) == (13, "HostUnreachable", [0.5])


def test_a_manifest_that_is_not_the_pinned_one(registry: FakeRegistry, tmp_path: Path, fetch: Fetch) -> None:
    pushed(make_artifact(tmp_path / "source"), f"oci://{registry.host}/models/fraud:1")
    wrong = f"sha256:{'0' * 64}"
    registry.manifests[wrong] = registry.manifests["1"]
    assert fetch(f"oci://{registry.host}/models/fraud@{wrong}").said["reason"] == "DigestMismatch"


def test_a_blob_with_other_bytes(registry: FakeRegistry, tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source")
    pushed(source, f"oci://{registry.host}/models/fraud:1")
    blob = f"sha256:{build_manifest(source).files['model.onnx'].sha256}"
    registry.blobs[blob] = b"the Model"
    assert fetch(f"oci://{registry.host}/models/fraud:1").said["reason"] == "DigestMismatch"


TITLE = "org.opencontainers.image.title"
ODD_LAYERS = {
    "an image's layer": ({}, "ArtifactInvalid", "is not unpacked"),
    "a packed folder": ({TITLE: "model", "io.deis.oras.content.unpack": "true"}, "ArtifactInvalid", "packed folder"),
    "a way out": ({TITLE: "../../etc/passwd"}, "PathOutside", "passwd"),
    "no model": ({TITLE: "model.pkl"}, "ModelMissing", "found: model.pkl"),
}


@pytest.mark.parametrize("name", ODD_LAYERS)
def test_layers_that_are_no_files(registry: FakeRegistry, fetch: Fetch, name: str) -> None:
    annotations, reason, text = ODD_LAYERS[name]
    layer = {"digest": f"sha256:{'0' * 64}", "size": 1, "annotations": annotations}
    registry.manifests["1"] = ("application/json", json.dumps({"layers": [layer]}).encode())
    run = fetch(f"oci://{registry.host}/models/fraud:1")
    assert run.said["reason"] == reason
    assert text in run.said["message"]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"layers": [1]}', b'{"layers": null}', b'{"manifests": []}'])
def test_answers_that_are_no_manifest(registry: FakeRegistry, fetch: Fetch, raw: bytes) -> None:
    registry.manifests["1"] = ("application/json", raw)
    assert fetch(f"oci://{registry.host}/models/fraud:1").said["reason"] == "ArtifactInvalid"


@pytest.mark.parametrize(
    "uri", ["oci://host/models", "oci://host:1", "oci:///x:1", "oci://h/A:1", "oci://h/a:1@sha256:0"]
)
def test_uris_that_are_no_reference(fetch: Fetch, uri: str) -> None:
    assert fetch(uri).said["reason"] == "ArtifactInvalid"


def layout_of(registry: FakeRegistry, at: Path) -> Path:
    """What the registry holds under the tag 1, as a layout."""
    raw = registry.manifests["1"][1]
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    (at / "blobs" / "sha256").mkdir(parents=True)
    for name, blob in {**registry.blobs, digest: raw}.items():
        (at / "blobs" / "sha256" / name.removeprefix("sha256:")).write_bytes(blob)
    (at / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    described = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": len(raw)}
    (at / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    return at


def test_an_oci_layout_on_a_claim(registry: FakeRegistry, tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source")
    pushed(source, f"oci://{registry.host}/models/fraud:1")
    layout = layout_of(registry, tmp_path / "pvc" / "claim" / "layout")
    run = fetch("pvc://claim/layout", "--digest", digest_of(source))
    assert (run.code, run.files) == (0, WHOLE)
    blob = layout / "blobs" / "sha256" / build_manifest(source).files["model.onnx"].sha256
    assert fetch(f"file://{mounted(tmp_path / 'mounted', layout)}", "--digest", digest_of(source)).files == WHOLE
    blob.write_bytes(b"the Model")
    assert fetch(f"file://{layout}").said["reason"] == "DigestMismatch"
    blob.unlink()
    blob.symlink_to("/etc/hostname")
    assert fetch(f"file://{layout}").said["reason"] == "ArtifactNotFound"
    (layout / "index.json").rename(tmp_path / "index.json")
    (layout / "index.json").symlink_to(tmp_path / "index.json")
    assert fetch(f"file://{layout}").said["reason"] == "PathOutside"
    (layout / "index.json").unlink()
    (layout / "index.json").write_text('{"manifests": []}')
    assert "holds 0" in fetch(f"file://{layout}").said["message"]
    (layout / "index.json").write_text("{")
    assert fetch(f"file://{layout}").said["reason"] == "ArtifactInvalid"
