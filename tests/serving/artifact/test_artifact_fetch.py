"""The fetcher, from disks and from a real HTTP server that misbehaves in every way that servers do."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from headgate_serving.artifact import build_manifest, digest_of, write_manifest
from headgate_serving.artifact.command import main
from headgate_serving.artifact.sources import source_for
from headgate_serving.errors import ArtifactUnreachable

WEIGHTS = bytes(range(256)) * 5000


def make_artifact(at: Path, *, profile: bool = True) -> Path:
    (at / "sub").mkdir(parents=True)
    (at / "model.onnx").write_bytes(b"the model")
    (at / "sub" / "some weights.bin").write_bytes(WEIGHTS)
    if profile:
        (at / "profile.json").write_text("{}")
    write_manifest(at)
    return at


@dataclass
class Place:
    """What the HTTP server does: files, and for a path a list of misbehaviours to go through first."""

    root: Path
    url: str = ""
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    served = Place(make_artifact(tmp_path / "place"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            from urllib.parse import unquote

            path = unquote(self.path.split("?")[0])
            served.asked.append(path)
            faults = served.faults.get(path, [])
            fault = faults.pop(0) if faults else ""
            file = served.root / path.lstrip("/")
            if fault == "hang up":
                self.close_connection = True
                return
            if fault.isdecimal() or not file.is_file():
                self.send_response(int(fault or 404))
                if fault == "302":
                    self.send_header("location", "/elsewhere.onnx")
                self.send_header("content-length", "0")
                self.end_headers()
                return
            content = file.read_bytes()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            if fault == "cut":
                content = content[: len(content) // 2]
                self.close_connection = True
            elif fault == "flip":
                content = content[:-1] + b"!"
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Run:
    """How one run of headgate-fetch ended."""

    code: int
    said: dict[str, str]
    waited: list[float]
    to: Path

    @property
    def files(self) -> list[str]:
        if not self.to.exists():
            return []
        return sorted(p.relative_to(self.to).as_posix() for p in self.to.rglob("*") if p.is_file())


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = tmp_path / "log"
    monkeypatch.setenv("HEADGATE_TERMINATION_LOG", str(log))
    monkeypatch.setenv("HEADGATE_PVC_ROOT", str(tmp_path / "pvc"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def run(uri: str, *options: str) -> Run:
        waited: list[float] = []
        code = main(["--uri", uri, "--to", str(tmp_path / "to"), *options], wait=waited.append)
        return Run(code, json.loads(log.read_text()), waited, tmp_path / "to")

    return run


WHOLE = [".headgate.json", "manifest.json", "model.onnx", "profile.json", "sub/some weights.bin"]


def test_brings_a_folder_over_http(place: Place, fetch) -> None:
    digest = digest_of(place.root)
    run = fetch(place.url, "--digest", digest)
    assert (run.code, run.said) == (0, {"reason": "Fetched", "digest": digest})
    assert run.files == WHOLE
    assert (run.to / "sub" / "some weights.bin").read_bytes() == WEIGHTS
    assert digest_of(run.to) == digest
    assert run.waited == []


def test_brings_a_single_file_over_http_and_keeps_the_signature_to_itself(place: Place, fetch) -> None:
    digest = digest_of(place.root / "model.onnx")
    run = fetch(f"{place.url}/model.onnx?sig=secret", "--digest", digest)
    assert run.said == {"reason": "Fetched", "digest": digest}
    assert run.files == [".headgate.json", "model.onnx"]
    assert "secret" not in (run.to / ".headgate.json").read_text()


@pytest.mark.parametrize("fault", ["503", "429", "hang up", "cut"])
def test_tries_again_when_that_may_help(place: Place, fetch, fault: str) -> None:
    place.faults = {"/manifest.json": [fault], "/sub/some weights.bin": [fault, fault]}
    run = fetch(place.url)
    assert run.code == 0
    assert run.waited == [0.5, 0.5, 1.0]
    assert (run.to / "sub" / "some weights.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("fault", ["503", "hang up", "cut"])
def test_gives_up_in_the_end_and_leaves_nothing(place: Place, fetch, fault: str) -> None:
    place.faults = {"/sub/some weights.bin": [fault] * 9}
    run = fetch(place.url, "--attempts", "3")
    assert (run.code, run.said["reason"]) == (1, "ArtifactUnreachable")
    assert "tried 3 times" in run.said["message"]
    assert run.files == []


@pytest.mark.parametrize(
    ("fault", "reason", "text"),
    [
        ("404", "ArtifactNotFound", "manifest.json"),
        ("403", "ArtifactUnreachable", "credentials"),
        ("400", "ArtifactUnreachable", "answered 400"),
        ("flip", "ArtifactInvalid", "manifest.json"),
    ],
)
def test_what_will_not_change_is_said_at_once(place: Place, fetch, fault: str, reason: str, text: str) -> None:
    place.faults = {"/manifest.json": [fault]}
    run = fetch(place.url)
    assert (run.code, run.said["reason"], run.waited) == (1, reason, [])
    assert text in run.said["message"]


def test_a_wrong_byte_is_found_and_nothing_is_left(place: Place, fetch) -> None:
    place.faults = {"/sub/some weights.bin": ["flip"]}
    run = fetch(place.url)
    assert run.said["reason"] == "DigestMismatch"
    assert "'sub/some weights.bin'" in run.said["message"]
    assert run.files == []


def test_another_digest_than_promised_is_refused_before_anything_is_brought(place: Place, fetch) -> None:
    run = fetch(place.url, "--digest", "sha256:" + "0" * 64)
    assert run.said["reason"] == "DigestMismatch"
    assert place.asked == ["/manifest.json"]
    single = fetch(f"{place.url}/model.onnx", "--digest", "sha256:" + "0" * 64)
    assert single.said["reason"] == "DigestMismatch"
    assert single.files == []


def test_a_file_that_is_larger_than_promised_is_not_read_to_its_end(place: Place, fetch) -> None:
    (place.root / "sub" / "some weights.bin").write_bytes(WEIGHTS * 20)
    run = fetch(place.url)
    assert run.said["reason"] == "DigestMismatch"


def test_a_listed_file_that_is_gone(place: Place, fetch) -> None:
    (place.root / "profile.json").unlink()
    run = fetch(place.url)
    assert run.said["reason"] == "ArtifactNotFound"
    assert "lists 'profile.json'" in run.said["message"]


def test_nobody_listens(fetch) -> None:
    run = fetch("http://127.0.0.1:1/model.onnx")
    assert run.said["reason"] == "ArtifactUnreachable"
    assert run.waited == [0.5, 1.0, 2.0, 4.0]


def test_a_manifest_that_leads_out_of_the_folder(place: Place, fetch) -> None:
    entry = {"sha256": "0" * 64, "size": 1}
    (place.root / "manifest.json").write_text(json.dumps({"files": {"model.onnx": entry, "../../x": entry}}))
    run = fetch(place.url)
    assert run.said["reason"] == "ArtifactInvalid"
    assert "../../x" in run.said["message"]


def test_redirects_are_followed(place: Place, fetch) -> None:
    (place.root / "elsewhere.onnx").write_bytes(b"moved")
    place.faults = {"/model.onnx": ["302"]}
    run = fetch(f"{place.url}/model.onnx")
    assert run.code == 0
    assert (run.to / "model.onnx").read_bytes() == b"moved"


@pytest.mark.parametrize("scheme", ["file", "pvc"])
@pytest.mark.parametrize("listed", [True, False], ids=["with manifest", "without"])
def test_brings_a_folder_from_a_disk(tmp_path: Path, fetch, scheme: str, listed: bool) -> None:
    source = make_artifact(tmp_path / "pvc" / "claim" / "fraud" / "1")
    digest = digest_of(source)
    if not listed:
        (source / "manifest.json").unlink()
    uri = f"file://{source}" if scheme == "file" else "pvc://claim/fraud/1"
    run = fetch(uri, "--digest", digest)
    assert run.said == {"reason": "Fetched", "digest": digest}
    assert run.files == WHOLE


def test_what_an_earlier_try_left_is_replaced(tmp_path: Path, fetch) -> None:
    source = make_artifact(tmp_path / "source", profile=False)
    (tmp_path / "to" / "old").mkdir(parents=True)
    (tmp_path / "to" / "profile.json").write_text("stale")
    (tmp_path / "to" / "old" / "file").write_text("stale")
    run = fetch(f"file://{source}")
    assert run.files == [".headgate.json", "manifest.json", "model.onnx", "sub/some weights.bin"]


def wrong_uris(tmp_path: Path) -> dict[str, tuple[str, str, str]]:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "model.pkl").write_bytes(b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.onnx").symlink_to("/etc/hostname")
    return {
        "nothing there": (f"file://{tmp_path}/no", "ArtifactNotFound", "nothing at"),
        "no model inside": (f"file://{empty}", "ArtifactInvalid", "found: model.pkl"),
        "no .onnx file": (f"file://{empty}/model.pkl", "ArtifactInvalid", "no .onnx file"),
        "a link outwards": (f"file://{outside}", "ArtifactInvalid", "model.onnx"),
        "two slashes": ("file://models/fraud", "ArtifactInvalid", "three slashes"),
        "dots": ("pvc://claim/../../etc", "ArtifactInvalid", "'..'"),
        "encoded dots": ("pvc://claim/%2e%2e/etc", "ArtifactInvalid", "'..'"),
        "dots for a claim": ("pvc://../etc", "ArtifactInvalid", "'..'"),
        "no claim": ("pvc:///x", "ArtifactInvalid", "pvc://CLAIM/PATH"),
        "another scheme": ("ftp://host/x", "ArtifactInvalid", "scheme"),
        "no scheme": ("/models/fraud", "ArtifactInvalid", "scheme"),
        "no host": ("https:///x", "ArtifactInvalid", "no host"),
    }


NAMES = (
    *("nothing there", "no model inside", "no .onnx file", "a link outwards", "two slashes", "dots", "encoded dots"),
    *("dots for a claim", "no claim", "another scheme", "no scheme", "no host"),
)


@pytest.mark.parametrize("name", NAMES)
def test_uris_that_lead_nowhere(tmp_path: Path, fetch, name: str) -> None:
    uri, reason, text = wrong_uris(tmp_path)[name]
    run = fetch(uri)
    assert (run.code, run.said["reason"]) == (1, reason)
    assert text in run.said["message"]
    assert run.files == []


def test_a_digest_that_is_none(tmp_path: Path, fetch) -> None:
    run = fetch(f"file://{make_artifact(tmp_path / 'source')}", "--digest", "latest")
    assert run.said["reason"] == "ArtifactInvalid"


def test_a_volume_that_can_not_be_written(tmp_path: Path, fetch) -> None:
    (tmp_path / "to").write_text("a file")
    run = fetch(f"file://{make_artifact(tmp_path / 'source')}")
    assert (run.code, run.said["reason"]) == (1, "ArtifactUnreachable")


def test_the_baselines_profile_comes_along(tmp_path: Path, place: Place, fetch) -> None:
    baseline = tmp_path / "baseline"
    options = ["--baseline-uri", place.url, "--baseline-to", str(baseline)]
    run = fetch(f"file://{place.root}", *options, "--baseline-digest", digest_of(place.root))
    assert run.said == {"reason": "Fetched", "digest": digest_of(place.root)}
    assert [path.name for path in baseline.iterdir()] == ["profile.json"]
    assert place.asked == ["/manifest.json", "/profile.json"]


@pytest.mark.parametrize("what", ["gone", "no profile", "another digest", "wrong byte"])
def test_a_baseline_that_can_not_be_had_is_a_warning(tmp_path: Path, place: Place, fetch, what: str) -> None:
    source = make_artifact(tmp_path / "source")
    options = ["--baseline-uri", place.url, "--baseline-to", str(tmp_path / "baseline")]
    match what:
        case "gone":
            place.faults = {"/manifest.json": ["404"]}
        case "no profile":
            (place.root / "profile.json").unlink()
            write_manifest(place.root)
        case "another digest":
            options += ["--baseline-digest", "sha256:" + "0" * 64]
        case "wrong byte":
            place.faults = {"/profile.json": ["flip"]}
    run = fetch(f"file://{source}", *options)
    assert (run.code, run.said["reason"], run.said["digest"]) == (0, "Fetched", build_manifest(source).digest)
    assert "baseline" in run.said["message"]
    assert not (tmp_path / "baseline" / "profile.json").exists()


def test_no_redirect_from_tls_to_plain() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"location": "http://place/model.onnx"})
        return httpx.Response(200, content=b"not to be trusted")

    with httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True) as client:
        source = source_for("https://place/model.onnx", client, Path("/pvc"))
        with pytest.raises(ArtifactUnreachable, match="redirects to plain http"):
            list(source.read("model.onnx"))
