"""`make e2e`: all stories. As many at a time as the machine has cores for; then those that must be alone, in turn.

A story takes half of two cores. The model that is left alone takes next to nothing, and has a lane for itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from stories.installation import Headgate
from stories.session import Session
from stories.world import World, clear, delete_namespace
from tools.cluster import Cluster

LANES = int(os.environ.get("LANES", "0")) or max(1, len(os.sched_getaffinity(0)) // 2)
NOTHING_TO_TELL = 5
"""pytest's status where no test was asked for."""


def main(arguments: list[str]) -> int:
    """Whatever pytest takes besides chooses among them. 0 if all went well."""
    cluster = Cluster.ensure()
    cluster.enter()
    clear(cluster)
    world = World.on(cluster)
    session = Session(world.place, LANES)
    Headgate.install(world)
    try:
        print(f"stories, {LANES} at a time, and one that only waits", flush=True)
        parallel = [f"--numprocesses={LANES + 1}", "--dist=loadgroup", "-v"]
        first = told(session, ["-m", "not alone", *parallel, *arguments])
        print("stories that have the cluster for themselves", flush=True)
        second = told(replace(session, all_are_told=not first and not arguments), ["-m", "alone", "-v", *arguments])
    finally:
        delete_namespace(cluster, world.place)
    return max(first, second)


def told(session: Session, arguments: list[str]) -> int:
    """pytest's exit status; 0 too where none was chosen."""
    command = [sys.executable, "-m", "pytest", str(Path(__file__).parent), *arguments]
    status = subprocess.run(command, env=session.environment(), check=False).returncode
    return 0 if status == NOTHING_TO_TELL else status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
