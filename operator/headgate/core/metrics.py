"""From Prometheus' raw samples to what `decide` learns from. Pure; called by `observe`."""

from collections import defaultdict
from collections.abc import Iterable

from headgate.core.evidence.counters import Increment, Series, read_since
from headgate.core.evidence.errors import AttemptBlock
from headgate.core.evidence.predictions import PredictionBlock
from headgate.core.model import Blind, Fresh, Metrics, Quiet

ATTEMPTS = "envoy_cluster_endpoint_rq_total"
ERRORS = "envoy_cluster_endpoint_rq_error"
TIMEOUTS = "envoy_cluster_endpoint_rq_timeout"
PREDICTIONS = "headgate_prediction_bin_total"
COUNTERS = (ATTEMPTS, ERRORS, TIMEOUTS, PREDICTIONS)

REVISION = "headgate_revision"


def metrics_from(
    series: Iterable[Series], now: float, cursor: float | None, stable: str, candidate: str, stale_after: float
) -> Metrics:
    """What the samples say since `cursor` (None: nothing yet, take the newest time as the start).

    `now` by Prometheus' clock, like the samples' times.
    """
    found = [s for s in series if s.samples]
    routers = [s for s in found if s.labels.get("__name__") == ATTEMPTS]
    if not routers:
        return Blind("Prometheus has no recent samples of the routers.")
    newest = max(s.samples[-1][0] for s in routers)
    if now - newest > stale_after:
        return Blind(f"Prometheus has no sample of the routers from the last {stale_after:g} seconds.")
    reading = read_since(cursor, found, stale_after)
    if reading is None:
        return Quiet()
    blocks, expected = _predictions(found, reading.increments, stable, candidate)
    return Fresh(
        cursor=reading.cursor,
        seconds=0.0 if cursor is None or reading.rebased else reading.cursor - cursor,
        attempts=_attempts(reading.increments, stable, candidate),
        predictions=blocks,
        predictions_expected=expected,
    )


def _attempts(increments: Iterable[Increment], stable: str, candidate: str) -> AttemptBlock:
    total: dict[tuple[str, str], int] = defaultdict(int)
    for i in increments:
        total[i.labels.get("__name__", ""), i.labels.get(REVISION, "")] += i.gained

    def failed(revision: str) -> int:
        return min(total[ATTEMPTS, revision], total[ERRORS, revision])

    return AttemptBlock(
        candidate_attempts=total[ATTEMPTS, candidate],
        candidate_failures=failed(candidate),
        stable_attempts=total[ATTEMPTS, stable],
        stable_failures=failed(stable),
    )


def _predictions(
    series: Iterable[Series], increments: Iterable[Increment], stable: str, candidate: str
) -> tuple[tuple[PredictionBlock, ...], bool]:
    """Blocks of every output in a layout that both versions count in; and whether stable counts at all."""
    layouts: dict[str, set[str]] = defaultdict(set)
    for s in series:
        if s.labels.get("__name__") == PREDICTIONS:
            layouts[s.labels.get(REVISION, "")].add(s.labels.get("layout", ""))
    shared = sorted(layouts[stable] & layouts[candidate])
    expected = bool(layouts[stable])
    if not shared:
        return (), expected
    layout = shared[0]
    bins: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for i in increments:
        if i.labels.get("__name__") == PREDICTIONS and i.labels.get("layout") == layout:
            bins[i.labels.get("output", ""), i.labels.get(REVISION, "")][i.labels.get("bin", "")] += i.gained
    outputs = sorted({output for output, _ in bins})
    blocks = (PredictionBlock(o, layout, dict(bins[o, candidate]), dict(bins[o, stable])) for o in outputs)
    return tuple(blocks), expected
