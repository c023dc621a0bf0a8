"""Artifacts on a mounted disk."""

from collections.abc import Iterator
from pathlib import Path

from ..errors import AccessDenied, ArtifactInvalid, ArtifactNotFound, ArtifactUnreachable, PathOutside
from .digest import MANIFEST, Manifest, build_manifest, is_inside, read_manifest
from .web import CHUNK


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
            raise unreadable(self._root, error) from error
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
            raise unreadable(file, error) from error


def unreadable(path: Path, error: OSError) -> ArtifactUnreachable:
    """What to say of a file that the system does not let us read."""
    kind = AccessDenied if isinstance(error, PermissionError) else ArtifactUnreachable
    return kind(f"{path}: {error.strerror or error}; the fetcher runs as a user that has to be able to read it")
