"""Pairs of answers, those of the candidate and of stable to the same requests, as the routers' agents count them.

The agents count them while there is a shadow. Their weights are read too: those are there always, so it is known when
an agent was scraped, and pairs count from 0 however soon after a scrape the shadow began.
"""

from collections import Counter
from collections.abc import Iterable

from headgate.api.contract import BASELINE, REVISION, ROUTER_WEIGHT, SHADOW_PAIRS
from headgate.core.dataplane import Read
from headgate.core.model import MetricsUnavailable, NoNewSamples
from headgate.core.signals.signal import Comparison, PairBlock, Samples
from headgate.core.statistics.counters import Series, read_since
from headgate.core.statistics.rates import AttemptBlock


class PairSamples(Samples):
    """Nobody has got the candidate's answers, so there is nothing but pairs."""

    def attempts(self) -> AttemptBlock:
        return AttemptBlock()

    def slow_answers(self) -> None:
        return None

    def pairs(self) -> PairBlock:
        gained = Counter[str]()
        for i in self.increments:
            whose = tuple(i.labels.get(name) for name in ("__name__", REVISION, BASELINE))
            if whose == (SHADOW_PAIRS, self.compared.candidate, self.compared.stable):
                gained[i.labels.get("agree", "")] += i.gained
        return PairBlock(gained["yes"] + gained["no"] + gained["error"], gained["yes"], gained["error"])


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
    return Read(reading.cursor, PairSamples(given, reading.increments, compared))
