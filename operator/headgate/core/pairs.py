"""From Prometheus' raw samples to pairs of answers, those of the candidate and of stable to the same requests. Pure.

The agents of the routers count them while there is a shadow. Their weights are read too: those are there always, so
it is known when an agent was scraped, and pairs count from 0 however soon after a scrape the shadow began.
"""

from collections import Counter
from collections.abc import Iterable

from headgate.core.evidence.counters import STARTED, Series, read_since
from headgate.core.metrics import REVISION
from headgate.core.model import Blind, PairBlock, Paired, Quiet

PAIRS = "headgate_shadow_pairs_total"
ROUTED = "headgate_router_weight"
PAIR_SERIES = (PAIRS, ROUTED, STARTED)


def pairs_from(
    series: Iterable[Series], now: float, cursor: float | None, stable: str, candidate: str, stale_after: float
) -> Paired | Quiet | Blind:
    """The pairs since `cursor`. `now` by Prometheus' clock, like the samples' times."""
    found = [s for s in series if s.samples]
    agents = [s for s in found if s.labels.get("__name__") == ROUTED]
    if not agents or now - max(s.samples[-1][0] for s in agents) > stale_after:
        return Blind("Prometheus has no recent samples of the routers' agents (port agent-metrics).")
    reading = read_since(cursor, found, stale_after)
    if reading is None:
        return Quiet()
    gained = Counter[str]()
    for i in reading.increments:
        whose = tuple(i.labels.get(name) for name in ("__name__", REVISION, "headgate_baseline"))
        if whose == (PAIRS, candidate, stable):
            gained[i.labels.get("agree", "")] += i.gained
    block = PairBlock(gained["yes"] + gained["no"] + gained["error"], gained["yes"], gained["error"])
    return Paired(reading.cursor, block)
