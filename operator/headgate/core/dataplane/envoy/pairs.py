"""Pairs of answers, those of the candidate and of stable to the same requests, as the routers' agents count them.

The agents count them while there is a shadow. Their weights are read too: those are there always, so it is known when
an agent was scraped, and pairs count from 0 however soon after a scrape the shadow began.
"""

from collections.abc import Iterable

from headgate.api.contract import ROUTER_WEIGHT
from headgate.core.dataplane import Read
from headgate.core.dataplane.envoy.samples import EnvoySamples
from headgate.core.model import MetricsUnavailable, NoNewSamples
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Series, read_since


def read_pairs(
    series: Iterable[Series], now: float, cursor: float | None, compared: Comparison, stale_after: float
) -> Read | NoNewSamples | MetricsUnavailable:
    """See `DataPlane.read_pairs`."""
    given = [s for s in series if s.samples]
    agents = [s for s in given if s.labels.get("__name__") == ROUTER_WEIGHT]
    if not agents or now - max(s.samples[-1][0] for s in agents) > stale_after:
        return MetricsUnavailable("Prometheus has no recent samples of the routers' agents (port agent-metrics).")
    reading = read_since(cursor, given, stale_after)
    if reading is None:
        return NoNewSamples()
    return Read(reading.cursor, EnvoySamples(given, reading.increments, compared))
