"""Clusters that nobody ends: those of other checkouts, and this one's when there is nothing here but the sources.

`python3 -m tools.cluster others` says which run, and ends none; `make` calls it before most of what it does. `python3
-m tools.cluster clean` ends this checkout's, found by the checkout's path. Plain standard library, and so is what it
imports: a checkout that was made anew has no environment.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.setup import cache

from . import cgroups, ending, layout, records
from .errors import NotAllowed
from .layout import Layout, default_name
from .records import Record

ENDS_ITS_CLUSTER = "make test"
"""Who has started it by this, and is gone, was killed."""


@dataclass(frozen=True)
class Running:
    """A cluster of which something runs."""

    name: str
    record: Record

    @property
    def orphaned(self) -> bool:
        """Whether the command that started it is gone."""
        return self.record.owner is not None and not self.record.owner.alive


def running() -> list[Running]:
    """All clusters on this machine, as far as this user may look."""
    return [Running(each.name, record) for each in _known() if (record := _record_of(each)) is not None]


def worth_saying() -> list[str]:
    """A few lines on each that somebody should end: those of other checkouts, and our own after a test was killed."""
    lines = list[str]()
    for each in running():
        ours = _is_ours(each.name, each.record)
        killed = each.orphaned and each.record.owner is not None and each.record.owner.name == ENDS_ITS_CLUSTER
        if not ours or killed:
            lines.append(described(each, time.time(), ours=ours))
    return lines


def described(cluster: Running, now: float, *, ours: bool) -> str:
    """Whose it is, since when it runs, what became of who started it, and how to end it."""
    record = cluster.record
    whose = f"this checkout ({record.checkout})" if ours else record.checkout or "a checkout that it does not name"
    since = ""
    if record.since:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.since))
        since = f" since {when} ({max(0.0, now - record.since) / 60:.0f} minutes)"
    owner = ""
    if record.owner is not None:
        what = "is still at work" if record.owner.alive else "is gone"
        owner = f" `{record.owner.name}` (pid {record.owner.pid}), which started it, {what}."
    return f"cluster {cluster.name} of {whose} runs{since}.{owner} To end it: {_how_to_end(cluster)}"


def _how_to_end(cluster: Running) -> str:
    path = Path(cluster.record.checkout)
    if cluster.record.checkout and (path / "Makefile").exists():
        return f"make -C {shlex.quote(str(path))} clean"
    return f"make cluster-down CLUSTER_NAME={cluster.name}"


def clean() -> list[str]:
    """End every cluster of this checkout's path, and say which."""
    names = {default_name()} | {each.name for each in _known() if _is_ours(each.name, records.read(each))}
    found = [layout for name in sorted(names) if ending.traces(layout := Layout(name))]
    for each in found:
        ending.down(each)
    return [each.name for each in found]


def _is_ours(name: str, record: Record | None) -> bool:
    return name == default_name() or (record is not None and record.checkout == str(cache.REPOSITORY))


def _known() -> Iterator[Layout]:
    try:
        names = sorted(path.name for path in layout.STATES.iterdir())
    except OSError:
        return
    for name in names:
        with contextlib.suppress(NotAllowed):
            yield Layout(name)


def _record_of(each: Layout) -> Record | None:
    """Its record, if a process of it is alive: one that is noted, or any in its cgroup."""
    record = records.read(each)
    if record is not None and any(process.alive for process in record.processes):
        return record
    if not cgroups.members(each.cgroup):
        return None
    return record or Record("")
