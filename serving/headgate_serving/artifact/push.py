"""Bring a finished artifact to its place. `headgate package` calls `push` with a folder that has its manifest.

The manifest goes last, so a push that was cut off is no artifact yet. What is already at the place is replaced only
where it is the same artifact, or on demand: versions that are served must not change beneath their digest.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

import httpx

from ..errors import ArtifactExists, ArtifactInvalid, ArtifactNotFound, ArtifactUnreachable
from .digest import MANIFEST, Manifest, read_manifest
from .source import Source, bucket_and_key
from .sources import source_for
from .web import parts_of

Files = Mapping[str, Path]
PUSHABLE = ("file", "s3", "gs", "oci")


def push(folder: Path, manifest: Manifest, uri: str, client: httpx.Client, *, overwrite: bool = False) -> bool:
    """Upload to the place that the URI names; False if the very same artifact is there already."""
    scheme = parts_of(uri).scheme
    if scheme not in PUSHABLE:
        raise ArtifactInvalid(
            f"{uri}: can't be pushed to; give a path or a URI of {', '.join(PUSHABLE)}"
            + (", then upload that folder to the server" if scheme in ("http", "https") else "")
            + (", then copy that folder into the claim" if scheme == "pvc" else "")
        )
    if uri.endswith(".onnx"):
        raise ArtifactInvalid(f"{uri}: an artifact is a folder; give one, as in {uri.removesuffix('.onnx')}")
    if scheme == "file":
        _check_folder(_folder(uri))
    source = source_for(uri, client, Path("/pvc"))
    if not overwrite and (there := _digest_there(source)):
        if there == manifest.digest:
            return False
        raise ArtifactExists(
            f"there is another artifact at {uri} ({there}); give each version a path of its own, or say --overwrite"
        )
    files = {path: folder / path for path in [*manifest.files, MANIFEST]}
    _pushers(manifest, client)[scheme](uri, files)
    return True


def _digest_there(source: Source) -> str | None:
    """What tells the artifact that is there: its digest, or just that there are files."""
    try:
        listing = source.listing()
    except ArtifactNotFound:
        return None
    if isinstance(listing, Manifest):
        return listing.digest if listing.files else None
    return "without a manifest"


def _pushers(manifest: Manifest, client: httpx.Client) -> dict[str, Callable[[str, Files], None]]:
    def to_s3(uri: str, files: Files) -> None:
        from .s3 import push as push_to

        push_to(*bucket_and_key(uri), files)

    def to_gs(uri: str, files: Files) -> None:
        from .gs import push as push_to

        push_to(*bucket_and_key(uri), files, client)

    def to_registry(uri: str, files: Files) -> None:
        from .oci import push as push_to

        push_to(uri, files, manifest, client)

    return {"file": _to_disk, "s3": to_s3, "gs": to_gs, "oci": to_registry}


def _folder(uri: str) -> Path:
    """Where the artifact is to be; what links lead to, for a link can't be replaced by a folder."""
    return Path(os.path.realpath(unquote(parts_of(uri).path)))


def _check_folder(to: Path) -> None:
    """ArtifactExists where there is anything that is no part of an artifact: it is never replaced."""
    if not os.path.lexists(to):
        return
    if not to.is_dir():
        raise ArtifactExists(f"{to} is a file; an artifact is a folder: give a path that is not there yet")
    inside = {path.relative_to(to).as_posix() for path in to.rglob("*") if not path.is_dir() or path.is_symlink()}
    try:
        own = {*read_manifest((to / MANIFEST).read_bytes()).files, MANIFEST} if MANIFEST in inside else set()
    except (OSError, ArtifactInvalid):
        own = set()
    if foreign := sorted(inside - own):
        some = ", ".join(foreign[:3]) + (", …" if foreign[3:] else "")
        raise ArtifactExists(
            f"{to} holds what is no part of an artifact ({some}) and is left as it is; give a folder that is empty or "
            "not there yet"
        )


def _to_disk(uri: str, files: Files) -> None:
    """Copy to a folder beside the place, and rename: the place has all of the one artifact or of the other.

    Between two renames it has none; the old one is beside it then, and is put back if the second one fails.
    """
    to = _folder(uri)
    beside, old = (to.parent / f".{to.name}.{uuid.uuid4().hex}" for _ in range(2))
    try:
        for path, file in files.items():
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, beside / path)
        if to.is_dir():
            to.rename(old)
        try:
            beside.rename(to)
        except OSError:
            old.rename(to)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise ArtifactUnreachable(f"can't write to {to}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
