"""hf:// against a stand-in for the hub's two endpoints."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from artifact_hub import TOKEN, Hub, running_hub
from artifact_places import WHOLE, Fetch, Place, breaking_proxy, make_artifact
from headgate_serving.artifact import digest_of

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    source = make_artifact(tmp_path / "source")
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.files[FIRST] = {f"onnx/{path}": raw for path, raw in files.items()} | {"README.md": b"# Fraud"}
        running.files[SECOND] = {path: raw for path, raw in files.items() if path != "manifest.json"}
        running.revisions = {"main": FIRST, "v2": SECOND, "refs/pr/1": SECOND, FIRST: FIRST}
        yield running


@pytest.mark.parametrize("where", ["/onnx", "@main/onnx", f"@{FIRST}/onnx/", "@v2", "@v2/", "@refs%2Fpr%2F1"])
def test_brings_a_folder_of_a_revision(hub: Hub, tmp_path: Path, fetch: Fetch, where: str) -> None:
    digest = digest_of(tmp_path / "source")
    run = fetch(f"hf://owner/fraud{where}", "--digest", digest)
    assert (run.code, run.said, run.files) == (0, {"reason": "Fetched", "digest": digest}, WHOLE)


def test_brings_a_single_file(hub: Hub, fetch: Fetch) -> None:
    run = fetch("hf://owner/fraud@v2/model.onnx")
    assert (run.code, (run.to / "model.onnx").read_bytes()) == (0, b"the model")


def test_a_branch_that_moves_on_meanwhile_gives_the_files_of_one_commit(
    hub: Hub, tmp_path: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.revisions["main"] = SECOND

    def moves_on() -> None:
        hub.revisions["main"] = FIRST

    with breaking_proxy(hub.url) as proxy:
        monkeypatch.setenv("HF_ENDPOINT", proxy.url)
        hub.url = proxy.url
        proxy.cuts = [700_000, 500_000]
        run = fetch("hf://owner/fraud", "--digest", digest_of(tmp_path / "source"), meanwhile=moves_on)
    assert (run.code, proxy.broken, run.waited) == (0, 2, [0.5, 1.0])


def test_a_private_repository_wants_its_token_and_nobody_else_gets_it(
    hub: Hub, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.private = True
    run = fetch("hf://owner/fraud/onnx")
    assert (run.code, run.said["reason"], run.waited) == (14, "AccessDenied", [])
    assert "HF_TOKEN" in run.said["message"]
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch("hf://owner/fraud/onnx").code == 0
    assert set(hub.tokens_at_the_store) == {""}


@pytest.mark.parametrize(
    ("uri", "reason", "text"),
    [
        ("hf://owner/nothing", "ArtifactNotFound", "no such repository"),
        ("hf://owner/fraud@v9", "ArtifactNotFound", "'v9'"),
        ("hf://owner/fraud/nothing", "ArtifactNotFound", "nothing at"),
        ("hf://owner/fraud/nothing.onnx", "ArtifactNotFound", "404"),
        ("hf://owner/fraud", "ModelMissing", "found: README.md"),
        ("hf://owner", "ArtifactInvalid", "hf://OWNER/REPO"),
        ("hf://owner/fraud@", "ArtifactInvalid", "hf://OWNER/REPO"),
        ("hf://owner/../x", "PathOutside", "'..'"),
    ],
)
def test_uris_that_lead_nowhere(hub: Hub, fetch: Fetch, uri: str, reason: str, text: str) -> None:
    run = fetch(uri)
    assert (run.said["reason"], run.files) == (reason, [])
    assert text in run.said["message"]


def test_a_path_that_leads_out_of_the_folder(hub: Hub, fetch: Fetch) -> None:
    hub.files[SECOND]["../../etc/passwd"] = b"x"
    assert fetch("hf://owner/fraud@v2").said["reason"] == "PathOutside"


@pytest.mark.parametrize("uri", ["hf://owner/fraud", "models:/fraud/1"])
def test_a_server_that_is_none(
    place: Place, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, uri: str, tmp_path: Path
) -> None:
    pages = {"/api/models/owner/fraud/revision/main": b"[]", "/api/2.0/mlflow/model-versions/get-download-uri": b"{}"}
    for path, raw in pages.items():
        (place.root / path.lstrip("/")).parent.mkdir(parents=True)
        (place.root / path.lstrip("/")).write_bytes(raw)
    monkeypatch.setenv("HF_ENDPOINT", place.url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.url)
    run = fetch(uri)
    assert (run.code, run.said["reason"]) == (12, "ArtifactUnreachable")
    assert "does not answer as" in run.said["message"]
