"""One file from its place to the disk: hashed while it passes, and gone on with where an interruption cut it off.

`fetch.py` calls `bring` for every file and `retrying` for what it asks besides.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from ..errors import ArtifactError, ArtifactTooLarge, ArtifactUnreachable
from .digest import FileEntry
from .source import Source
from .web import CannotResume

logger = logging.getLogger(__name__)

MAX_BYTES = 20 << 30
_PROGRESS = 8 << 20  # bytes after which an interruption counts as the first one
T = TypeVar("T")


@dataclass(frozen=True)
class Tools:
    """What comes from outside: the HTTP client, the place of the claims, how to wait between tries."""

    client: httpx.Client
    wait: Callable[[float], None]
    pvc_root: Path = Path("/pvc")
    attempts: int = 5
    max_bytes: int = MAX_BYTES
    """How large an artifact may be."""


class Download:
    """A file on its way; `size` bytes of it are on the disk, of at most `max_bytes`."""

    def __init__(self, source: Source, path: str, target: Path, promised: int | None, max_bytes: int) -> None:
        self._source, self._path, self._target, self._promised = source, path, target, promised
        self._max_bytes = max_bytes
        self._hasher = hashlib.sha256()
        self.size = 0

    def go_on(self) -> FileEntry:
        """Bring what is missing; past the promised size it stops, for the size alone says that it is wrong."""
        if self.size and self.size == self._promised:
            return self._entry()
        try:
            self._append()
        except CannotResume:
            logger.info("%r can't be resumed: starting anew", self._path)
            self._hasher, self.size = hashlib.sha256(), 0
            self._append()
        return self._entry()

    def _append(self) -> None:
        with self._target.open("ab" if self.size else "wb") as file:
            for piece in self._source.read(self._path, self.size):
                check_size(repr(self._path), self.size + len(piece), self._max_bytes)
                file.write(piece)
                self._hasher.update(piece)
                self.size += len(piece)
                if self._promised is not None and self.size > self._promised:
                    break

    def _entry(self) -> FileEntry:
        return FileEntry(self._hasher.hexdigest(), self.size)


def check_size(what: str, size: int, max_bytes: int) -> None:
    """Raises ArtifactTooLarge where that many bytes are too many."""
    if size > max_bytes:
        raise ArtifactTooLarge(
            f"{what} has {size} bytes or more, and {max_bytes} are allowed; if that is the right artifact, "
            "raise spec.model.maxSize"
        )


def bring(source: Source, path: str, target: Path, promised: int | None, tools: Tools) -> FileEntry:
    """Stream one file to `target`; what came of it. `promised` is its size in bytes, where that is known."""
    download = Download(source, path, target, promised, tools.max_bytes)
    return retrying(download.go_on, tools, lambda: download.size)


def retrying(attempt: Callable[[], T], tools: Tools, done: Callable[[], int] = lambda: 0) -> T:
    """Try again after 0.5, 1, 2, … seconds while the error says that it may help.

    `done` tells how many bytes have come: a large file may be cut off any number of times as long as it grows.
    """
    number, before = 1, 0
    while True:
        try:
            return attempt()
        except ArtifactError as error:
            if not error.retryable:
                raise
            if done() - before >= _PROGRESS:
                number, before = 1, done()
            if number >= tools.attempts:
                kind = type(error) if isinstance(error, ArtifactUnreachable) else ArtifactUnreachable
                raise kind(f"{error} (tried {number} times)", retryable=True) from error
            logger.warning("attempt %d of %d failed: %s", number, tools.attempts, error)
            tools.wait(0.5 * 2 ** (number - 1))
            number += 1
