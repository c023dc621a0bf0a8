"""The cache: one folder for all checkouts of a user, every entry named after the hash of what it was made from.

An entry is made beside its place under a lock and renamed into it, so two checkouts can build at the same
time, and a build that was cut off leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Of each thing the newest entries are kept, and those that another checkout may be using right now.
KEEP = 4
IN_USE_SECONDS = 3600


def root() -> Path:
    """Where the cache is: HEADGATE_CACHE, or `headgate` in the user's cache folder."""
    if own := os.environ.get("HEADGATE_CACHE"):
        return Path(own).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "headgate"


def digest(*parts: str | Path) -> str:
    """Hash of strings and of files' contents; a folder counts with all its files and their relative paths."""
    result = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            _feed(result, "text", part.encode())
            continue
        for path in files_of(part):
            _feed(result, str(path.relative_to(part)), path.read_bytes())
    return result.hexdigest()[:16]


def _feed(result: hashlib._Hash, label: str, content: bytes) -> None:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    result.update(f"{len(label)}:{label}:{len(content)}:".encode())
    result.update(content)


def files_of(path: Path) -> Iterable[Path]:
    """The files below a folder in a fixed order, without what Python leaves there; a file is itself."""
    if path.is_file():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return sorted(file for file in found if file.suffix != ".pyc")


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock that all checkouts share. The file stays: removing it would race with the next holder."""
    folder = root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def once(kind: str, name: str, key: str, make: Callable[[Path], None], *, suffix: str = "") -> Path:
    """Return `<cache>/<kind>/<name>-<key><suffix>`, calling `make` to write it only where it is missing.

    `make` gets a path that does not exist yet, on the same file system, and writes a file or a folder there.
    """
    place = root() / kind / f"{name}-{key}{suffix}"
    if not place.exists():
        with lock(f"{kind}-{name}"):
            # Another checkout may have made it while we waited for the lock.
            if not place.exists():
                _make(place, make)
                _forget_old(place, f"{name}-", suffix)
    os.utime(place)
    return place


def _make(place: Path, make: Callable[[Path], None]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=place.parent) as folder:
        unfinished = Path(folder) / place.name
        make(unfinished)
        unfinished.rename(place)


def _forget_old(place: Path, prefix: str, suffix: str) -> None:
    width = len(place.name) - len(prefix) - len(suffix)
    entries = [path for path in place.parent.glob(f"{prefix}*{suffix}") if _is_entry(path, prefix, suffix, width)]
    for old in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)[KEEP:]:
        if time.time() - old.stat().st_mtime < IN_USE_SECONDS:
            continue
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def _is_entry(path: Path, prefix: str, suffix: str, width: int) -> bool:
    # "serving-" must not match an entry of an image called "serving-extra".
    return len(path.name) == len(prefix) + width + len(suffix) and "-" not in path.name[len(prefix) :]


def forget() -> None:
    """Remove the whole cache."""
    shutil.rmtree(root(), ignore_errors=True)
