"""The checkout's own `.venv`, with exactly what the requirement files pin.

Called by `python3 -m tools.setup`. A stamp in the environment holds the hash of what it was made from, so that a
second call costs one hash.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from . import cache, progress
from .errors import Missing

HERE = cache.REPOSITORY
ENVIRONMENT = HERE / ".venv"
REQUIREMENTS = HERE / "requirements"
PYTHON_NEEDED = (3, 11)

Command = list[str | Path]


def ensure() -> None:
    """Create `.venv` or bring it up to date."""
    if sys.version_info < PYTHON_NEEDED:
        wanted = ".".join(map(str, PYTHON_NEEDED))
        raise Missing(f"Python {wanted} or newer is needed, and {sys.executable} is {sys.version.split()[0]}.")
    wants = [REQUIREMENTS / f"{name}.txt" for name in ("uv", "build", "dev")]
    key = cache.digest(*wants, HERE / "pyproject.toml", str(HERE), sys.version)
    stamp = ENVIRONMENT / "headgate-setup"
    if stamp.exists() and stamp.read_text() == key:
        return
    with cache.lock(f"venv-{cache.digest(str(HERE))}"):
        _install(wants)
        stamp.write_text(key)


def _install(wants: list[Path]) -> None:
    python = ENVIRONMENT / "bin" / "python"
    logs = cache.root() / "logs"
    if not python.exists() or _lacks_pip(python):
        make: Command = [sys.executable, "-m", "venv", "--clear", ENVIRONMENT]
        try:
            progress.run("creating .venv", make, log=logs / "venv.log")
        except Exception as error:
            raise Missing(f"Python's venv module is needed (Debian: apt-get install python3-venv). {error}") from error
    uv, build, dev = wants
    pip: Command = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", uv]
    progress.run("installing uv", pip, log=logs / "pip.log")
    install: Command = [ENVIRONMENT / "bin" / "uv", "pip", "install", "--python", python]
    pinned: Command = [*install, "--require-hashes", "--requirement"]
    progress.run("installing Python packages", [*pinned, dev], log=logs / "uv-dev.log")
    progress.run("installing build tools", [*pinned, build], log=logs / "uv-build.log")
    project: Command = [*install, "--no-deps", "--no-build-isolation", "--editable", HERE]
    progress.run("installing the project", project, log=logs / "uv-project.log")


def _lacks_pip(python: Path) -> bool:
    # An environment that uv made has none.
    return subprocess.run([python, "-m", "pip", "--version"], check=False, capture_output=True).returncode != 0


def isolated(name: str, pinned: Path, place: Path) -> None:
    """Make an environment of its own at `place` with what a requirement file pins; `cache.once` may move it there."""
    uv = ENVIRONMENT / "bin" / "uv"
    logs = cache.root() / "logs"
    make: Command = [uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, place]
    progress.run(f"creating an environment for {name}", make, log=logs / f"{name}-venv.log")
    install: Command = [uv, "pip", "install", "--compile-bytecode", "--python", place / "bin" / "python"]
    pins: Command = ["--require-hashes", "--requirement", pinned]
    progress.run(f"installing {name} (once; kept in the cache)", [*install, *pins], log=logs / f"{name}.log")
