"""Which revisions no router sends requests to any more, so their pods can go. Pure; `background` asks the data plane.

Routes move first and pods go later. Each router says in every scrape which revisions its requests may still reach
(`headgate_router_routes`), and that it says so at all (`headgate_router_watch_age_seconds`). A router that runs and has
not said so since a revision began to retire may still follow what was before: its silence keeps the pods.
"""

from collections.abc import Iterable, Mapping

from headgate.api.contract import REVISION, ROUTER_WATCH_AGE
from headgate.api.status import Retiring
from headgate.core.statistics.counters import TARGET_POD, Series
from headgate.core.times import seconds_since

_SAME_SCRAPE = 0.001
"""Seconds: Prometheus stores all samples of a scrape with one time, in whole milliseconds."""

_STAMP = 1.0
"""Seconds that a stamp leaves out."""


def released(
    retiring: Iterable[Retiring], routers: Iterable[str], series: Iterable[Series], clock_ahead: float
) -> frozenset[str]:
    """The retiring revisions whose pods no router needs.

    `routers` are the names of the pods that run; `clock_ahead` how many seconds Prometheus' clock, by which samples
    are dated, is ahead of the operator's, by which `since` is.
    """
    told, routed = _latest(series)
    running = frozenset(routers)  # without any nobody can be sent requests
    return frozenset(
        each.revision
        for each in retiring
        if all(
            seconds_since(each.since, told.get(router, 0.0) - clock_ahead) > _STAMP
            and routed.get((router, each.revision), 0.0) < told[router] - _SAME_SCRAPE
            for router in running
        )
    )


def _latest(series: Iterable[Series]) -> tuple[Mapping[str, float], Mapping[tuple[str, str], float]]:
    """When each router was last scraped, and when it last had each revision."""
    told, routed = dict[str, float](), dict[tuple[str, str], float]()
    for each in series:
        if not each.samples:
            continue
        router, at = each.labels.get(TARGET_POD, ""), each.samples[-1][0]
        if each.labels.get("__name__") == ROUTER_WATCH_AGE:
            told[router] = max(at, told.get(router, 0.0))
        else:
            which = router, each.labels.get(REVISION, "")
            routed[which] = max(at, routed.get(which, 0.0))
    return told, routed
