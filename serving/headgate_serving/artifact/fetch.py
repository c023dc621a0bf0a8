"""Bring an artifact to a folder: streamed, verified, and there as a whole or not at all.

`command.py` calls `fetch` once per pod; `fetch_only` where a few files are enough, such as the profile of the version
that this one was born to replace. Files are written to a hidden folder beside their place, hashed while they pass, and
moved when every one of them is what the manifest (or the digest) promises.
"""

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ArtifactNotFound, ArtifactTruncated, ArtifactUnreachable, DigestMismatch, ModelMissing
from .digest import MANIFEST, MODEL, RECORD, FileEntry, Manifest, parse_digest
from .download import Tools, bring, check_size, retrying
from .onnx_file import check_external_data
from .source import Listing, Source
from .sources import source_for
from .web import without_query

_STAGING = ".fetching"

MAX_PROFILE = 64 << 20
"""Bytes of the files together that `fetch_only` brings."""


@dataclass(frozen=True)
class Fetched:
    """What was brought."""

    digest: str
    files: int
    size: int


@dataclass(frozen=True)
class Part:
    """Files that were brought of an artifact, and its digest; "" where only all of its files would tell it."""

    files: tuple[str, ...]
    digest: str


def fetch(uri: str, to: Path, digest: str | None, tools: Tools, *, any_model: bool = False) -> Fetched:
    """Bring the artifact at `uri` to the folder `to`; ArtifactError if it is not right.

    With `any_model` a folder may hold another model than `model.onnx`.
    """
    expected = parse_digest(digest) if digest else None
    source = source_for(uri, tools.client, tools.pvc_root)
    listing = retrying(source.listing, tools)
    if listing is not None:
        check_size(without_query(uri), sum(_sizes(listing).values()), tools.max_bytes)
    try:
        staging = _fresh(to)
        if listing is None:
            fetched = _fetch_single(uri, source, staging, expected, tools)
        else:
            if not any_model:
                _check_model_listed(uri, _sizes(listing))
            fetched = _fetch_folder(uri, source, listing, staging, expected, tools)
        if (staging / MODEL).exists():
            check_external_data(staging)
        (staging / RECORD).write_text(json.dumps({"uri": without_query(uri), "digest": fetched.digest}))
        _move_in(staging, to)
    except OSError as error:
        raise _not_written(to, error) from error
    finally:
        shutil.rmtree(to / _STAGING, ignore_errors=True)
    return fetched


def fetch_only(uri: str, to: Path, digest: str | None, tools: Tools, names: Collection[str]) -> Part:
    """Bring only the files `names` of an artifact, those that are there; ArtifactError if one of them is not right.

    A manifest says what each has to be, and `digest` what the manifest has to be. Where a place lists its files
    without a manifest, `digest` can't be compared: that takes all files. A single file has none beside it.
    """
    expected = parse_digest(digest) if digest else None
    source = source_for(uri, tools.client, tools.pvc_root)
    listing = retrying(source.listing, tools)
    if listing is None:
        return Part((), "")
    found = listing.digest if isinstance(listing, Manifest) else ""
    if found:
        _check_digest(uri, found, expected)
    sizes = _sizes(listing)
    chosen = {name: sizes[name] for name in names if name in sizes}
    limited = replace(tools, max_bytes=min(tools.max_bytes, MAX_PROFILE))
    check_size(", ".join(chosen), sum(chosen.values()), limited.max_bytes)
    try:
        staging = _fresh(to)
        for name, size in chosen.items():
            if isinstance(listing, Manifest):
                _bring(source, name, listing.files[name], staging, limited)
            else:
                _bring_listed(source, name, size, staging, limited)
        _move_in(staging, to)
    except OSError as error:
        raise _not_written(to, error) from error
    finally:
        shutil.rmtree(to / _STAGING, ignore_errors=True)
    return Part(tuple(chosen), found)


def _not_written(to: Path, error: OSError) -> ArtifactUnreachable:
    return ArtifactUnreachable(f"can't write below {to}: {error}; is there enough room on the volume?")


def _sizes(listing: Manifest | Listing) -> Mapping[str, int]:
    """Bytes of each file."""
    if isinstance(listing, Manifest):
        return {path: entry.size for path, entry in listing.files.items()}
    return listing.sizes


def _check_digest(uri: str, found: str, expected: str | None) -> None:
    if expected and found != expected:
        raise DigestMismatch(
            f"{without_query(uri)} has the digest {found}, expected {expected}; "
            "either the artifact was changed after it was released, or spec.model.digest is not its own"
        )


def _check_model_listed(uri: str, paths: Collection[str]) -> None:
    if MODEL not in paths:
        found = ", ".join(sorted(paths)[:8]) or "nothing"
        raise ModelMissing(
            f"there is no {MODEL} in {without_query(uri)} (found: {found}); put the model in under that name"
        )


def _fetch_folder(
    uri: str, source: Source, listing: Manifest | Listing, staging: Path, expected: str | None, tools: Tools
) -> Fetched:
    """Bring what a manifest promises, or what a place lists: then the manifest is made from what came."""
    if isinstance(listing, Manifest):
        _check_digest(uri, listing.digest, expected)
        for path, entry in listing.files.items():
            _bring(source, path, entry, staging, tools)
        manifest = listing
    else:
        manifest = Manifest(
            {path: _bring_listed(source, path, size, staging, tools) for path, size in listing.sizes.items()}
        )
        _check_digest(uri, manifest.digest, expected)
    (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Fetched(manifest.digest, len(manifest.files), sum(entry.size for entry in manifest.files.values()))


def _fetch_single(uri: str, source: Source, staging: Path, expected: str | None, tools: Tools) -> Fetched:
    if not uri.split("?", 1)[0].endswith(".onnx"):
        raise ModelMissing(
            f"{without_query(uri)} is a single file but no .onnx file; give a folder with {MODEL}, or a .onnx file"
        )
    entry = bring(source, MODEL, staging / MODEL, None, tools)
    _check_digest(uri, f"sha256:{entry.sha256}", expected)
    return Fetched(f"sha256:{entry.sha256}", 1, entry.size)


def _bring(source: Source, path: str, promised: FileEntry, staging: Path, tools: Tools) -> None:
    """Bring one file of a manifest, and see that it is the one which was promised."""
    found = _bring_listed(source, path, promised.size, staging, tools)
    if found == promised:
        return
    kind = ArtifactTruncated if found.size < promised.size else DigestMismatch
    raise kind(
        f"{path!r} has {found.size} bytes with SHA-256 {found.sha256}, the manifest says {promised.size} "
        f"with {promised.sha256}; upload the file again, or write the manifest anew: "
        "headgate digest FOLDER --write"
    )


def _bring_listed(source: Source, path: str, size: int, staging: Path, tools: Tools) -> FileEntry:
    target = staging / path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        return bring(source, path, target, size, tools)
    except ArtifactNotFound as error:
        raise ArtifactNotFound(f"{error}; {MANIFEST} lists {path!r}: upload it, or write the manifest anew") from error


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
