"""Manifest and digest: the same for the same bytes, and nothing in them that could leave the folder."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact_places import mounted
from headgate_serving.artifact import build_manifest, digest_of, read_manifest, write_manifest
from headgate_serving.artifact.digest import checked_path, parse_digest
from headgate_serving.errors import ArtifactInvalid, ArtifactNotFound


def folder(at: Path) -> Path:
    (at / "sub").mkdir(parents=True)
    (at / "model.onnx").write_bytes(b"model")
    (at / "sub" / "weights.bin").write_bytes(b"\0" * 3_000_000)
    return at


def test_the_digest_is_that_of_the_contract(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"abc")
    sha256 = hashlib.sha256(b"abc").hexdigest()
    canonical = f'{{"model.onnx":{{"sha256":"{sha256}","size":3}}}}'
    assert digest_of(tmp_path) == "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
    assert digest_of(tmp_path / "model.onnx") == f"sha256:{sha256}"


def test_the_manifest_is_no_part_of_the_digest(tmp_path: Path) -> None:
    before = digest_of(folder(tmp_path))
    written = write_manifest(tmp_path)
    assert written.digest == before == digest_of(tmp_path)
    assert read_manifest((tmp_path / "manifest.json").read_bytes()) == written
    assert list(written.files) == ["model.onnx", "sub/weights.bin"]


def test_any_changed_byte_or_name_changes_the_digest(tmp_path: Path) -> None:
    before = digest_of(folder(tmp_path))
    (tmp_path / "sub" / "weights.bin").rename(tmp_path / "sub" / "weights2.bin")
    renamed = digest_of(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"Model")
    assert len({before, renamed, digest_of(tmp_path)}) == 3


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_a_file(tmp_path: Path) -> None:
    inside = folder(tmp_path / "artifact")
    (inside / "copy.onnx").symlink_to("model.onnx")
    assert "copy.onnx" in build_manifest(inside).files
    (inside / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactInvalid, match="passwd"):
        digest_of(inside)


def test_what_a_kubelet_mounts_is_the_artifact_itself(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    place = mounted(tmp_path / "mounted", source)
    assert build_manifest(place) == build_manifest(source)
    (tmp_path / "around").mkdir()
    (tmp_path / "around" / "models").mkdir()
    inner = mounted(tmp_path / "around" / "models" / "fraud", source)
    assert list(build_manifest(tmp_path / "around").files) == [
        f"models/fraud/{path}" for path in build_manifest(inner).files
    ]


def test_a_link_to_a_folder_inside_is_that_folder(tmp_path: Path) -> None:
    (folder(tmp_path) / "again").symlink_to("sub")
    assert list(build_manifest(tmp_path).files) == ["again/weights.bin", "model.onnx", "sub/weights.bin"]


def test_a_folder_with_dots_that_no_kubelet_made_is_part_of_the_artifact(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "w.bin").touch()
    assert list(build_manifest(tmp_path).files) == ["..data/w.bin"]


BAD_LINKS = {
    "a folder outside": ("sub/more", "../../outside", "sub/more is a link that leads out"),
    "by a folder inside": ("x", "sub/../../outside/w.bin", "x is a link that leads out"),
    "data of a kubelet that are outside": ("..data", "../outside", "..data is a link that leads out"),
    "the folder itself": ("sub/up", "..", "has no end"),
    "itself": ("self", "self", "self"),
    "nothing": ("void", "nothing", "void is no plain file"),
}


@pytest.mark.parametrize("name", BAD_LINKS)
def test_links_that_lead_out_or_nowhere_are_refused(tmp_path: Path, name: str) -> None:
    link, to, reason = BAD_LINKS[name]
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "w.bin").touch()
    (folder(tmp_path / "artifact") / link).symlink_to(to)
    with pytest.raises(ArtifactInvalid, match=reason):
        digest_of(tmp_path / "artifact")


def test_links_that_make_many_files_of_few_are_refused_in_time(tmp_path: Path) -> None:
    for level in range(40):  # 2^40 paths
        (tmp_path / f"{level}").mkdir()
        for name in "ab":
            (tmp_path / f"{level}" / name).symlink_to(f"../{level + 1}")
    (tmp_path / "40").mkdir()
    (tmp_path / "40" / "w.bin").touch()
    with pytest.raises(ArtifactInvalid, match="more than 10000"):
        digest_of(tmp_path)


def test_links_that_make_many_folders_without_a_file_are_refused_in_time(tmp_path: Path) -> None:
    for level in range(30):  # each links to all later ones: 2^30 paths
        (tmp_path / f"{level}").mkdir()
        for later in range(level + 1, 30):
            (tmp_path / f"{level}" / f"{later}").symlink_to(f"../{later}")
    with pytest.raises(ArtifactInvalid, match="more than 10000 folders"):
        digest_of(tmp_path)


def test_folders_are_followed_as_deep_as_any_model_has_them(tmp_path: Path) -> None:
    (tmp_path / ("d/" * 100)).mkdir(parents=True)
    (tmp_path / ("d/" * 100) / "w.bin").touch()
    assert list(build_manifest(tmp_path).files) == ["d/" * 100 + "w.bin"]
    (tmp_path / ("d/" * 101)).mkdir()
    with pytest.raises(ArtifactInvalid, match="more than 100 of them in each other"):
        digest_of(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        digest_of(tmp_path / "nothing")


BAD_PATHS = ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "", "a/.", "a\\b", "a\nb", "\0", "manifest.json", "a/"]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_leave_the_folder_are_refused(path: str) -> None:
    listed = {"files": {path: {"sha256": "0" * 64, "size": 1}}}
    with pytest.raises(ArtifactInvalid):
        read_manifest(json.dumps(listed).encode())


@given(path=st.text(st.sampled_from("ab./\\"), max_size=8))
def test_every_accepted_path_stays_inside(path: str) -> None:
    try:
        accepted = checked_path(path)
    except ArtifactInvalid:
        return
    root = Path("/root/of/artifact")
    assert (root / accepted).resolve().is_relative_to(root)
    assert (root / accepted).resolve() != root


ENTRY = {"sha256": "0" * 64, "size": 1}
BAD_MANIFESTS = {
    "no JSON": b"{",
    "a list": b"[]",
    "no files": b"{}",
    "files is a list": b'{"files": []}',
    "no size": json.dumps({"files": {"a": {"sha256": "0" * 64}}}).encode(),
    "size is text": json.dumps({"files": {"a": ENTRY | {"size": "1"}}}).encode(),
    "size is negative": json.dumps({"files": {"a": ENTRY | {"size": -1}}}).encode(),
    "short hash": json.dumps({"files": {"a": ENTRY | {"sha256": "00"}}}).encode(),
    "file and folder": json.dumps({"files": {"a": ENTRY, "a/b": ENTRY}}).encode(),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_broken_manifest_is_refused(name: str) -> None:
    with pytest.raises(ArtifactInvalid):
        read_manifest(BAD_MANIFESTS[name])


def test_digests_are_written_in_one_way() -> None:
    assert parse_digest(" SHA256:" + "AB" * 32) == "sha256:" + "ab" * 32
    for wrong in ("ab" * 32, "sha256:xyz", "md5:" + "ab" * 16, ""):
        with pytest.raises(ArtifactInvalid):
            parse_digest(wrong)
