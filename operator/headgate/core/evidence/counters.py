"""From raw samples of counters to blocks of new events, each event once.

Called by `reconcile` with what `edges.prometheus` read. Samples are differenced series by series, with resets
handled. `increase()` of PromQL is not used: it extrapolates to fractions and loses what came before a series' first
sample.

The cursor is a time by Prometheus' clock, up to which everything has been counted. All series of one target are
stored in one go, so the new cursor is the oldest of the live targets' newest samples: nothing can still arrive
behind it. The cursor is kept in the same status as the evidence, so that no block counts twice, whoever reads next.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
        return self.labels.get("instance") or self.labels.get("pod", "")


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
    rebased: bool = False
    """Whether the cursor was moved without counting, because nothing is known about the time around it."""


def read_since(cursor: float, series: Iterable[Series], stale_after: float) -> Reading | None:
    """Everything that happened after `cursor`, or None when there is nothing new that is safe to count.

    `stale_after` is how many seconds a target may be silent before it no longer holds the cursor back.
    """
    all_series = [s for s in series if s.samples]
    newest: dict[str, float] = defaultdict(float)
    for s in all_series:
        newest[s.target] = max(newest[s.target], s.samples[-1][0])
    if not newest:
        return None
    latest = max(newest.values())
    until = min(t for t in newest.values() if t >= latest - stale_after)
    if until <= cursor:
        return None
    known = any(s.samples[0][0] <= cursor for s in all_series)
    if not known:
        return Reading((), until, rebased=True)
    increments = (Increment(s.labels, gained_between(s.samples, cursor, until)) for s in all_series)
    return Reading(tuple(increments), until)


def gained_between(samples: tuple[Sample, ...], start: float, end: float) -> int:
    """How much a counter gained in (start, end]. A counter that appears in between, or is reset, counts from 0."""
    before = [v for t, v in samples if t <= start]
    previous = before[-1] if before else 0.0
    gained = 0.0
    for t, value in samples:
        if start < t <= end:
            gained += value - previous if value >= previous else value
            previous = value
    return round(gained)
