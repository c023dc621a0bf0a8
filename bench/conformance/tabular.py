"""Models of scikit-learn, LightGBM, XGBoost and CatBoost, as their exporters write them by default.

They are made anew by `exporting.py` in an environment of its own, which the cache keeps.
"""

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.serving.process import ServerFailed
from tools.setup import peers

from .check import Case

HERE = Path(__file__).resolve().parent
PINNED = HERE / "exporters.txt"
_SAID = ("scikit-learn", "skl2onnx", "onnxmltools", "lightgbm", "xgboost-cpu", "catboost")


def collection(folder: Path) -> tuple[str, list[Callable[[], Case]]]:
    """What they are, and how to make each."""
    python = peers.ensure_pinned("exporters", PINNED) / "bin" / "python"
    models = folder / "models"
    subprocess.run([python, HERE / "exporting.py", models], check=True, stdout=subprocess.DEVNULL)
    pins = dict(line.split("==") for line in PINNED.read_text().replace(" \\", "").splitlines() if "==" in line)
    about = f"**Tabular models, exported by default** ({', '.join(f'{name} {pins[name]}' for name in _SAID)})."
    return about, [partial(case_of, place) for place in sorted(models.iterdir())]


def case_of(place: Path) -> Case:
    """From the folder that `exporting.py` wrote; ServerFailed with the exporter's words if it could not."""
    if (place / "failed.txt").exists():
        raise ServerFailed(f"{place.name}: {(place / 'failed.txt').read_text().splitlines()[-1]}")
    requests: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    with np.load(place / "requests.npz") as arrays:
        for key, values in arrays.items():
            number, _, name = key.partition(".")
            requests.setdefault(number, {})[name] = values.astype(object) if values.dtype.kind == "U" else values
    return Case(place.name, place / "model.onnx", list(requests.values()))
