"""The fetcher, from disks and from a real HTTP server that misbehaves in every way that servers do."""

import json
import os
import random
from pathlib import Path

import httpx
import pytest

from artifact_places import WEIGHTS, WHOLE, Fetch, Place, breaking_proxy, make_artifact, mounted
from headgate.api.rules import URI_STARTS
from headgate_serving.artifact import build_manifest, digest_of, write_manifest
from headgate_serving.artifact.sources import SCHEMES, source_for
from headgate_serving.errors import ArtifactError, ArtifactUnreachable


def status_of(reason: str) -> int:
    """The exit status that belongs to a reason: each has its own."""
    kinds: set[type[ArtifactError]] = {ArtifactError, *ArtifactError.__subclasses__()}
    kinds |= {below for kind in kinds for below in kind.__subclasses__()}
    return {kind.reason: kind.exit_status for kind in kinds}[reason]


def test_brings_a_folder_over_http(place: Place, fetch: Fetch) -> None:
    digest = digest_of(place.root)
    run = fetch(place.url, "--digest", digest)
    assert (run.code, run.said) == (0, {"reason": "Fetched", "digest": digest})
    assert run.files == WHOLE
    assert (run.to / "sub" / "some weights.bin").read_bytes() == WEIGHTS
    assert digest_of(run.to) == digest
    assert run.waited == []


def test_brings_a_single_file_over_http_and_keeps_the_signature_to_itself(place: Place, fetch: Fetch) -> None:
    digest = digest_of(place.root / "model.onnx")
    run = fetch(f"{place.url}/model.onnx?sig=secret", "--digest", digest)
    assert run.said == {"reason": "Fetched", "digest": digest}
    assert run.files == [".headgate.json", "model.onnx"]
    assert "secret" not in (run.to / ".headgate.json").read_text()


@pytest.mark.parametrize("fault", ["503", "429", "hang up", "cut"])
def test_tries_again_when_that_may_help(place: Place, fetch: Fetch, fault: str) -> None:
    place.faults = {"/manifest.json": [fault], "/sub/some weights.bin": [fault, fault]}
    run = fetch(place.url)
    assert run.code == 0
    assert run.waited == [0.5, 0.5, 1.0]
    assert (run.to / "sub" / "some weights.bin").read_bytes() == WEIGHTS


def test_goes_on_where_the_connection_broke(place: Place, fetch: Fetch) -> None:
    place.ranges = True
    place.faults = {"/sub/some weights.bin": ["cut", "cut"]}
    run = fetch(place.url, "--digest", digest_of(place.root))
    assert (run.code, run.waited) == (0, [0.5, 1.0])
    half, quarter = len(WEIGHTS) // 2, len(WEIGHTS) // 4
    assert place.asked_ranges == [f"bytes={half}-", f"bytes={half + quarter}-"]


def test_a_single_file_that_changes_between_two_tries_is_read_anew(place: Place, fetch: Fetch) -> None:
    place.ranges = True
    place.faults = {"/model.onnx": ["cut"]}
    (place.root / "model.onnx").write_bytes(b"a" * 1000)

    run = fetch(f"{place.url}/model.onnx", meanwhile=lambda: (place.root / "model.onnx").write_bytes(b"b" * 1000))
    assert run.code == 0
    assert (run.to / "model.onnx").read_bytes() == b"b" * 1000


def test_a_large_file_may_be_cut_off_more_often_than_there_are_tries(
    tmp_path: Path, place: Place, fetch: Fetch
) -> None:
    large = random.Random(7).randbytes(60 << 20)
    (place.root / "sub" / "some weights.bin").write_bytes(large)
    place.ranges = True
    write_manifest(place.root)
    with breaking_proxy(place.url) as proxy:
        proxy.cuts = [9 << 20] * 6
        run = fetch(proxy.url, "--attempts", "2", "--digest", digest_of(place.root))
    assert (run.code, proxy.broken) == (0, 6)
    assert run.waited == [0.5] * 6
    assert run.said["digest"] == digest_of(run.to)


def test_a_shorter_file_than_promised_is_truncated(place: Place, fetch: Fetch) -> None:
    (place.root / "sub" / "some weights.bin").write_bytes(WEIGHTS[:-1])
    run = fetch(place.url)
    assert (run.code, run.said["reason"]) == (16, "ArtifactTruncated")
    assert run.files == []


def test_a_body_that_has_to_be_unpacked_is_refused(place: Place, fetch: Fetch) -> None:
    place.faults = {"/manifest.json": ["gzip"]}
    assert "content-encoding" in fetch(place.url).said["message"]


@pytest.mark.parametrize("fault", ["503", "hang up", "cut"])
def test_gives_up_in_the_end_and_leaves_nothing(place: Place, fetch: Fetch, fault: str) -> None:
    place.faults = {"/sub/some weights.bin": [fault] * 9}
    run = fetch(place.url, "--attempts", "3")
    assert (run.code, run.said["reason"]) == (12, "ArtifactUnreachable")
    assert "tried 3 times" in run.said["message"]
    assert run.files == []


@pytest.mark.parametrize(
    ("fault", "reason", "text"),
    [
        ("404", "ArtifactNotFound", "manifest.json"),
        ("403", "AccessDenied", "credentials"),
        ("400", "ArtifactUnreachable", "answered 400"),
        ("flip", "ArtifactInvalid", "manifest.json"),
    ],
)
def test_what_will_not_change_is_said_at_once(place: Place, fetch: Fetch, fault: str, reason: str, text: str) -> None:
    place.faults = {"/manifest.json": [fault]}
    run = fetch(place.url)
    assert (run.code, run.said["reason"], run.waited) == (status_of(reason), reason, [])
    assert text in run.said["message"]


def test_a_wrong_byte_is_found_and_nothing_is_left(place: Place, fetch: Fetch) -> None:
    place.faults = {"/sub/some weights.bin": ["flip"]}
    run = fetch(place.url)
    assert run.said["reason"] == "DigestMismatch"
    assert "'sub/some weights.bin'" in run.said["message"]
    assert run.files == []


def test_another_digest_than_promised_is_refused_before_anything_is_brought(place: Place, fetch: Fetch) -> None:
    run = fetch(place.url, "--digest", "sha256:" + "0" * 64)
    assert run.said["reason"] == "DigestMismatch"
    assert place.asked == ["/manifest.json"]
    single = fetch(f"{place.url}/model.onnx", "--digest", "sha256:" + "0" * 64)
    assert single.said["reason"] == "DigestMismatch"
    assert single.files == []


def test_a_file_that_is_larger_than_promised_is_not_read_to_its_end(place: Place, fetch: Fetch) -> None:
    (place.root / "sub" / "some weights.bin").write_bytes(WEIGHTS * 20)
    run = fetch(place.url)
    assert run.said["reason"] == "DigestMismatch"


def test_a_listed_file_that_is_gone(place: Place, fetch: Fetch) -> None:
    (place.root / "profile.json").unlink()
    run = fetch(place.url)
    assert run.said["reason"] == "ArtifactNotFound"
    assert "lists 'profile.json'" in run.said["message"]


def test_nobody_listens(fetch: Fetch) -> None:
    run = fetch("http://127.0.0.1:1/model.onnx")
    assert run.said["reason"] == "HostUnreachable"
    assert run.waited == [0.5, 1.0, 2.0, 4.0]


def test_a_manifest_that_leads_out_of_the_folder(place: Place, fetch: Fetch) -> None:
    entry = {"sha256": "0" * 64, "size": 1}
    (place.root / "manifest.json").write_text(json.dumps({"files": {"model.onnx": entry, "../../x": entry}}))
    run = fetch(place.url)
    assert run.said["reason"] == "PathOutside"
    assert "../../x" in run.said["message"]


def test_redirects_are_followed(place: Place, fetch: Fetch) -> None:
    (place.root / "elsewhere.onnx").write_bytes(b"moved")
    place.faults = {"/model.onnx": ["302"]}
    run = fetch(f"{place.url}/model.onnx")
    assert run.code == 0
    assert (run.to / "model.onnx").read_bytes() == b"moved"


@pytest.mark.parametrize("scheme", ["file", "pvc"])
@pytest.mark.parametrize("listed", [True, False], ids=["with manifest", "without"])
def test_brings_a_folder_from_a_disk(tmp_path: Path, fetch: Fetch, scheme: str, listed: bool) -> None:
    source = make_artifact(tmp_path / "pvc" / "claim" / "fraud" / "1")
    digest = digest_of(source)
    if not listed:
        (source / "manifest.json").unlink()
    uri = f"file://{source}" if scheme == "file" else "pvc://claim/fraud/1"
    run = fetch(uri, "--digest", digest)
    assert run.said == {"reason": "Fetched", "digest": digest}
    assert run.files == WHOLE


@pytest.mark.parametrize("scheme", ["file", "pvc"])
@pytest.mark.parametrize("listed", [True, False], ids=["with manifest", "without"])
def test_brings_what_a_kubelet_has_mounted(tmp_path: Path, fetch: Fetch, scheme: str, listed: bool) -> None:
    source = make_artifact(tmp_path / "source")
    digest = digest_of(source)
    if not listed:
        (source / "manifest.json").unlink()
    (tmp_path / "pvc").mkdir()
    place = mounted(tmp_path / "pvc" / "claim", source)
    run = fetch(f"file://{place}" if scheme == "file" else "pvc://claim/", "--digest", digest)
    assert run.said == {"reason": "Fetched", "digest": digest}
    assert run.files == WHOLE
    single = fetch(f"file://{place}/model.onnx")
    assert (single.said["reason"], (single.to / "model.onnx").read_bytes()) == ("Fetched", b"the model")


def test_a_manifest_elsewhere_is_not_read(tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source")
    (source / "manifest.json").rename(tmp_path / "manifest.json")
    (source / "manifest.json").symlink_to("../manifest.json")
    assert fetch(f"file://{source}").said["reason"] == "PathOutside"


def test_what_an_earlier_try_left_is_replaced(tmp_path: Path, fetch: Fetch) -> None:
    source = make_artifact(tmp_path / "source", profile=False)
    (tmp_path / "to" / "old").mkdir(parents=True)
    (tmp_path / "to" / "profile.json").write_text("stale")
    (tmp_path / "to" / "old" / "file").write_text("stale")
    run = fetch(f"file://{source}")
    assert run.files == [".headgate.json", "manifest.json", "model.onnx", "sub/some weights.bin"]


def test_links_devices_and_pipes_in_a_folder_are_refused(tmp_path: Path, fetch: Fetch) -> None:
    claim = tmp_path / "pvc" / "claim"
    outside = make_artifact(tmp_path / "outside")
    make_artifact(claim / "pipe")
    (claim / "pipe" / "profile.json").unlink()
    os.mkfifo(claim / "pipe" / "profile.json")
    make_artifact(claim / "link")
    (claim / "link" / "profile.json").unlink()
    (claim / "link" / "profile.json").symlink_to("/etc/hostname")
    make_artifact(claim / "folder")
    (claim / "folder" / "manifest.json").unlink()
    (claim / "folder" / "more").symlink_to(outside / "sub")
    (claim / "way out").symlink_to(outside)
    make_artifact(claim / "way in").rename(claim / "1")
    (claim / "latest").symlink_to("1")
    ends = {name: fetch(f"pvc://claim/{name}") for name in ("pipe", "link", "folder", "way out", "latest")}
    assert {name: run.said["reason"] for name, run in ends.items()} == {
        "pipe": "ArtifactInvalid",
        "link": "PathOutside",
        "folder": "PathOutside",
        "way out": "PathOutside",
        "latest": "Fetched",
    }


def wrong_uris(tmp_path: Path) -> dict[str, tuple[str, str, str]]:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "model.pkl").write_bytes(b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.onnx").symlink_to("/etc/hostname")
    return {
        "nothing there": (f"file://{tmp_path}/no", "ArtifactNotFound", "no file or folder at"),
        "no model inside": (f"file://{empty}", "ModelMissing", "found: model.pkl"),
        "no .onnx file": (f"file://{empty}/model.pkl", "ModelMissing", "no .onnx file"),
        "a link outwards": (f"file://{outside}", "PathOutside", "model.onnx"),
        "two slashes": ("file://models/fraud", "ArtifactInvalid", "three slashes"),
        "dots": ("pvc://claim/../../etc", "PathOutside", "'..'"),
        "encoded dots": ("pvc://claim/%2e%2e/etc", "PathOutside", "'..'"),
        "dots for a claim": ("pvc://../etc", "PathOutside", "'..'"),
        "no claim": ("pvc:///x", "ArtifactInvalid", "pvc://CLAIM/PATH"),
        "another scheme": ("ftp://host/x", "ArtifactInvalid", "scheme"),
        "no scheme": ("/models/fraud", "ArtifactInvalid", "scheme"),
        "no host": ("https:///x", "ArtifactInvalid", "no host"),
        "a port and no host": ("https://:443/x.onnx", "ArtifactInvalid", "no host"),
        "half a bracket": ("https://me:secret@[x/m.onnx", "ArtifactInvalid", "https://[x/m.onnx is no URI"),
        "half a bracket for a bucket": ("s3://[x/m", "ArtifactInvalid", "is no URI"),
        "half a bracket for another bucket": ("gs://x]/m", "ArtifactInvalid", "is no URI"),
        "half a bracket for a claim": ("pvc://[x", "ArtifactInvalid", "is no URI"),
        "half a bracket for a registry": ("oci://[x/m:1", "ArtifactInvalid", "is no URI"),
        "half a bracket for an owner": ("hf://[x/m", "ArtifactInvalid", "is no URI"),
        "half a bracket for a model": ("models://[x/1", "ArtifactInvalid", "is no URI"),
        "half a bracket for a run": ("runs://[x/1", "ArtifactInvalid", "is no URI"),
        "half a bracket for a file": ("file://[x/1", "ArtifactInvalid", "is no URI"),
        "brackets without an address": ("oci://[:::::]/m:1", "ArtifactInvalid", "is no URI"),
        "a host that becomes another": ("https://a\u2100b/m.onnx", "ArtifactInvalid", "is no URI"),
        "two lines": ("s3://models/fraud\n/1", "ArtifactInvalid", "control character"),
        "half a character": ("gs://models/\ud800", "ArtifactInvalid", "control character"),
        "a name that no disk takes": (f"pvc://claim/{'a' * 300}", "ArtifactNotFound", "no file or folder"),
        "a port that is none": ("https://models.example:99999/m.onnx", "ArtifactInvalid", "Port out of range"),
    }


def test_an_engine_that_knows_its_own_files_takes_any_folder(tmp_path: Path, fetch: Fetch) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.pt").write_bytes(b"weights")
    run = fetch(f"file://{tmp_path}/source", "--any-model")
    assert run.said["reason"] == "Fetched"
    assert (run.to / "model.pt").read_bytes() == b"weights"


NAMES = (
    *("nothing there", "no model inside", "no .onnx file", "a link outwards", "two slashes", "dots", "encoded dots"),
    *("dots for a claim", "no claim", "another scheme", "no scheme", "no host", "a port and no host"),
    *(f"half a bracket{what}" for what in ("", " for a bucket", " for another bucket", " for a claim")),
    *(f"half a bracket for {what}" for what in ("a registry", "an owner", "a model", "a run", "a file")),
    *("brackets without an address", "a host that becomes another", "two lines", "half a character"),
    *("a name that no disk takes", "a port that is none"),
)


@pytest.mark.parametrize("name", NAMES)
def test_uris_that_lead_nowhere(tmp_path: Path, fetch: Fetch, name: str) -> None:
    uri, reason, text = wrong_uris(tmp_path)[name]
    run = fetch(uri)
    assert (run.code, run.said["reason"]) == (status_of(reason), reason)
    assert text in run.said["message"]
    assert run.files == []


def test_the_operator_lets_in_what_is_fetched() -> None:
    assert {start.partition(":")[0] for start in URI_STARTS} == set(SCHEMES)


def test_a_digest_that_is_none(tmp_path: Path, fetch: Fetch) -> None:
    run = fetch(f"file://{make_artifact(tmp_path / 'source')}", "--digest", "latest")
    assert run.said["reason"] == "ArtifactInvalid"


def test_a_volume_that_can_not_be_written(tmp_path: Path, fetch: Fetch) -> None:
    (tmp_path / "to").write_text("a file")
    run = fetch(f"file://{make_artifact(tmp_path / 'source')}")
    assert (run.code, run.said["reason"]) == (12, "ArtifactUnreachable")


def test_the_baselines_profile_comes_along(tmp_path: Path, place: Place, fetch: Fetch) -> None:
    baseline = tmp_path / "baseline"
    options = ["--baseline-uri", place.url, "--baseline-to", str(baseline)]
    run = fetch(f"file://{place.root}", *options, "--baseline-digest", digest_of(place.root))
    assert run.said == {"reason": "Fetched", "digest": digest_of(place.root)}
    assert [path.name for path in baseline.iterdir()] == ["profile.json"]
    assert place.asked == ["/manifest.json", "/profile.json"]


@pytest.mark.parametrize("what", ["gone", "no profile", "another digest", "wrong byte"])
def test_a_baseline_that_can_not_be_had_is_a_warning(tmp_path: Path, place: Place, fetch: Fetch, what: str) -> None:
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
