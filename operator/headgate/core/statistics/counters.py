"""From raw samples of counters to blocks of new events, each event once.

Samples are differenced series by series, with resets
handled. `increase()` of PromQL is not used: it extrapolates to fractions and loses what came before a series' first
sample.

The cursor is a time by Prometheus' clock, up to which everything has been counted. All series of one target are
stored in one go, so the new cursor is the oldest of the live targets' newest samples: nothing can still arrive
behind it. The cursor is kept in the same status as the evidence, so that no block counts twice, whoever reads next.

A target also says since when its process counts. Where that has changed between two samples every counter began at 0
in between, whatever its value. Where it is not said, or has not changed, the value alone tells: a proxy may forget
the counters of a pod that goes.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headgate.api.contract import STARTED
from headgate.core.statistics.difference import Floats

UPTIME_ENDS = "_uptime"
"""How the name of a series ends that says for how many seconds its process has run: whole ones, and as old as the
process' last flush of its counters."""

_UPTIME_AHEAD, _UPTIME_OFF = 1.0, 3.0
"""Seconds by which an uptime may be too long, and by which two may be off from each other: they are rounded, a flush
old, and dated by when the scrape began."""

SURELY_NO_RESET = 100.0
"""From this count on, losing less than half of it is not taken for a reset."""

TARGET_NAMESPACE, TARGET_POD = "namespace", "pod"
"""Labels of series that the scraper writes, whatever the exporter says: where they are from."""

Sample = tuple[float, float]
"""Time in seconds since the epoch, value."""


@dataclass(frozen=True)
class Series:
    """One counter of one target: its labels and its raw samples in the order of time."""

    labels: Mapping[str, str]
    samples: tuple[Sample, ...]

    @property
    def target(self) -> str:
        """What was scraped: all series of a target have their samples at the same times."""
        return self.labels.get("instance") or self.labels.get(TARGET_POD, "")


@dataclass(frozen=True)
class Increment:
    """What one series gained between the old cursor and the new one."""

    labels: Mapping[str, str]
    gained: int


@dataclass(frozen=True)
class Reading:
    """New events since a cursor, and the cursor after them."""

    increments: tuple[Increment, ...]
    cursor: float


def read_since(cursor: float | None, series: Iterable[Series], stale_after: float) -> Reading | None:
    """Everything that happened after `cursor`, or None when there is nothing new that is safe to count.

    A target that has been silent for longer than a few of its own scrapes, or than `stale_after` seconds, no longer
    holds the cursor back. Of a target that has no sample up to the cursor nothing is known before its first one: it
    counts from there. A series that appears on a known target counts from 0. Without a cursor nothing is counted.
    """
    all_series = [s for s in series if s.samples]
    times: dict[str, set[float]] = defaultdict(set)
    for s in all_series:
        times[s.target].update(t for t, _ in s.samples)
    if not times:
        return None
    latest = max(max(t) for t in times.values())
    live = [max(t) for t in times.values() if latest - max(t) <= min(stale_after, _patience(t))]
    until = min(live)
    if cursor is not None and until <= cursor:
        return None
    followed = {target for target, at in times.items() if cursor is not None and min(at) <= cursor}
    if cursor is None or not followed:
        return Reading((), until)
    starts = {target: cursor if target in followed else min(at) for target, at in times.items()}
    anew = restarts(all_series)
    increments = (
        Increment(s.labels, gained_between(s.samples, starts[s.target], until, anew.get(s.target, ())))
        for s in all_series
        if not _tells_starts(s.labels.get("__name__", ""))
    )
    return Reading(tuple(increments), until)


def _tells_starts(name: str) -> bool:
    return name == STARTED or name.endswith(UPTIME_ENDS)


def restarts(series: Iterable[Series]) -> dict[str, list[float]]:
    """By target the times of those samples since whose predecessor its process has started anew."""
    starts: dict[tuple[str, str], dict[float, float]] = defaultdict(dict)
    for s in series:
        if _tells_starts(name := s.labels.get("__name__", "")):
            starts[s.target, name].update(s.samples)
    restarted: dict[str, list[float]] = defaultdict(list)
    for (target, name), samples in starts.items():
        for (t0, v0), (t1, v1) in pairwise(sorted(samples.items())):
            gap = t1 - t0
            if v0 != v1 if name == STARTED else v1 < gap + _UPTIME_AHEAD and v0 + gap - v1 > _UPTIME_OFF:
                restarted[target].append(t1)
    return restarted


def _patience(times: set[float]) -> float:
    """How long a target with samples at these times may be silent: three scrapes and a second."""
    every = scrape_interval(times)
    return 3 * every + 1 if every else math.inf


def scrape_interval(times: Iterable[float]) -> float | None:
    """Seconds between two scrapes of a target that has samples at these times, at the median; None for one time."""
    gaps = sorted(b - a for a, b in pairwise(sorted(times)))
    return gaps[len(gaps) // 2] if gaps else None


def gained_between(samples: tuple[Sample, ...], start: float, end: float, anew: Sequence[float] = ()) -> int:
    """How much a counter gained in (start, end]. A counter that appears in between, or is reset, counts from 0.

    `anew` are the times from `restarts`.
    """
    return round(sum(gained for t, gained in _gains(samples, anew) if start < t <= end))


def _gains(samples: Iterable[Sample], anew: Sequence[float]) -> list[Sample]:
    """The time of each sample that a counter can have had, and what it gained since the one before, the first since 0.

    A process that starts again begins at 0. Where nobody says that it did, a large count that loses less than half of
    itself was no reset. (Two Prometheus servers behind one address look like that.) Taken for one, it would add all
    that was ever counted. It keeps the height that it had.
    """
    gains: list[Sample] = []
    height, before = 0.0, -math.inf
    for t, value in samples:
        if not 0 <= value < math.inf:
            continue
        if any(before < at <= t for at in anew) or value <= height / 2 or (value < height < SURELY_NO_RESET):
            height = 0.0
        gains.append((t, max(0.0, value - height)))
        height, before = max(height, value), t
    return gains


def gained_by_window(samples: tuple[Sample, ...], edges: Floats, anew: Sequence[float] = ()) -> Floats:
    """How much a counter gained in each (edges[i], edges[i + 1]]. What it had at its first sample is not known.

    `anew` are the times from `restarts`.
    """
    windows = len(edges) - 1
    gains = _gains(samples, anew)
    if len(gains) < 2:
        return np.zeros(windows)
    times, gained = np.array(gains[1:]).T
    window = np.searchsorted(edges, times, side="left") - 1
    inside = (window >= 0) & (window < windows)
    return np.asarray(np.bincount(window[inside], gained[inside], minlength=windows), dtype=np.float64)
