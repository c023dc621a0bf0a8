"""What is noted of each cluster, where every checkout finds it: its processes, whose it is, and since when.

`instance` writes it and `left` reads that of all clusters. It is in the cluster's own state folder, not in the
checkout, so that it outlives a checkout which is deleted or made anew. Plain standard library: see `left`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from tools.setup import cache

from .layout import Layout
from .processes import Process, start_time

OWNER = "CLUSTER_OWNER"
"""Environment: who starts the cluster, as `make test:PID`. The Makefile says so."""


@dataclass(frozen=True)
class Record:
    """`inputs` is the hash of what the cluster was made from, `checkout` a path, `since` in seconds since 1970.

    `owner` is the command that started the cluster, if it said so.
    """

    inputs: str
    processes: tuple[Process, ...] = ()
    checkout: str = ""
    since: float = 0.0
    owner: Process | None = None


def new(inputs: str) -> Record:
    """Of a cluster that this checkout starts now."""
    return Record(inputs, (), str(cache.REPOSITORY), time.time(), _owner(os.environ.get(OWNER, "")))


def _owner(said: str) -> Process | None:
    name, _, pid = said.rpartition(":")
    started = start_time(int(pid)) if pid.isdecimal() else None
    return Process(name, int(pid), started) if started is not None else None


def read(layout: Layout) -> Record | None:
    """None where there is none that can be read."""
    try:
        found: dict[str, Any] = json.loads(layout.record.read_text())
        owner = found.get("owner")
        return Record(
            str(found["inputs"]),
            tuple(Process(**process) for process in found["processes"]),
            str(found.get("checkout", "")),
            float(found.get("since", 0.0)),
            Process(**owner) if owner else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(layout: Layout, record: Record) -> None:
    """Beside its place and renamed over it, so that nobody reads half of it."""
    unfinished = layout.record.with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(record), indent=2))
    unfinished.rename(layout.record)


def update(layout: Layout, processes: list[Process]) -> None:
    """These are its processes now."""
    record = read(layout)
    if record is not None:
        write(layout, replace(record, processes=tuple(processes)))
