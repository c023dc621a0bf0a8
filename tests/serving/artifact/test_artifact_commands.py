"""Every bad artifact ends the real commands with an error of its own: exit status, reason, and what to do."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import pytest

import serving_models
from artifact_places import Place, make_artifact
from headgate_serving.artifact import write_manifest
from serving_process import Served

ELSE = f"sha256:{'0' * 64}"


@dataclass(frozen=True)
class Bad:
    """What is wrong, how it comes about (folder and server → URI), and how the fetcher has to end."""

    what: str
    uri: Callable[[Path, Place], str]
    status: int
    reason: str
    told: str
    options: list[str] = field(default_factory=list)


def folder_of(change: Callable[[Path], object]) -> Callable[[Path, Place], str]:
    """The URI of a folder on a disk that was changed after its manifest was written."""

    def make(folder: Path, _: Place) -> str:
        make_artifact(folder)
        change(folder)
        return folder.as_uri()

    return make


def served(change: Callable[[Place], object]) -> Callable[[Path, Place], str]:
    """The URI of the folder behind the HTTP server."""

    def make(_: Path, place: Place) -> str:
        change(place)
        return place.url

    return make


def without_model(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "model.pkl")
    write_manifest(folder)


def without_weights(folder: Path) -> None:
    serving_models.with_external_data(folder / "model.onnx")
    (folder / "weights" / "w.bin").unlink()
    write_manifest(folder)


def with_a_link(folder: Path) -> None:
    (folder / "profile.json").unlink()
    (folder / "profile.json").symlink_to("/etc/hostname")


def named(uri: str) -> Callable[[Path, Place], str]:
    return lambda *_: uri


BAD = [
    Bad("nothing there", named("file:///nothing/there"), 10, "ArtifactNotFound", "volume mounted"),
    Bad("no such bucket", named("s3://no-such-bucket/fraud"), 11, "BucketNotFound", "no such bucket"),
    Bad("a server with a fault", served(lambda place: place.faults.update({"/manifest.json": ["500"]})), 12,
        "ArtifactUnreachable", "answered 500", ["--attempts", "1"]),
    Bad("nobody listens", named("http://127.0.0.1:1/fraud"), 13, "HostUnreachable", "127.0.0.1:1", ["--attempts", "1"]),
    Bad("a host without an address", named("http://nowhere.invalid/fraud"), 13, "HostUnreachable", "nowhere.invalid",
        ["--attempts", "1"]),
    Bad("no permission", served(lambda place: place.faults.update({"/manifest.json": ["403"]})), 14, "AccessDenied",
        "credentials"),
    Bad("another digest", folder_of(lambda _: None), 15, "DigestMismatch", "spec.model.digest", ["--digest", ELSE]),
    Bad("a wrong byte", folder_of(lambda folder: (folder / "model.onnx").write_bytes(b"the Model")), 15,
        "DigestMismatch", "'model.onnx'"),
    Bad("a truncated file", folder_of(lambda folder: os.truncate(folder / "model.onnx", 5)), 16, "ArtifactTruncated",
        "has 5 bytes"),
    Bad("a manifest that is none", folder_of(lambda folder: (folder / "manifest.json").write_text("{}")), 17,
        "ArtifactInvalid", "headgate digest FOLDER --write"),
    Bad("a link that leads out", folder_of(with_a_link), 18, "PathOutside", "'profile.json'"),
    Bad("no ONNX file", folder_of(without_model), 19, "ModelMissing", "model.pkl"),
    Bad("no external data", folder_of(without_weights), 20, "ExternalDataMissing", "weights/w.bin"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.what)
def test_the_fetcher_ends_with_an_error_of_its_own(bad: Bad, tmp_path: Path, place: Place, moto_url: str) -> None:
    log, to = tmp_path / "log", tmp_path / "to"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        **{"AWS_ENDPOINT_URL_S3": moto_url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "a-secret"},
        "HEADGATE_TERMINATION_LOG": str(log),
    }
    command: list[str | Path] = [
        Path(sys.executable).parent / "headgate-fetch",
        "--uri",
        bad.uri(tmp_path / "source", place),
    ]
    done = subprocess.run(
        [*command, "--to", to, *bad.options], env=environ, check=False, capture_output=True, text=True
    )
    said = json.loads(log.read_text())
    assert (done.returncode, said["reason"]) == (bad.status, bad.reason), done.stderr
    assert bad.told in said["message"]
    assert f"{bad.reason}: {said['message']}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not to.exists() or list(to.iterdir()) == []


def too_new(file: Path) -> None:
    model = onnx.load(file)
    model.opset_import[0].version = 99
    onnx.save(model, file)


def of_a_newer_kind(file: Path) -> None:
    model = onnx.load(file)
    model.ir_version = 99
    onnx.save(model, file)


@pytest.mark.parametrize(
    ("change", "status", "reason", "told"),
    [
        (lambda file: file.unlink(), 30, "ModelInvalid", "a folder with model.onnx"),
        (lambda file: file.write_bytes(b"no model"), 30, "ModelInvalid", "onnx.checker.check_model"),
        (too_new, 31, "OpsetUnsupported", "newer than opset"),
        (of_a_newer_kind, 31, "OpsetUnsupported", "newer than ONNX IR version"),
    ],
    ids=["no model", "no ONNX", "a new opset", "a new form of file"],
)
def test_the_runtime_ends_with_an_error_of_its_own(
    tmp_path: Path, change: Callable[[Path], None], status: int, reason: str, told: str
) -> None:
    change(serving_models.score(tmp_path / "artifact" / "model.onnx"))
    run = Served(tmp_path / "artifact", log=tmp_path / "log")
    assert (run.stop(), run.last_words["reason"]) == (status, reason), run.lines
    assert told in run.last_words["message"]
