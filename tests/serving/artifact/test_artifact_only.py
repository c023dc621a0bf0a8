"""`headgate-fetch --only NAME`: a few files of an artifact, verified as far as that goes without the others."""

from pathlib import Path

import pytest

from artifact_places import Fetch, Place, make_artifact
from headgate_serving.artifact import MANIFEST, digest_of, write_manifest

ONLY = ["--only", "profile.json", "--only", "samples.json", "--only", "evaluation.json"]


def test_brings_those_that_are_there_and_asks_for_no_other(place: Place, fetch: Fetch) -> None:
    (place.root / "samples.json").write_text("[]")
    write_manifest(place.root)
    run = fetch(place.url, *ONLY, "--digest", digest_of(place.root))
    assert (run.code, run.said) == (0, {"reason": "Fetched", "digest": digest_of(place.root)})
    assert run.files == ["profile.json", "samples.json"]
    assert place.asked == [f"/{MANIFEST}", "/profile.json", "/samples.json"]


def test_an_artifact_that_has_none_of_them_is_no_error(tmp_path: Path, fetch: Fetch) -> None:
    run = fetch(f"file://{make_artifact(tmp_path / 'source', profile=False)}", *ONLY)
    assert (run.code, run.files) == (0, [])


def test_a_single_file_has_none_beside_it(place: Place, fetch: Fetch) -> None:
    run = fetch(f"{place.url}/model.onnx", *ONLY, "--digest", digest_of(place.root / "model.onnx"))
    assert (run.code, run.files, place.asked) == (0, [], [])


def test_another_digest_is_refused(place: Place, fetch: Fetch) -> None:
    run = fetch(place.url, *ONLY, "--digest", "sha256:" + "0" * 64)
    assert (run.said["reason"], run.files) == ("DigestMismatch", [])


def test_a_wrong_byte_is_found(place: Place, fetch: Fetch) -> None:
    place.faults = {"/profile.json": ["flip"]}
    run = fetch(place.url, *ONLY)
    assert (run.said["reason"], run.files) == ("DigestMismatch", [])


def test_the_manifest_may_be_made_of_what_is_listed(tmp_path: Path, fetch: Fetch) -> None:
    folder = make_artifact(tmp_path / "source")
    (folder / MANIFEST).unlink()
    run = fetch(f"file://{folder}", *ONLY, "--digest", digest_of(folder))
    assert (run.code, run.files, run.said["digest"]) == (0, ["profile.json"], digest_of(folder))


def test_the_files_together_have_a_limit(place: Place, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate_serving.artifact.fetch.MAX_PROFILE", 100)
    for name in ("profile.json", "samples.json"):
        (place.root / name).write_bytes(b" " * 60)
    write_manifest(place.root)
    run = fetch(place.url, *ONLY)
    assert (run.said["reason"], run.files, place.asked) == ("ArtifactTooLarge", [], [f"/{MANIFEST}"])
    assert fetch(place.url, "--only", "samples.json").files == ["samples.json"]


def test_the_baseline_is_brought_in_the_same_way(tmp_path: Path, place: Place, fetch: Fetch) -> None:
    (place.root / "samples.json").write_text("[]")
    write_manifest(place.root)
    source, baseline = make_artifact(tmp_path / "source"), tmp_path / "baseline"
    run = fetch(f"file://{source}", *ONLY, "--baseline-uri", place.url, "--baseline-to", str(baseline))
    assert run.said == {"reason": "Fetched", "digest": digest_of(source)}
    assert sorted(path.name for path in baseline.iterdir()) == ["profile.json", "samples.json"]
    assert run.files == ["profile.json"]
