"""MLflow's tracking server, for the tests of artifacts: an environment of its own in the cache, as it is heavy.

Its versions: `requirements/mlflow.txt`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from . import cache, environment

PINNED = environment.REQUIREMENTS / "mlflow.txt"


def ensure() -> Path:
    """The environment's Python, installed where the cache has none."""
    key = cache.digest(PINNED, sys.version)
    place = cache.once("servers", "mlflow", key, lambda place: environment.isolated("mlflow", PINNED, place))
    return place / "bin" / "python"
