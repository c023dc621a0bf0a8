"""The cluster's cgroup: what makes its processes findable, whatever became of the one that started them.

Every process of a cluster is started inside the cgroup, and its children (container shims, containers) stay
below it. So `down` needs no list of processes to end them all, and never touches one that is not ours.
Works with version 1 (one tree per controller) and version 2 (one tree).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import ClusterError

MOUNT = Path("/sys/fs/cgroup")
V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")
# The child of the cluster's cgroup for the processes that are not pods; version 2 wants processes in leaves only.
SYSTEM = "system"
KILL_TIMEOUT = 20.0


def is_v2() -> bool:
    return (MOUNT / "cgroup.controllers").exists()


def trees() -> list[Path]:
    """The root of every hierarchy that kubelet looks at."""
    if is_v2():
        return [MOUNT]
    return [tree for tree in sorted(MOUNT.iterdir()) if (tree / "cgroup.procs").exists() and not tree.is_symlink()]


def tracking_tree() -> Path:
    """The one hierarchy in which processes are looked for."""
    return MOUNT if is_v2() else MOUNT / "pids"


def create(cgroup: str) -> None:
    """Create the cluster's cgroup everywhere; kubelet refuses a root that does not exist."""
    for tree in trees():
        folder = tree / cgroup
        (folder / SYSTEM).mkdir(parents=True, exist_ok=True)
        # A new cpuset group has no processor and no memory, and takes no process.
        for path in (folder, folder / SYSTEM):
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if not is_v2() and (path / setting).exists():
                    (path / setting).write_text((path.parent / setting).read_text())
    if is_v2():
        for folder in (MOUNT, MOUNT / cgroup):
            for controller in V2_CONTROLLERS:
                # The root may have them on already, or the kernel may lack one that is not needed.
                with contextlib.suppress(OSError):
                    (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def entry(cgroup: str) -> Path:
    """The file that takes a process into the cluster's cgroup."""
    return tracking_tree() / cgroup / SYSTEM / "cgroup.procs"


def lists_of_processes(cgroup: str) -> Iterator[Path]:
    """The files that list the processes of a cgroup and of all below it. Containers' cgroups may go meanwhile."""
    for folder, _, files in os.walk(tracking_tree() / cgroup):  # which passes over what is gone
        if "cgroup.procs" in files:
            yield Path(folder) / "cgroup.procs"


def members(cgroup: str) -> set[int]:
    """All processes in the cluster's cgroup and below."""
    found: set[int] = set()
    for file in lists_of_processes(cgroup):
        # A container's cgroup can go while we look.
        with contextlib.suppress(OSError):
            found.update(int(line) for line in file.read_text().split())
    return found - {0}


def kill(cgroup: str) -> None:
    """End every process of the cluster. Again until none is left: one may start another while it is ended."""
    deadline = time.monotonic() + KILL_TIMEOUT
    while left := members(cgroup):
        if time.monotonic() > deadline:
            raise ClusterError(f"Processes {sorted(left)} in cgroup {cgroup} do not end.")
        _signal(left)
        time.sleep(0.05)


def _signal(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove(cgroup: str) -> None:
    """Remove the cluster's cgroup from every hierarchy, children first."""
    for tree in trees():
        folder = tree / cgroup
        if not folder.exists():
            continue
        for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            _remove_one(path)
        _remove_one(folder)


def _remove_one(path: Path) -> None:
    # The kernel may need a moment to let go of a process that just ended.
    for _ in range(100):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    path.rmdir()
