"""Reads on from a cursor, a bounded part at a time: after an outage there may be hours that nobody has read.

Called by `observe`. Each reconciliation reads one page, and its cursor is written with what was learnt from it, so who
reads next goes on from there. What can't be read in parts is passed over, and that is said.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from headgate.core.dataplane import Read
from headgate.core.model import MetricsUnavailable, NoNewSamples
from headgate.core.statistics.counters import Series
from headgate.errors import TooMuchData

PAGE_SECONDS = 300.0
"""Of samples in one reconciliation: at 5 s between scrapes 27,000 samples of 370 series."""

SHORTEST_PAGE = 15.0
"""Seconds; where even those are too much, it is gone on without them."""

LONGEST_OUTAGE = 6 * 3600.0
"""Seconds; what is older is not read any more."""

_MOST_QUESTIONS = 12
"""In one reconciliation, to get over a gap without samples: each looks twice as far as the one before."""

Result = Read | NoNewSamples | MetricsUnavailable
Ask = Callable[[float, float | None], Awaitable[Sequence[Series]]]
"""Samples from shortly before the second time (None: the first one) to the first."""
Understand = Callable[[Sequence[Series], float, float | None], Result]
"""What was counted up to a time, since a cursor."""


@dataclass(frozen=True)
class Page:
    """What was read, and since when nothing was counted where something was passed over."""

    result: Result
    uncounted_since: float | None = None
    last: bool = True
    """Whether there is none after it."""


async def next_page(ask: Ask, understand: Understand, now: float, cursor: float | None) -> Page:
    """The next part after `cursor`, all of it where that is little. Raises MetricsError."""
    if cursor is None:
        return Page(understand(await ask(now, None), now, None))
    empty_until, span = cursor, PAGE_SECONDS
    for _ in range(_MOST_QUESTIONS if now - cursor <= LONGEST_OUTAGE else 0):
        end = min(now, empty_until + span)
        try:
            series = await ask(end, cursor)
        except TooMuchData:
            span /= 4
            if span < SHORTEST_PAGE:
                break
            continue
        if end >= now:
            return Page(understand(series, now, cursor))
        # By the newest sample's time: that nothing came after it, in the past, does not make it stale.
        newest = max((s.samples[-1][0] for s in series if s.samples), default=cursor)
        if newest > cursor and isinstance(result := understand(series, newest, cursor), Read):
            return Page(result, last=False)
        empty_until, span = end, 2 * span
    result = understand(await ask(now, None), now, None)
    return Page(result, cursor if isinstance(result, Read) else None)
