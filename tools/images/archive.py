"""An image in the cache: its manifest and its blobs as files, each blob once on disk however many images share it.

    <cache>/images/<name>-<key>/manifest.json
    <cache>/images/<name>-<key>/<sha256 of a blob>      config and layers; hard links between images

A changed source gives a new image of many hundred megabytes of which only the last layers are new. Only these are
stored, and only what a node lacks is sent to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Built:
    """An image that is there: what manifests call it, and the folder in the cache."""

    name: str
    reference: str
    folder: Path

    def write(self, place: Path, without: AbstractSet[str] = frozenset()) -> None:
        """Write the image as an OCI archive, leaving out the blobs that its reader has (`sha256:…`)."""
        with tarfile.open(place, "w") as archive:
            self.write_to(archive, without)

    def write_to(self, archive: tarfile.TarFile, without: AbstractSet[str] = frozenset()) -> None:
        """The same into an open tar."""
        manifest = (self.folder / "manifest.json").read_bytes()
        names = {"io.containerd.image.name": self.reference, "org.opencontainers.image.ref.name": self.reference}
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        entry = {"mediaType": MANIFEST, "digest": digest, "size": len(manifest), "annotations": names}
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        _add(archive, _blob(digest), manifest)
        parsed = json.loads(manifest)
        for part in (parsed["config"], *parsed["layers"]):
            blob = part["digest"]
            if blob not in without:
                archive.add(self.folder / blob.removeprefix("sha256:"), arcname=_blob(blob))


def store(docker_archive: Path, folder: Path) -> None:
    """Take an image out of what `buildah push docker-archive:` wrote, sharing blobs with the images beside `folder`.

    Its layers are not compressed and carry their hashes as names, so each can be left out unread.
    """
    folder.mkdir()
    with tarfile.open(docker_archive) as archive:
        (described,) = json.load(_open(archive, "manifest.json"))
        layers = [_take(archive, name, folder, LAYER) for name in described["Layers"]]
        config = _take(archive, described["Config"], folder, CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _take(archive: tarfile.TarFile, name: str, folder: Path, media_type: str) -> dict[str, Any]:
    blob = Path(name).stem
    place = folder / blob
    if not place.exists() and not _linked(blob, folder):
        with place.open("wb") as file, _open(archive, name) as source:
            while chunk := source.read(1 << 20):
                file.write(chunk)
    return {"mediaType": media_type, "digest": f"sha256:{blob}", "size": place.stat().st_size}


def _linked(blob: str, folder: Path) -> bool:
    for shared in folder.parent.parent.glob(f"*/{blob}"):
        # The image that has it may be forgotten while we look.
        with contextlib.suppress(FileNotFoundError):
            os.link(shared, folder / blob)
            return True
    return False


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is not a file of the archive")
    return file


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
