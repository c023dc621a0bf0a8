"""The routers' histogram of answer times: which of its edges stands for a time. Used by `metrics` and `past`.

An edge counts only if every router has it: one that started with an older spec may lack the edge that another has.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from headgate.core.evidence.counters import Series

ANSWERED = "envoy_cluster_upstream_rq_time_count"
ANSWERED_WITHIN = "envoy_cluster_upstream_rq_time_bucket"
"""Times of what users assigned to a revision got. Of stable, so there is no rescue among them."""


def edge_of(labels: Mapping[str, str]) -> float:
    """A bucket's upper edge in milliseconds."""
    return float(labels.get("le", "inf"))


def common_edges(series: Iterable[Series], bucket: str) -> list[float]:
    """Edges in milliseconds, in ascending order, that the histogram `bucket` has in all routers."""
    by_router: dict[str, set[float]] = defaultdict(set)
    for s in series:
        if s.labels.get("__name__") == bucket:
            by_router[s.target].add(edge_of(s.labels))
    return sorted(set.intersection(*by_router.values())) if by_router else []


def patience_edge(edges: Iterable[float], patience: float | None) -> float | None:
    """Where the router gives up a candidate that has `patience` seconds: the largest whole edge within them."""
    if patience is None:
        return None
    return max((edge for edge in edges if edge <= 1000 * patience and edge.is_integer()), default=None)
