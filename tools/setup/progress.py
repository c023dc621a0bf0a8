"""One line when something long starts, a sign of life while it runs, one line when it is done."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import BuildFailed

SIGN_OF_LIFE = 20.0
LAST_LINES = 25


def say(text: str) -> None:
    """Print a progress line; stderr, so that commands can be used in pipes."""
    print(text, file=sys.stderr, flush=True)


def run(
    what: str,
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path,
) -> None:
    """Run a command with its output in `log`; raise BuildFailed with its last lines if it fails."""
    say(f"  {what} …")
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(part) for part in argv],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = _wait(process, what, start)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    took = time.monotonic() - start
    if code != 0:
        raise BuildFailed(f"{what} failed with exit status {code} after {took:.0f} s. {tail(log)}")
    say(f"  {what}: {took:.0f} s")


def _wait(process: subprocess.Popen[bytes], what: str, start: float) -> int:
    while True:
        try:
            return process.wait(timeout=SIGN_OF_LIFE)
        except subprocess.TimeoutExpired:
            say(f"  {what}: {time.monotonic() - start:.0f} s so far")


def tail(log: Path, lines: int = LAST_LINES) -> str:
    """Name a log and quote its end, for an error message."""
    try:
        text = log.read_text(errors="replace").rstrip()
    except OSError:
        return f"Its log {log} can't be read."
    if not text:
        return f"Its log {log} is empty."
    return f"Last lines of {log}:\n" + "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
