"""How many cores this process may use: those that it is bound to, or fewer if its container has a limit.

`tryout.py` asks, to choose threads. Python and ONNX Runtime see the machine's cores: with more threads than the limit
has cores, the kernel stops all of them for the rest of each period.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def cores(root: Path = Path("/")) -> int:
    """At least 1. A part of a core counts as one. `root` is where /proc and /sys are looked for."""
    bound = len(os.sched_getaffinity(0))
    return max(1, min([bound, *(math.ceil(limit) for limit in _limits(root))]))


def _limits(root: Path) -> Iterator[float]:
    """Of this process' control group and of those above it, in cores, of both versions of control groups."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        tree = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = tree / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(tree) and (limit := _quota(folder, bool(controllers))):
                yield limit


def _quota(folder: Path, first_version: bool) -> float | None:
    """Cores; None if there is no limit here."""
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if first_version else ("cpu.max",)
    try:
        quota, period = " ".join((folder / name).read_text() for name in names).split()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
