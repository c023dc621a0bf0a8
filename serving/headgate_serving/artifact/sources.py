"""Where artifacts come from: one small class per kind of place, all with the same two verbs.

`source_for(uri)` → a Source. `read(path)` streams one file of it; `manifest()` says what there is, None where
the artifact is a single file. `fetch.py` is the only caller; every error is already one of ours.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, quote, unquote, urlsplit

import httpx

from ..errors import ArtifactInvalid, ArtifactNotFound, ArtifactUnreachable
from .digest import MANIFEST, Manifest, build_manifest, read_manifest

_CHUNK = 1 << 20
_MAX_MANIFEST = 16 << 20
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class Source(Protocol):
    """One artifact at its place."""

    def manifest(self) -> Manifest | None:
        """What the folder holds; None if the artifact is a single file."""

    def read(self, path: str) -> Iterator[bytes]:
        """Stream one file of the folder; for a single file `path` is not looked at."""


class LocalSource:
    """A file or a folder on a mounted disk (`file://`, `pvc://`)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def manifest(self) -> Manifest | None:
        """The folder's own manifest, or one made from what is there."""
        try:
            if self._root.is_dir():
                listed = self._root / MANIFEST
                return read_manifest(listed.read_bytes()) if listed.is_file() else build_manifest(self._root)
            if self._root.is_file():
                return None
        except OSError as error:
            raise _unreadable(self._root, error) from error
        raise ArtifactNotFound(f"there is nothing at {self._root}; is the path right and the volume mounted?")

    def read(self, path: str) -> Iterator[bytes]:
        """Stream one file, following no link out of the folder."""
        file = self._root / path if self._root.is_dir() else self._root
        if self._root.is_dir() and not file.resolve().is_relative_to(self._root.resolve()):
            raise ArtifactInvalid(f"{path!r} leads out of {self._root}")
        try:
            with file.open("rb") as opened:
                while piece := opened.read(_CHUNK):
                    yield piece
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"{file} is listed in {MANIFEST} but is not there") from error
        except OSError as error:
            raise _unreadable(file, error) from error


class HttpSource:
    """A file, or a folder with a manifest, behind `http(s)://`. No redirect from TLS to plain is followed."""

    def __init__(self, uri: str, client: httpx.Client) -> None:
        self._uri = urlsplit(uri)
        self._client = client

    def manifest(self) -> Manifest | None:
        """The manifest beside the files: over HTTP a folder can't be listed, so it has to be there."""
        if self._uri.path.endswith(".onnx"):
            return None
        try:
            raw = bytearray()
            for piece in self.read(MANIFEST):
                raw += piece
                if len(raw) > _MAX_MANIFEST:
                    raise ArtifactInvalid(f"{MANIFEST} is larger than {_MAX_MANIFEST} bytes")
        except ArtifactNotFound as error:
            raise ArtifactNotFound(
                f"{error}. A folder over HTTP needs a {MANIFEST} (headgate digest FOLDER --write makes it); "
                "a single model needs a URI that ends in .onnx"
            ) from error
        return read_manifest(bytes(raw))

    def read(self, path: str) -> Iterator[bytes]:
        """Stream one file; ArtifactUnreachable is retryable where the server or the network may recover."""
        url = self._url_of(path)
        shown = url.split("?", 1)[0]  # a query may hold a signature: never shown
        try:
            with self._client.stream("GET", url, headers={"accept-encoding": "identity"}) as response:
                self._check(shown, response)
                yield from response.iter_bytes(_CHUNK)
        except httpx.TransportError as error:
            detail = str(error) or type(error).__name__
            raise ArtifactUnreachable(f"{shown}: {detail}", retryable=True) from error
        except httpx.HTTPError as error:
            raise ArtifactUnreachable(f"{shown}: {error}") from error

    def _url_of(self, path: str) -> str:
        if self._uri.path.endswith(".onnx"):
            return self._uri.geturl()
        return self._uri._replace(path=f"{self._uri.path.rstrip('/')}/{quote(path)}").geturl()

    def _check(self, shown: str, response: httpx.Response) -> None:
        code = response.status_code
        if self._uri.scheme == "https" and response.url.scheme != "https":
            raise ArtifactUnreachable(f"{shown} redirects to plain {response.url.scheme}; refused")
        if code in (404, 410):
            raise ArtifactNotFound(f"{shown} answered {code}")
        if code in (401, 403):
            raise ArtifactUnreachable(f"{shown} answered {code}: access denied, the URI needs credentials")
        if code != 200:
            raise ArtifactUnreachable(f"{shown} answered {code}", retryable=code in _TRY_AGAIN)


def new_client() -> httpx.Client:
    """The HTTP client of the fetcher; proxies and certificates by the usual environment variables."""
    return httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=5)


def source_for(uri: str, client: httpx.Client, pvc_root: Path) -> Source:
    """The place that a URI names; ArtifactInvalid for a URI that can't be one."""
    parts = urlsplit(uri)
    match parts.scheme:
        case "file":
            if parts.netloc not in ("", "localhost"):
                raise ArtifactInvalid(f"{uri}: file URIs have three slashes, as in file:///models/fraud")
            return LocalSource(Path(_plain(parts)))
        case "pvc":
            if not parts.netloc:
                raise ArtifactInvalid(f"{uri}: expected pvc://CLAIM/PATH")
            return LocalSource(pvc_root / parts.netloc / _plain(parts).lstrip("/"))
        case "http" | "https":
            if not parts.netloc:
                raise ArtifactInvalid(f"{uri}: no host")
            _plain(parts)
            return HttpSource(uri, client)
        case _:
            raise ArtifactInvalid(f"{uri}: the scheme has to be file, pvc, http or https")


def _plain(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if ".." in path.split("/") or ".." in parts.netloc or "\0" in path:
        raise ArtifactInvalid(f"{parts.geturl()!r} holds '..'; write the path out")
    return path


def _unreadable(path: Path, error: OSError) -> ArtifactUnreachable:
    return ArtifactUnreachable(
        f"{path}: {error.strerror or error}; the fetcher runs as a user that has to be able to read it"
    )
