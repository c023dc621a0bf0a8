"""Bring an artifact to a folder: streamed, verified, and there as a whole or not at all.

`command.py` calls `fetch` once per pod, and `fetch_baseline_profile` for the profile of the version that this
one was born to replace. Files are written to a hidden folder beside their place, hashed while they pass, and
moved when every one of them is what the manifest (or the digest) promises.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from ..errors import ArtifactError, ArtifactInvalid, ArtifactNotFound, ArtifactUnreachable, DigestMismatch
from .digest import MANIFEST, MODEL, PROFILE, RECORD, FileEntry, Manifest, parse_digest
from .sources import Source, source_for

logger = logging.getLogger(__name__)

_STAGING = ".fetching"
T = TypeVar("T")


@dataclass(frozen=True)
class Tools:
    """What comes from outside: the HTTP client, the place of the claims, how to wait between tries."""

    client: httpx.Client
    wait: Callable[[float], None]
    pvc_root: Path = Path("/pvc")
    attempts: int = 5


@dataclass(frozen=True)
class Fetched:
    """What was brought."""

    digest: str
    files: int
    size: int


def fetch(uri: str, to: Path, digest: str | None, tools: Tools) -> Fetched:
    """Bring the artifact at `uri` to the folder `to`; ArtifactError if it is not right."""
    expected = parse_digest(digest) if digest else None
    source = source_for(uri, tools.client, tools.pvc_root)
    manifest = _retrying(source.manifest, tools)
    if manifest is not None:
        _check_manifest(uri, manifest, expected)
    try:
        staging = _fresh(to)
        if manifest is None:
            fetched = _fetch_single(uri, source, staging, expected, tools)
        else:
            fetched = _fetch_folder(source, manifest, staging, tools)
        (staging / RECORD).write_text(json.dumps({"uri": uri.split("?", 1)[0], "digest": fetched.digest}))
        _move_in(staging, to)
    except OSError as error:
        raise ArtifactUnreachable(f"can't write below {to}: {error}; is there enough room on the volume?") from error
    finally:
        shutil.rmtree(to / _STAGING, ignore_errors=True)
    return fetched


def fetch_baseline_profile(uri: str, to: Path, digest: str | None, tools: Tools) -> bool:
    """Bring only `profile.json` of another artifact, verified by its manifest; False if it has none."""
    expected = parse_digest(digest) if digest else None
    source = source_for(uri, tools.client, tools.pvc_root)
    manifest = _retrying(source.manifest, tools)
    if manifest is None or PROFILE not in manifest.files:
        return False
    if expected and manifest.digest != expected:
        raise DigestMismatch(f"{uri} has the digest {manifest.digest}, expected {expected}")
    try:
        staging = _fresh(to)
        _bring(source, PROFILE, manifest.files[PROFILE], staging, tools)
        _move_in(staging, to)
    finally:
        shutil.rmtree(to / _STAGING, ignore_errors=True)
    return True


def _check_manifest(uri: str, manifest: Manifest, expected: str | None) -> None:
    if expected and manifest.digest != expected:
        raise DigestMismatch(
            f"{uri} has the digest {manifest.digest}, expected {expected}; "
            "either the artifact was changed after it was released, or spec.model.digest is not its own"
        )
    if MODEL not in manifest.files:
        listed = ", ".join(sorted(manifest.files)[:8]) or "nothing"
        raise ArtifactInvalid(f"there is no {MODEL} in {uri} (found: {listed}); put the model in under that name")


def _fetch_folder(source: Source, manifest: Manifest, staging: Path, tools: Tools) -> Fetched:
    for path, entry in manifest.files.items():
        _bring(source, path, entry, staging, tools)
    (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Fetched(manifest.digest, len(manifest.files), sum(entry.size for entry in manifest.files.values()))


def _fetch_single(uri: str, source: Source, staging: Path, expected: str | None, tools: Tools) -> Fetched:
    if not uri.split("?", 1)[0].endswith(".onnx"):
        raise ArtifactInvalid(f"{uri} is a single file but no .onnx file; give a folder with {MODEL}, or a .onnx file")
    entry = _retrying(lambda: _save(source.read(MODEL), staging / MODEL, None), tools)
    found = f"sha256:{entry.sha256}"
    if expected and found != expected:
        raise DigestMismatch(f"{uri} has the digest {found}, expected {expected}")
    return Fetched(found, 1, entry.size)


def _bring(source: Source, path: str, entry: FileEntry, staging: Path, tools: Tools) -> None:
    target = staging / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = _retrying(lambda: _save(source.read(path), target, entry.size), tools)
    except ArtifactNotFound as error:
        raise ArtifactNotFound(f"{error}; {MANIFEST} lists {path!r}: upload it, or write the manifest anew") from error
    if found != entry:
        raise DigestMismatch(
            f"{path!r} has {found.size} bytes with SHA-256 {found.sha256}, the manifest says {entry.size} "
            f"with {entry.sha256}; upload the file again, or write the manifest anew: "
            "headgate digest FOLDER --write"
        )


def _save(pieces: Iterator[bytes], target: Path, limit: int | None) -> FileEntry:
    """Write and hash a stream; past `limit` bytes it stops, for the size alone says that it is wrong."""
    hasher, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            hasher.update(piece)
            size += len(piece)
            if limit is not None and size > limit:
                break
    return FileEntry(hasher.hexdigest(), size)


def _retrying(attempt: Callable[[], T], tools: Tools) -> T:
    """Try again after 0.5, 1, 2, … seconds while the error says that it may help."""
    for number in range(1, tools.attempts + 1):
        try:
            return attempt()
        except ArtifactError as error:
            if not error.retryable:
                raise
            if number == tools.attempts:
                raise ArtifactUnreachable(f"{error} (tried {number} times)", retryable=True) from error
            logger.warning("attempt %d of %d failed: %s", number, tools.attempts, error)
            tools.wait(0.5 * 2 ** (number - 1))
    raise AssertionError("attempts has to be at least 1")


def _fresh(to: Path) -> Path:
    """An empty hidden folder inside `to`: only there can files be moved to their place by renaming."""
    staging = to / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def _move_in(staging: Path, to: Path) -> None:
    """Replace what an earlier try of this container left in `to`; the record comes last."""
    for old in to.iterdir():
        if old != staging:
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for new in sorted(staging.iterdir(), key=lambda path: path.name == RECORD):
        new.rename(to / new.name)
