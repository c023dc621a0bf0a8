"""No artifact takes more of a node's disk than it may: by what is promised, or where nothing is, by what comes."""

import json
from pathlib import Path

import pytest

from artifact_places import WEIGHTS, Fetch, Place, Run, make_artifact
from headgate_serving.artifact import MANIFEST, write_manifest

LARGE = bytes(3 << 20)
TOO_LARGE = 23


def is_too_large(run: Run) -> bool:
    """It says so, keeps nothing, and has not tried twice."""
    return (run.code, run.said["reason"], run.files, run.waited) == (TOO_LARGE, "ArtifactTooLarge", [], [])


def test_a_file_of_no_promised_size_is_read_no_further(place: Place, fetch: Fetch) -> None:
    (place.root / "model.onnx").write_bytes(LARGE)
    run = fetch(f"{place.url}/model.onnx", "--max-bytes", str(1 << 20))
    assert is_too_large(run)
    assert f"{1 << 20} are allowed" in run.said["message"]
    assert "spec.model.maxSize" in run.said["message"]
    assert fetch(f"{place.url}/model.onnx", "--max-bytes", str(len(LARGE))).code == 0


def test_the_files_of_a_manifest_count_together_and_none_of_them_is_asked_for(place: Place, fetch: Fetch) -> None:
    size = sum(each["size"] for each in json.loads((place.root / MANIFEST).read_text())["files"].values())
    place.asked.clear()
    assert is_too_large(fetch(place.url, "--max-bytes", str(size - 1)))
    assert [path for path in place.asked if path != f"/{MANIFEST}"] == []
    assert fetch(place.url, "--max-bytes", str(size)).code == 0


@pytest.mark.parametrize("scheme", ["file", "pvc"])
def test_what_a_place_lists_counts_too(tmp_path: Path, fetch: Fetch, scheme: str) -> None:
    folder = make_artifact(tmp_path / "pvc" / "models" / "fraud")
    (folder / MANIFEST).unlink()
    uri = f"file://{folder}" if scheme == "file" else "pvc://models/fraud"
    assert is_too_large(fetch(uri, "--max-bytes", str(len(WEIGHTS))))
    assert fetch(uri, "--max-bytes", str(2 * len(WEIGHTS))).code == 0


def test_a_lie_in_a_manifest_ends_at_what_it_promised(place: Place, fetch: Fetch) -> None:
    (place.root / "model.onnx").write_bytes(LARGE)
    run = fetch(place.url, "--max-bytes", str(2 << 20))
    assert (run.said["reason"], run.files) == ("DigestMismatch", [])


def test_the_operator_says_it_by_a_variable(place: Place, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_MAX_BYTES", "100")
    assert is_too_large(fetch(place.url))


def test_a_baseline_whose_profile_is_too_large_is_done_without(
    tmp_path: Path, place: Place, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate_serving.artifact.fetch.MAX_PROFILE", 100)
    other = make_artifact(tmp_path / "baseline-place")
    (other / "profile.json").write_bytes(b" " * 200)
    write_manifest(other)
    to = tmp_path / "baseline"
    run = fetch(place.url, "--baseline-uri", f"file://{other}", "--baseline-to", str(to))
    assert (run.code, run.said["reason"]) == (0, "Fetched")
    assert "100 are allowed" in run.said["message"]
    assert not (to / "profile.json").exists()
