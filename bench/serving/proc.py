"""What a tree of processes costs, from /proc: CPU seconds and memory."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """What /proc/PID/stat says. `ticks` of CPU are those of children that have ended, too."""

    pid: int
    parent: int
    session: int
    ticks: int
    started: int


@dataclass(frozen=True)
class Memory:
    """Bytes. `rss` counts a page that two processes share twice, `pss` half for each."""

    rss: int
    pss: int


def parse_stat(text: str) -> Stat:
    """One line of /proc/PID/stat."""
    # The program's name, in parentheses, may hold blanks and parentheses.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Stat(int(head.split()[0]), int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])), int(fields[19]))


def tree(root: int, stats: Iterable[Stat]) -> list[Stat]:
    """A process, all that descend from it, and all in its session, whose parents may have ended."""
    found: list[Stat] = []
    rest, known = list(stats), {root}
    while True:
        new = [stat for stat in rest if stat.pid in known or stat.parent in known or stat.session == root]
        if not new:
            return found
        found += new
        known |= {stat.pid for stat in new}
        rest = [stat for stat in rest if stat.pid not in known]


def running() -> list[Stat]:
    """All processes of this machine."""
    stats = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats.append(parse_stat(place.read_text()))
        except OSError:  # it has just ended
            continue
    return stats


def cpu_seconds(root: int) -> float:
    """What the tree has used until now."""
    return sum(stat.ticks for stat in tree(root, running())) / _TICKS


def memory(root: int) -> Memory:
    """What the tree holds now."""
    rss = pss = 0
    for stat in tree(root, running()):
        for line in _lines(Path(f"/proc/{stat.pid}/smaps_rollup")):
            kind, _, rest = line.partition(":")
            size = 1024 * int(rest.split()[0]) if kind in ("Rss", "Pss") else 0
            rss, pss = rss + size * (kind == "Rss"), pss + size * (kind == "Pss")
    return Memory(rss, pss)


def _lines(place: Path) -> list[str]:
    try:
        return place.read_text().splitlines()
    except OSError:
        return []
