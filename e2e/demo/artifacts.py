"""The folders that Headgate serves, v1 to v4 with profiles and manifests, and the rows that clients send.

`build` trains and packs them once; they stay in the cache under the hash of everything that shapes them. `stage`
lays them out with the pods' code as the context of the demo's image, for `images.table`. The top of this module
imports little, so that naming the image costs nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tools.setup import cache, progress, wheels
from tools.setup.errors import BuildFailed

if TYPE_CHECKING:
    from .data import Census, Rows
    from .facts import Facts
    from .models import Models

HERE = Path(__file__).resolve().parent
SERVING = cache.REPOSITORY / "serving" / "headgate_serving"
SHAPING = ("data.py", "graphs.py", "models.py", "candidates.py", "facts.py", "artifacts.py")
PACKAGES = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "pyarrow")
# What runs in the pods; nothing in them may import more than the standard library and what the server has.
IN_PODS = ("__init__.py", "files.py", "load.py", "traffic.py", "tally.py", "openinference.py", "faults.py")
FIRST = "sitecustomize.py"  # beside the package, where Python looks for it

ROWS = "live.npz"
VERSIONS = ("v1", "v2", "v3", "v4")
# v3 and v4 are v2 with something put in front of it for serving. Nobody profiled them anew: they bring v2's profile,
# and so nothing in the artifact gives them away.
PROFILED_AS = {"v1": "v1", "v2": "v2", "v3": "v2", "v4": "v2"}
SHUFFLE = 20
CANDIDATES = "candidates"
PACKED_ROWS = 4000


@dataclass(frozen=True)
class Artifacts:
    """What `build` made: a folder per version, the rows, the digests by version and the measured facts."""

    folder: Path
    digests: dict[str, str]
    facts: dict[str, float]


def key() -> str:
    """Hash of everything that shapes the artifacts."""
    versions = [f"{name}=={metadata.version(name)}" for name in PACKAGES]
    sources = [HERE / name for name in SHAPING]
    packing = (SERVING / "monitor", SERVING / "artifact", SERVING / "authoring")
    return cache.digest(*versions, wheels.NANNYML.sha256, *sources, *packing)


def build() -> Artifacts:
    """The artifacts from the cache, trained and packed where they are missing."""
    folder = cache.once("demo", "artifacts", key(), _make)
    about = json.loads((folder / "about.json").read_text())
    return Artifacts(folder, about["digests"], about["facts"])


def stage() -> Path:
    """The context of the demo's image: `artifacts/` and the package `demo` with what runs in pods."""
    made = build().folder
    sources = [HERE / name for name in (*IN_PODS, FIRST)]

    def make(folder: Path) -> None:
        shutil.copytree(made, folder / "artifacts")
        (folder / "demo").mkdir()
        for source in sources:
            shutil.copy(source, folder if source.name == FIRST else folder / "demo")

    return cache.once("demo", "context", cache.digest(made.name, *sources), make)


def _make(folder: Path) -> None:
    from . import data, facts, models

    census = data.load()
    progress.say("  training the demo's models …")
    trained = models.train(census.reference)
    measured = facts.measure(trained, census.reference, census.live)
    if problems := measured.problems():
        raise BuildFailed(f"the demo's models are not what the demo needs: not true that {'; '.join(problems)}")
    folder.mkdir()
    pack(folder, trained, census, measured)


def pack(folder: Path, trained: Models, census: Census, measured: Facts) -> None:
    """Write everything into an empty folder."""
    import numpy as np

    from headgate_serving.artifact import write_manifest
    from headgate_serving.authoring.reference import reference_of

    from .data import FEATURES

    digests = {}
    table = folder / "reference.parquet"
    _write_table(table, census.reference)
    for version, model in trained.versions.items():
        place = folder / version
        place.mkdir()
        (place / "model.onnx").write_bytes(model.SerializeToString())
        if PROFILED_AS[version] == version:
            profile = reference_of(place / "model.onnx", table, FEATURES).profile
            (place / "profile.json").write_text(profile.to_json(), encoding="utf-8")
        else:
            shutil.copy(folder / PROFILED_AS[version] / "profile.json", place)
        digests[version] = write_manifest(place).digest
    table.unlink()
    digests |= _pack_candidates(folder, trained, census)
    # In the file the years follow each other; in the demo every minute has seen all of them.
    mixed = census.live.take(np.random.default_rng(SHUFFLE).permutation(len(census.live)))
    np.savez_compressed(folder / ROWS, features=mixed.features.astype(np.uint8), labels=mixed.labels.astype(np.uint8))
    about = {"digests": digests, "facts": measured.to_json()}
    (folder / "about.json").write_text(json.dumps(about, indent=2))


def _pack_candidates(folder: Path, trained: Models, census: Census) -> dict[str, str]:
    """Write `candidates/NAME` for each of `candidates.make`; digests by that path."""
    import numpy as np

    from headgate_serving.artifact import write_manifest
    from headgate_serving.artifact.digest import MODEL, PROFILE, SAMPLES
    from headgate_serving.authoring.package import package

    from . import candidates

    digests = {}
    rows = census.reference.take(np.arange(min(PACKED_ROWS, len(census.reference))))
    model, table = folder / "model.onnx", folder / "table.parquet"
    for name, made in candidates.make(trained, census.reference).items():
        place = folder / CANDIDATES / name
        place.mkdir(parents=True)
        if made.of:
            for file in (PROFILE, SAMPLES):
                shutil.copy(place.parent / made.of / file, place)
            content = made.model.SerializeToString()
            (place / MODEL).write_bytes(content[: len(content) // 2] if made.cut else content)
            manifest = write_manifest(place)
        else:
            model.write_bytes(made.model.SerializeToString())
            _write_table(table, rows, made.columns)
            manifest = package(
                model, table, place, names=made.columns, label=None, card=None, progress=lambda *_: None
            ).manifest
        digests[f"{CANDIDATES}/{name}"] = manifest.digest
    model.unlink()
    table.unlink()
    return digests


def _write_table(place: Path, rows: Rows, columns: Sequence[str] = ()) -> None:
    """As many of the rows' columns as there are names, or all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .data import FEATURES

    names = columns or FEATURES
    pq.write_table(pa.table({name: rows.features[:, column] for column, name in enumerate(names)}), place)
