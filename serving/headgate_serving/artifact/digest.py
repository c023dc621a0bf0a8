"""What an artifact *is*: the manifest over its files, and the digest over the manifest.

Used by the fetcher, by the runtime (to name what it serves) and by `headgate digest`. A folder's digest is
the SHA-256 of the canonical JSON of `{"model.onnx": {"sha256": …, "size": …}, …}`; a single file's digest is
that of its bytes.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ArtifactInvalid, ArtifactNotFound, PathOutside

MANIFEST = "manifest.json"
RECORD = ".headgate.json"  # the fetcher's own note beside the files; part of no digest
MODEL = "model.onnx"
PROFILE = "profile.json"
SAMPLES = "samples.json"

_CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_FILES = 10_000
_MAX_DEPTH = 100


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """All files of an artifact by their relative POSIX paths; never the manifest itself."""

    files: Mapping[str, FileEntry]

    @property
    def digest(self) -> str:
        """`sha256:…` over the canonical JSON of `files`."""
        return "sha256:" + hashlib.sha256(_canonical(self._plain()).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps({"files": self._plain()}, sort_keys=True, indent=2) + "\n"

    def _plain(self) -> dict[str, dict[str, Any]]:
        return {path: {"sha256": entry.sha256, "size": entry.size} for path, entry in self.files.items()}


def read_manifest(raw: bytes) -> Manifest:
    """Parse and check `manifest.json`; ArtifactInvalid says what is wrong with it."""
    try:
        listed = json.loads(raw)["files"]
        files = {checked_path(path): _entry(path, entry) for path, entry in listed.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactInvalid(
            f'{MANIFEST} is not of the form {{"files": {{PATH: {{sha256, size}}}}}} ({error!r}); '
            "write it anew with: headgate digest FOLDER --write"
        ) from error
    check_together(files, MANIFEST)
    return Manifest(files)


def check_together(paths: Collection[str], where: str) -> None:
    """ArtifactInvalid if there are too many paths, or one is both a file and a folder."""
    if len(paths) > MAX_FILES:
        raise ArtifactInvalid(f"{where} lists {len(paths)} files, more than {MAX_FILES}")
    for path in paths:
        inside = next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in paths), None)
        if inside:
            raise ArtifactInvalid(f"{where} lists {inside!r} both as a file and as a folder")


def checked_path(path: str) -> str:
    """The path itself if it stays inside of the artifact and is in plain form, else ArtifactInvalid."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or any(ord(char) < 32 for char in path):
        raise PathOutside(f"{path!r} is no plain path inside of the artifact")
    if path in (MANIFEST, RECORD):
        raise ArtifactInvalid(f"{path!r} can't be listed in the manifest")
    return path


def build_manifest(folder: Path) -> Manifest:
    """Hash every file below `folder` except the manifest itself."""
    paths = dict.fromkeys(islice(_files(folder), MAX_FILES + 1))  # links may make many files of few
    check_together(paths, str(folder))
    return Manifest({path: hash_file(folder / path) for path in sorted(paths)})


def digest_of(path: Path) -> str:
    """The digest of a folder or of a single file, from its bytes (an existing manifest is not believed)."""
    if path.is_dir():
        return build_manifest(path).digest
    return "sha256:" + hash_file(path).sha256


def write_manifest(folder: Path) -> Manifest:
    """Write `manifest.json` into `folder`, whole or not at all."""
    manifest = build_manifest(folder)
    beside = folder / f"{RECORD}.part"
    beside.write_text(manifest.to_json(), encoding="utf-8")
    beside.replace(folder / MANIFEST)
    return manifest


def hash_file(path: Path) -> FileEntry:
    """SHA-256 and size of one file, read in pieces."""
    hasher, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                hasher.update(piece)
                size += len(piece)
    except FileNotFoundError as error:
        raise ArtifactNotFound(f"no file {path}") from error
    return FileEntry(hasher.hexdigest(), size)


def parse_digest(digest: str) -> str:
    """`sha256:<64 hex digits>` in lower case, else ArtifactInvalid."""
    algorithm, _, value = digest.strip().lower().partition(":")
    if algorithm != "sha256" or not _SHA256.fullmatch(value):
        raise ArtifactInvalid(f"the digest {digest!r} is not of the form sha256:<64 hex digits>")
    return f"sha256:{value}"


def is_inside(path: Path, root: Path) -> bool:
    """Whether the path is below the root when all links are followed; a link to itself leads nowhere."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except RuntimeError:
        return False


def _files(folder: Path) -> Iterator[str]:
    """Relative paths of all regular files; a link that leads out of the folder is refused, others are followed.

    ArtifactInvalid if there are too many folders, or too deep ones: links may make many of few, and no file in them.
    """
    waiting: list[tuple[str, tuple[Path, ...]]] = [("", ())]  # relative path, and the folders on the way to it
    found = 0
    while waiting:
        prefix, above = waiting.pop()
        place = (folder / prefix).resolve()
        if place in above:
            raise ArtifactInvalid(f"{prefix} is a link to a folder that it is in, so that it has no end; remove it")
        for name, is_folder in _entries(folder, prefix, place):
            if not is_folder:
                yield name
                continue
            waiting.append((name + "/", (*above, place)))
            found += 1
            if found > MAX_FILES or len(above) >= _MAX_DEPTH:
                raise ArtifactInvalid(
                    f"{folder} has more than {MAX_FILES} folders, or more than {_MAX_DEPTH} of them in each other; "
                    "remove links from one folder to another"
                )


def _entries(root: Path, prefix: str, place: Path) -> Iterator[tuple[str, bool]]:
    """Relative paths of what is in one folder, and whether each is a folder; `place` is it without links, for speed."""
    for path in place.iterdir():
        name = prefix + path.name
        if name in (MANIFEST, RECORD) or (path.name.startswith("..") and _is_mounted(root, place)):
            continue
        if not is_inside(path, root):
            raise PathOutside(f"{name} is a link that leads out of {root}; copy the file in")
        is_folder = (root / name).is_dir()
        if not is_folder and not (root / name).is_file():
            raise ArtifactInvalid(f"{name} is no plain file inside of {root}")
        yield checked_path(name), is_folder


def _is_mounted(root: Path, folder: Path) -> bool:
    """Whether a kubelet has put the files there, for a ConfigMap, a Secret or a projected volume.

    Then `..data` is a link to a folder beside it with a time in its name, and all else links into that.
    """
    data = folder / "..data"
    return data.is_symlink() and data.is_dir() and is_inside(data, root)


def _entry(path: str, entry: Mapping[str, Any]) -> FileEntry:
    sha256, size = entry["sha256"], entry["size"]
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"sha256 of {path!r} is not 64 hex digits")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"size of {path!r} is no whole number")
    return FileEntry(sha256, size)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
