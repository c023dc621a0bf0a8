"""`make e2e`: all stories. As many at a time as the machine has cores for; then those that must be alone, in turn.

A story takes half of two cores. That of a model that is left alone takes next to nothing, and is told beside the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stories.installation import Headgate
from stories.session import Session
from stories.world import World, clear, delete_namespace
from tools.cluster import Cluster

HERE = Path(__file__).parent
WAITS = HERE / "test_idle.py"
AT_A_TIME = int(os.environ.get("STORIES_AT_A_TIME", "0")) or max(1, len(os.sched_getaffinity(0)) // 2)
NOTHING_TO_TELL = 5
"""pytest's status where no test was asked for."""


def main(arguments: list[str]) -> int:
    """Whatever pytest takes besides chooses among them. 0 if all went well."""
    cluster = Cluster.ensure()
    cluster.enter()
    clear(cluster)
    world = World.on(cluster)
    session = Session(world.place)
    Headgate.install(world)
    try:
        print(f"stories, {AT_A_TIME} at a time, and one that only waits", flush=True)
        parallel = [f"--numprocesses={AT_A_TIME}", "--dist=load", "--maxschedchunk=1", "-v"]
        first = beside(
            pytest(str(WAITS), *arguments),
            pytest(str(HERE), "-m", "not alone", f"--ignore={WAITS}", *parallel, *arguments),
            session.environment(),
        )
        print("stories that have the cluster for themselves", flush=True)
        last = replace(session, all_are_told=not first and not arguments)
        second = told(pytest(str(HERE), "-m", "alone", "-v", *arguments), last.environment())
    finally:
        delete_namespace(cluster, world.place)
    return max(first, second)


def pytest(*arguments: str) -> list[str]:
    """A command."""
    return [sys.executable, "-m", "pytest", *arguments]


def beside(waits: list[str], stories: list[str], environment: Mapping[str, str]) -> int:
    """The larger exit status of both; what the first one says comes when the others have been told."""
    with tempfile.TemporaryFile() as said:
        waiting = subprocess.Popen(waits, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            status = told(stories, environment)
            waited = _meant(waiting.wait())
        finally:
            waiting.kill()
            waiting.wait()
        said.seek(0)
        print(said.read().decode(errors="replace"), flush=True)
    return max(status, waited)


def told(command: list[str], environment: Mapping[str, str]) -> int:
    """The exit status."""
    return _meant(subprocess.run(command, env=environment, check=False).returncode)


def _meant(status: int) -> int:
    """0 too where no story was chosen; 1 where pytest was ended by a signal."""
    return {NOTHING_TO_TELL: 0}.get(status, status if status >= 0 else 1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
