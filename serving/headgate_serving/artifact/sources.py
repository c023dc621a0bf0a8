"""Where artifacts come from: one small class per kind of place, all with the same two verbs.

`source_for(uri)` → a Source. `read(path, start)` streams one file of it; `listing()` says what there is. `fetch.py`
and `download.py` are the only callers; every error is already one of ours. Clients of object stores are imported
when such a URI is there, and only then.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, unquote

import httpx

from ..errors import AccessDenied, ArtifactInvalid, ArtifactNotFound, ArtifactUnreachable, ClientMissing, PathOutside
from .digest import MANIFEST, Manifest, build_manifest, check_together, checked_path, is_inside, read_manifest
from .web import CHUNK, HttpSource, parts_of, without_query

SCHEMES = ("file", "pvc", "http", "https", "s3", "gs", "oci", "hf", "models", "runs")


@dataclass(frozen=True)
class Listing:
    """The files of a folder that has no manifest: relative path → size in bytes. Hashed when they have come."""

    sizes: Mapping[str, int]


class Source(Protocol):
    """One artifact at its place."""

    def listing(self) -> Manifest | Listing | None:
        """What the folder holds; None if the artifact is a single file."""

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one file of the folder from byte `start` on; for a single file `path` is not looked at.

        CannotResume if the bytes from `start` on can't be had, or not of the same file as before.
        """


class LocalSource:
    """A file or a folder on a mounted disk: `file://`, or `pvc://`, where nothing outside of the claim is read."""

    def __init__(self, root: Path, claim: Path | None = None) -> None:
        self._root = root
        self._claim = claim

    def listing(self) -> Manifest | None:
        """The folder's own manifest, or one made from what is there."""
        if self._claim and not is_inside(self._root, self._claim):
            raise PathOutside(f"{self._root} is a link that leads out of the claim")
        try:
            if self._root.is_dir():
                return self._folder()
            if self._root.is_file():
                return None
        except OSError as error:
            raise _unreadable(self._root, error) from error
        raise ArtifactNotFound(f"there is no file or folder at {self._root}; is the path right, the volume mounted?")

    def _folder(self) -> Manifest:
        listed = self._root / MANIFEST
        if not listed.is_file():
            return build_manifest(self._root)
        if not is_inside(listed, self._root):
            raise PathOutside(f"{MANIFEST} is a link that leads out of {self._root}")
        return read_manifest(listed.read_bytes())

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one file, following no link out of the folder, and no device or pipe at all."""
        folder = self._root.is_dir()
        file = self._root / path if folder else self._root
        if folder and not is_inside(file, self._root):
            raise PathOutside(f"{path!r} is a link that leads out of {self._root}")
        try:
            if file.exists() and not file.is_file():
                raise ArtifactInvalid(f"{path!r} is no plain file")
            with file.open("rb") as opened:
                opened.seek(start)
                while piece := opened.read(CHUNK):
                    yield piece
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"{file} is listed in {MANIFEST} but is not there") from error
        except OSError as error:
            raise _unreadable(file, error) from error


def source_for(uri: str, client: httpx.Client, pvc_root: Path) -> Source:
    """The place that a URI names; ArtifactInvalid for a URI that can't be one."""
    parts = parts_of(uri)
    path = _plain(parts)
    match parts.scheme:
        case "file" | "pvc":
            return _mounted(parts, path, pvc_root)
        case "http" | "https":
            if not parts.hostname:
                raise ArtifactInvalid(f"{without_query(uri)}: no host")
            return HttpSource(uri, client)
        case "s3" | "gs":
            return _in_bucket(uri, client)
        case "oci":
            from .oci import registry_source

            return registry_source(uri, client)
        case "hf" | "models" | "runs":
            return _in_hub(uri, client)
        case _:
            raise ArtifactInvalid(f"{uri}: the scheme has to be one of {', '.join(SCHEMES)}")


def _mounted(parts: SplitResult, path: str, pvc_root: Path) -> Source:
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise ArtifactInvalid(f"{parts.geturl()}: file URIs have three slashes, as in file:///models/fraud")
        return _on_disk(Path(path))
    if not parts.netloc:
        raise ArtifactInvalid(f"{parts.geturl()}: expected pvc://CLAIM/PATH")
    claim = pvc_root / parts.netloc
    return _on_disk(claim / path.lstrip("/"), claim)


def _in_bucket(uri: str, client: httpx.Client) -> Source:
    bucket, key = bucket_and_key(uri)
    if uri.startswith("s3:"):
        from .s3 import S3Source

        return S3Source(bucket, key)
    from .gs import GsSource

    return GsSource(bucket, key, client)


def _in_hub(uri: str, client: httpx.Client) -> Source:
    if uri.startswith("hf:"):
        from .hf import HfSource

        return HfSource(uri, client)
    from .mlflow import MlflowSource

    return MlflowSource(uri, client, lambda place: _in_bucket(place, client))


def _on_disk(root: Path, claim: Path | None = None) -> Source:
    """A folder or a file; a folder with the file `oci-layout` is an OCI layout."""
    from .oci import LAYOUT, Layout, OciSource

    try:
        inside = claim is None or root.resolve().is_relative_to(claim.resolve())
        if inside and (root / LAYOUT).is_file():
            return OciSource(Layout(root), str(root))
    except OSError as error:
        raise _unreadable(root, error) from error
    except RuntimeError as error:  # a link to itself
        raise ArtifactInvalid(f"{root}: {error}") from error
    return LocalSource(root, claim)


def bucket_and_key(uri: str) -> tuple[str, str]:
    """`s3://BUCKET/KEY` → bucket and key, without slashes around; keys are taken as they stand there."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key.strip("/"):
        raise ArtifactInvalid(f"{uri}: expected {scheme}://BUCKET/PATH")
    return bucket, key.strip("/")


def listed_below(prefix: str, found: Mapping[str, int], where: str) -> Listing:
    """What an object store lists below `prefix`, as relative paths; keys that stand for folders are left out."""
    sizes = {key[len(prefix) :]: size for key, size in found.items() if not key.endswith("/")}
    if not sizes:
        raise ArtifactNotFound(f"there is nothing at {where}; is the path right?")
    check_together(sizes, where)
    return Listing({checked_path(path): size for path, size in sorted(sizes.items())})


def client_package(module: str, extra: str) -> Any:
    """Import an optional client; ClientMissing names the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ClientMissing(
            f"{extra}:// needs the package {module.partition('.')[0]!r}, which is not installed here; "
            f"install headgate[{extra}], or use a runtime image that has it"
        ) from error


def _plain(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if ".." in path.split("/") or ".." in parts.netloc or "\0" in path:
        raise PathOutside(f"{parts.geturl()!r} holds '..'; write the path out")
    return path


def _unreadable(path: Path, error: OSError) -> ArtifactUnreachable:
    kind = AccessDenied if isinstance(error, PermissionError) else ArtifactUnreachable
    return kind(f"{path}: {error.strerror or error}; the fetcher runs as a user that has to be able to read it")
