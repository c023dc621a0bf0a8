"""From Prometheus' raw samples to what `decide` learns from. Pure; called by `observe`.

Attempts are those that pods really had: `rq_success + rq_error` by pod, a rescue by stable not among them. The
router gives up a candidate's attempt after a share of the time budget, so that stable can still rescue it, but
waits for stable until the budget ends. To be fair, an answer of stable that took longer than that share counts
against stable as well. Times are those of a version's own answers, so there is no rescue among them either.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from headgate.core.evidence.counters import START_SERIES, Increment, Series, read_since, scrape_interval
from headgate.core.evidence.errors import AttemptBlock
from headgate.core.evidence.predictions import PredictionBlock
from headgate.core.histogram import ANSWERED, ANSWERED_WITHIN, common_edges, edge_of, patience_edge, slow_edge
from headgate.core.model import Blind, Fresh, Metrics, Quiet, Slow

SUCCESSES = "envoy_cluster_endpoint_rq_success"
ERRORS = "envoy_cluster_endpoint_rq_error"
PREDICTIONS = "headgate_prediction_bin_total"
RUNTIME_READY = "headgate_ready"
SERIES = (SUCCESSES, ERRORS, ANSWERED, ANSWERED_WITHIN, PREDICTIONS, RUNTIME_READY, *START_SERIES)

REVISION = "headgate_revision"


@dataclass(frozen=True)
class Comparison:
    """Which revisions are compared, and what counts as late."""

    stable: str
    candidate: str
    patience: float | None
    """Seconds after which the router gives up a candidate's attempt; None: only when the budget ends."""
    slow_after: float | None = None
    """Seconds after which an answer is a slow one; None: that is not compared."""


_Gained = defaultdict[tuple[str, str, float | None], int]
"""What all routers and pods counted, by series, revision and, for the histogram, edge in milliseconds."""


def metrics_from(
    series: Iterable[Series], now: float, cursor: float | None, who: Comparison, stale_after: float
) -> Metrics:
    """What the samples say since `cursor` (None: nothing yet, take the newest time as the start).

    `now` by Prometheus' clock, like the samples' times.
    """
    found = [s for s in series if s.samples]
    routers = [s for s in found if s.labels.get("__name__") == SUCCESSES]
    if not routers:
        return Blind("Prometheus has no recent samples of the routers.")
    newest = max(s.samples[-1][0] for s in routers)
    if now - newest > stale_after:
        return Blind(f"Prometheus has no sample of the routers from the last {stale_after:g} seconds.")
    if not any(s.labels.get("__name__") == RUNTIME_READY and s.labels.get(REVISION) == who.stable for s in found):
        return Blind("Prometheus has no recent samples of stable's runtimes.")
    reading = read_since(cursor, found, stale_after)
    if reading is None:
        return Quiet()
    gained, edges = _by_name(reading.increments), common_edges(found)
    blocks, expected = _predictions(found, reading.increments, who)
    intervals = [every for s in routers if (every := scrape_interval(t for t, _ in s.samples))]
    return Fresh(
        cursor=reading.cursor,
        interval=median(intervals) if intervals else 1.0,
        attempts=_attempts(gained, edges, who),
        slow=_slow(gained, edges, who),
        predictions=blocks,
        predictions_expected=expected,
        behind=_behind(reading.increments, who),
    )


def _attempts(gained: _Gained, edges: list[float], who: Comparison) -> AttemptBlock:
    patience = patience_edge(edges, who.patience)
    stable_attempts = gained[SUCCESSES, who.stable, None] + gained[ERRORS, who.stable, None]
    late = _answers(gained, who.stable, None) - _answers(gained, who.stable, patience)
    return AttemptBlock(
        candidate_attempts=gained[SUCCESSES, who.candidate, None] + gained[ERRORS, who.candidate, None],
        candidate_failures=gained[ERRORS, who.candidate, None],
        stable_attempts=stable_attempts,
        stable_failures=min(stable_attempts, gained[ERRORS, who.stable, None] + max(0, late)),
    )


def _behind(increments: Iterable[Increment], who: Comparison) -> tuple[str, ...]:
    """Pods of routers that have sent stable more than what the candidate had failed there."""
    too_many = Counter[str]()
    for i in increments:
        name, revision = i.labels.get("__name__"), i.labels.get(REVISION)
        router = i.labels.get("pod") or i.labels.get("instance", "")
        if name in (SUCCESSES, ERRORS) and revision == who.stable:
            too_many[router] += i.gained
        elif name == ERRORS and revision == who.candidate:
            too_many[router] -= i.gained
    return tuple(sorted(router for router, attempts in too_many.items() if attempts > 0))


def _slow(gained: _Gained, edges: list[float], who: Comparison) -> Slow | None:
    """Answers within the time that a candidate has, and those of them that were slow.

    A later answer of stable is a failure, as the candidate's would have been.
    """
    patience = patience_edge(edges, who.patience)
    edge = slow_edge(edges, who.slow_after, patience)
    if edge is None:
        return None
    counts: list[int] = []
    for revision in (who.candidate, who.stable):
        answers = _answers(gained, revision, patience)
        counts += [answers, max(0, answers - _answers(gained, revision, edge))]
    return Slow(edge, AttemptBlock(*counts))


def _answers(gained: _Gained, revision: str, within: float | None) -> int:
    """A revision's answers within an edge of the histogram; None: all."""
    return gained[ANSWERED, revision, None] if within is None else gained[ANSWERED_WITHIN, revision, within]


def _by_name(increments: Iterable[Increment]) -> _Gained:
    found: _Gained = defaultdict(int)
    for i in increments:
        name = i.labels.get("__name__", "")
        edge = edge_of(i.labels) if name == ANSWERED_WITHIN else None
        found[name, i.labels.get(REVISION, ""), edge] += i.gained
    return found


def _predictions(
    series: Iterable[Series], increments: Iterable[Increment], who: Comparison
) -> tuple[tuple[PredictionBlock, ...], bool]:
    """Blocks of every output in a layout that both versions count in; and whether stable counts at all."""
    layouts: dict[str, set[str]] = defaultdict(set)
    for s in series:
        if s.labels.get("__name__") == PREDICTIONS:
            layouts[s.labels.get(REVISION, "")].add(s.labels.get("layout", ""))
    shared = sorted(layouts[who.stable] & layouts[who.candidate])
    expected = bool(layouts[who.stable])
    if not shared:
        return (), expected
    layout = shared[0]
    bins: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for i in increments:
        if i.labels.get("__name__") == PREDICTIONS and i.labels.get("layout") == layout:
            bins[i.labels.get("output", ""), i.labels.get(REVISION, "")][i.labels.get("bin", "")] += i.gained
    outputs = sorted({output for output, _ in bins})
    blocks = (PredictionBlock(o, layout, dict(bins[o, who.candidate]), dict(bins[o, who.stable])) for o in outputs)
    return tuple(blocks), expected
