"""The servers that `python -m bench.serving` compares ours with, each in a virtual environment of its own in the cache.

Only the benchmark needs them, so no other step installs them. Which versions: `bench/serving/peers/NAME.txt`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from . import cache, environment, progress

REQUIREMENTS = cache.REPOSITORY / "bench" / "serving" / "peers"


def names() -> list[str]:
    """All peers."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def ensure(name: str) -> Path:
    """The peer's virtual environment, made where the cache has none."""
    return ensure_pinned(name, REQUIREMENTS / f"{name}.txt")


def ensure_pinned(name: str, pinned: Path) -> Path:
    """A virtual environment with what a file pins, made where the cache has none."""
    return cache.once("peers", name, cache.digest(pinned, sys.version), lambda place: _install(name, pinned, place))


def ensure_all() -> None:
    """Install whatever the cache does not have yet."""
    for name in names():
        ensure(name)


def _install(name: str, pinned: Path, place: Path) -> None:
    uv = environment.ENVIRONMENT / "bin" / "uv"
    logs = cache.root() / "logs"
    # The cache renames it when it is finished.
    make: list[str | Path] = [uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, place]
    progress.run(f"creating an environment for {name}", make, log=logs / f"peer-{name}-venv.log")
    install: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--compile-bytecode",
        "--python",
        place / "bin" / "python",
        "--requirement",
        pinned,
    ]
    progress.run(f"installing {name} (once; kept in the cache)", install, log=logs / f"peer-{name}.log")
