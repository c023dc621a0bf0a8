"""The routers' histogram of answer times: which of its edges stands for a time. Used by `samples` and `history`.

An edge counts only if every router has it: one that started with an older spec may lack the edge that another has.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from headgate.core.dataplane.envoy.series import ANSWERED_WITHIN
from headgate.core.statistics.counters import Series


def edge_of(labels: Mapping[str, str]) -> float:
    """A bucket's upper edge in milliseconds."""
    return float(labels.get("le", "inf"))


def common_edges(series: Iterable[Series]) -> list[float]:
    """Edges in milliseconds, in ascending order, that the histogram has in all routers."""
    by_router: dict[str, set[float]] = defaultdict(set)
    for s in series:
        if s.labels.get("__name__") == ANSWERED_WITHIN:
            by_router[s.target].add(edge_of(s.labels))
    return sorted(set.intersection(*by_router.values())) if by_router else []


def give_up_edge(edges: Iterable[float], give_up_after: float | None) -> float | None:
    """Where the router gives up a candidate after so many seconds: the largest whole edge within them."""
    if give_up_after is None:
        return None
    return max((edge for edge in edges if edge <= 1000 * give_up_after and edge.is_integer()), default=None)


def slow_edge(edges: Iterable[float], slow_after: float | None, give_up: float | None) -> float | None:
    """The edge nearest to `slow_after` seconds; before the edge `give_up`, at which a candidate is given up."""
    if slow_after is None:
        return None
    possible = [edge for edge in edges if math.isfinite(edge) and (give_up is None or edge <= give_up)]
    before_that = [edge for edge in possible if edge != give_up]
    return min(before_that or possible, key=lambda edge: abs(edge - 1000 * slow_after), default=None)
