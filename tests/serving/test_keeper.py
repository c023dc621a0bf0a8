"""A sidecar's process is started anew after a crash, and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 30.0
MODULE = """
import os, pathlib, signal, sys, time
what, place = sys.argv[1:]
with pathlib.Path(place).open("a") as file:
    print(os.getpid(), os.environ["HEADGATE_RESTARTS"], file=file)
if what == "mended" and os.environ["HEADGATE_RESTARTS"] == "2":
    sys.exit(0)
if what in ("raises", "mended"):
    raise RuntimeError("poison")
if what.isdigit():
    sys.exit(int(what))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
while True:
    time.sleep(0.1)
"""
KEEPER = """
import sys
from headgate_serving import keeper
keeper.EARLY_SECONDS, keeper.PAUSES = float(sys.argv[1]), (0.0, float(sys.argv[2]))
sys.exit(keeper.kept("kept_module", sys.argv[3:]))
"""


class Kept:
    """A keeper in a process of its own, and what its processes have said when they began."""

    def __init__(self, process: subprocess.Popen[bytes], place: Path) -> None:
        self.process = process
        self._place = place

    def lives(self) -> list[tuple[int, int]]:
        """Process and number of restarts."""
        text = self._place.read_text() if self._place.exists() else ""
        whole = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [(int(process), int(restarts)) for process, restarts in whole]

    def until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, self.lives()
            time.sleep(0.02)


@contextmanager
def kept(tmp_path: Path, what: str, early: float = 0.0, pause: float = 0.01) -> Iterator[Kept]:
    (tmp_path / "kept_module.py").write_text(MODULE)
    place = tmp_path / "lives"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-c", KEEPER, str(early), str(pause), what, str(place)]
    with (tmp_path / "words").open("w") as words:
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stderr=words)
    try:
        yield Kept(process, place)
    finally:
        process.kill()
        process.wait()


def test_a_process_that_is_killed_is_started_anew_and_told_so(tmp_path: Path) -> None:
    with kept(tmp_path, "runs") as it:
        for number in range(3):
            it.until(lambda number=number: len(it.lives()) == number + 1)  # type: ignore[misc]
            process, restarts = it.lives()[-1]
            assert restarts == number
            os.kill(process, signal.SIGKILL)
        it.until(lambda: len(it.lives()) == 4)
        assert it.process.poll() is None
        it.process.send_signal(signal.SIGTERM)
        assert it.process.wait(PATIENCE) in (7, 128 + signal.SIGTERM)


def test_an_exception_is_a_crash(tmp_path: Path) -> None:
    with kept(tmp_path, "mended") as it:
        assert it.process.wait(PATIENCE) == 0
        assert [restarts for _, restarts in it.lives()] == [0, 1, 2]
        assert "has ended with status 1; it is started anew" in (tmp_path / "words").read_text()


@pytest.mark.parametrize("status", [0, 2, 11, 33])
def test_an_end_that_is_meant_is_handed_on(tmp_path: Path, status: int) -> None:
    with kept(tmp_path, str(status)) as it:
        assert it.process.wait(PATIENCE) == status
        assert len(it.lives()) == 1


def test_who_can_not_start_is_left_to_kubernetes(tmp_path: Path) -> None:
    with kept(tmp_path, "raises", early=600.0) as it:
        assert it.process.wait(PATIENCE) == 1
        assert len(it.lives()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_asked_of_the_process_and_nothing_begins_after_it(tmp_path: Path, number: signal.Signals) -> None:
    with kept(tmp_path, "runs") as it:
        it.until(lambda: len(it.lives()) == 1)
        it.process.send_signal(number)
        it.process.wait(PATIENCE)
        assert len(it.lives()) == 1
        with pytest.raises(ProcessLookupError):
            os.kill(it.lives()[0][0], 0)


def test_the_end_is_heard_between_two_lives(tmp_path: Path) -> None:
    with kept(tmp_path, "raises", pause=600.0) as it:
        it.until(lambda: len(it.lives()) == 2)
        time.sleep(0.5)  # it crashes, and its keeper waits
        it.process.send_signal(signal.SIGTERM)
        assert it.process.wait(PATIENCE) != 0
        assert len(it.lives()) == 2
