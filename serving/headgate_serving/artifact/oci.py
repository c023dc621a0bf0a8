"""`oci://HOST/REPOSITORY:TAG`, and OCI layouts on a disk: an artifact as an OCI image manifest, one layer per file.

This is the form of `oras push HOST/REPOSITORY:TAG model.onnx profile.json`: each layer is a file as it is, its path in
the annotation `org.opencontainers.image.title`. Nothing is ever unpacked; a layer that would have to be is refused.
A layer's digest is its file's SHA-256, so the artifact's digest follows from the manifest alone.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx

from ..errors import ArtifactInvalid, ArtifactNotFound, DigestMismatch, PathOutside
from .digest import MANIFEST, FileEntry, Manifest, check_together, checked_path, is_inside, parse_digest
from .registry import MANIFEST_TYPE, Reference, Registry
from .web import CHUNK, MAX_MANIFEST

ARTIFACT_TYPE = "application/vnd.headgate.artifact.v1"
LAYOUT = "oci-layout"
_TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"
_EMPTY = b"{}"


class Store(Protocol):
    """Where manifest and blobs are."""

    def manifest(self) -> bytes:
        """The artifact's image manifest."""

    def blob(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """One blob from byte `start` on."""


class OciSource:
    """The files of one image manifest."""

    def __init__(self, store: Store, shown: str, pinned: str | None = None) -> None:
        self._store, self._shown, self._pinned = store, shown, pinned
        self._files: Mapping[str, FileEntry] = {}

    def listing(self) -> Manifest:
        """What the layers say."""
        raw = self._store.manifest()
        found = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if self._pinned and found != self._pinned:
            raise DigestMismatch(f"{self._shown} answered with the manifest {found}")
        try:
            self._files = dict(_files(json.loads(raw)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactInvalid(f"{self._shown} has no OCI image manifest with one layer per file") from error
        check_together(self._files, self._shown)
        return Manifest(self._files)

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream the layer of that title."""
        return self._store.blob(self._files[path].sha256, start)


class Layout:
    """A folder with `oci-layout`, `index.json` and `blobs/`, as `oras copy --to-oci-layout` and skopeo make it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def manifest(self) -> bytes:
        """The only manifest of the index."""
        index = self._folder / "index.json"
        if not is_inside(index, self._folder):
            raise PathOutside(f"index.json is a link that leads out of {self._folder}")
        try:
            described = json.loads(index.read_bytes())["manifests"]
            digests = {parse_digest(one["digest"]) for one in described}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ArtifactInvalid(f"{self._folder} is an OCI layout without a usable index.json") from error
        if len(digests) != 1:
            raise ArtifactInvalid(f"{self._folder} holds {len(digests)} OCI manifests; a layout has to hold one")
        (digest,) = digests
        raw = b"".join(self.blob(digest.removeprefix("sha256:")))
        if hashlib.sha256(raw).hexdigest() != digest.removeprefix("sha256:"):
            raise DigestMismatch(f"{self._folder}: the manifest is not {digest}")
        return raw[: MAX_MANIFEST + 1]

    def blob(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """Stream one file of `blobs/sha256`."""
        file = self._folder / "blobs" / "sha256" / sha256
        if not is_inside(file, self._folder) or not file.is_file():
            raise ArtifactNotFound(f"{self._folder} has no blob sha256:{sha256}")
        with file.open("rb") as opened:
            opened.seek(start)
            while piece := opened.read(CHUNK):
                yield piece


def registry_source(uri: str, client: httpx.Client) -> OciSource:
    """The artifact at `oci://…`."""
    reference = Reference.parse(uri)
    return OciSource(Registry(reference, client), uri, reference.digest)


def push(uri: str, files: Mapping[str, Path], manifest: Manifest, client: httpx.Client) -> None:
    """Upload all files but the manifest (the layers say the same), and tag them."""
    reference = Reference.parse(uri)
    if reference.tag is None:
        raise ArtifactInvalid(f"{uri}: give a tag to push to, as in oci://HOST/REPOSITORY:TAG")
    registry = Registry(reference, client, "pull,push")
    for path, entry in manifest.files.items():
        registry.push_file(entry, files[path])
    registry.push_manifest(image_manifest(manifest, registry.push_bytes(_EMPTY)))


def image_manifest(manifest: Manifest, empty: FileEntry) -> bytes:
    """The OCI image manifest of an artifact: its own type, an empty configuration, one layer per file."""
    layers = [
        {**_descriptor("application/octet-stream", entry), "annotations": {_TITLE: path}}
        for path, entry in manifest.files.items()
    ]
    whole = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": _descriptor("application/vnd.oci.empty.v1+json", empty),
        "layers": layers,
        "annotations": {"dev.headgate.digest": manifest.digest},
    }
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(media_type: str, entry: FileEntry) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{entry.sha256}", "size": entry.size}


def _files(manifest: Mapping[str, Any]) -> Iterator[tuple[str, FileEntry]]:
    for layer in manifest["layers"]:
        annotations = layer.get("annotations") or {}
        if _TITLE not in annotations:
            raise ArtifactInvalid(
                "a layer has no title: it is part of a container image or of an archive, and is not unpacked; push the "
                "files one by one, as in: oras push HOST/REPOSITORY:TAG model.onnx profile.json"
            )
        if annotations.get(_UNPACK) == "true":
            raise ArtifactInvalid(f"the layer {annotations[_TITLE]!r} is a packed folder; push its files one by one")
        if annotations[_TITLE] != MANIFEST:
            size = layer["size"]
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                raise ValueError("a size is no whole number")
            yield checked_path(annotations[_TITLE]), FileEntry(parse_digest(layer["digest"])[7:], size)
