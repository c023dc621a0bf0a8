"""Stable before the rollout: from half an hour of raw samples to how many of its answers were bad, in what bunches.

Bets on harm are the better, the more is known of stable's own rate, and they are only right if one knows how much its
bad answers cluster.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.api.contract import REVISION
from headgate.core.dataplane.envoy.histogram import common_edges, edge_of, give_up_edge
from headgate.core.dataplane.envoy.series import ANSWERED, ANSWERED_WITHIN, ERRORS, REFUSED, SUCCESSES
from headgate.core.model import BaselineRate
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Series, gained_by_window, restarts, scrape_interval
from headgate.core.statistics.difference import Floats
from headgate.core.statistics.dispersion import dispersion


@dataclass(frozen=True)
class EnvoyHistory:
    """See `signals.signal.History`."""

    series: Sequence[Series]
    cursor: float
    compared: Comparison

    def failures(self) -> BaselineRate:
        """By the same rules as in `samples`."""
        stable = self._stable()
        edges = _windows(stable, self.cursor)
        if edges is None:
            return BaselineRate()
        pods = sorted({_pod(s) for s in stable if s.labels.get("__name__") in (SUCCESSES, ERRORS)})
        failed = _by_pod(stable, ERRORS, pods, edges)
        answered, refused = _by_pod(stable, SUCCESSES, pods, edges), _refused(stable, edges)
        late = _late(stable, edges, self.compared)
        if self.compared.rescues:
            attempts = _without_refused(answered, refused) + failed
        else:
            attempts, late = answered + failed, late + refused
        trials, errors, slow = float(attempts.sum()), float(failed.sum()), float(late.sum())
        span = float(edges[-1] - edges[0])
        if errors + slow == 0:
            return BaselineRate(round(trials), 0, seconds=span)
        of_errors, of_late = dispersion(attempts, failed), dispersion(attempts.sum(axis=1, keepdims=True), late)
        together = (errors * of_errors + slow * of_late) / (errors + slow)
        return BaselineRate(round(trials), round(min(trials, errors + slow)), together, span)

    def slow_answers(self, edge: float) -> BaselineRate:
        stable = self._stable()
        windows = _windows(stable, self.cursor)
        routers = {
            s.target for s in stable if s.labels.get("__name__") == ANSWERED_WITHIN and edge_of(s.labels) == edge
        }
        if windows is None or not routers:
            return BaselineRate()
        timed = [s for s in stable if s.target in routers]
        answers = _answers(timed, windows, give_up_edge(common_edges(timed), self.compared.give_up_after))
        slow = np.clip(answers - _answers(timed, windows, edge), 0, answers)
        return BaselineRate(round(float(answers.sum())), round(float(slow.sum())), dispersion(answers, slow))

    def time_of(self, part: float) -> float | None:
        stable = self._stable()
        windows = _windows(stable, self.cursor)
        if windows is None:
            return None
        edges = [edge for edge in common_edges(stable) if math.isfinite(edge)]
        answers = float(_answers(stable, windows, None).sum())
        enough = (edge for edge in edges if float(_answers(stable, windows, edge).sum()) >= part * answers)
        return next(enough, None) if answers else None

    def _stable(self) -> list[Series]:
        return [s for s in self.series if s.samples and s.labels.get(REVISION) == self.compared.stable]


def _windows(series: Sequence[Series], cursor: float) -> Floats | None:
    """Edges of windows of one scrape each, the last of which ends at `cursor`; None where there is no history."""
    attempts = [s for s in series if s.labels.get("__name__") == SUCCESSES]
    longest = max(attempts, key=lambda s: len(s.samples), default=None)
    every = scrape_interval(t for t, _ in longest.samples) if longest else None
    if every is None:
        return None
    first = min(s.samples[0][0] for s in attempts)
    windows = int((cursor - first) / every)
    return cursor - np.arange(windows, -1, -1, dtype=np.float64) * every if windows > 0 else None


def _pod(s: Series) -> str:
    return s.labels.get("envoy_endpoint_hostname") or s.labels.get("envoy_endpoint_address", "")


def _by_pod(series: Sequence[Series], name: str, pods: Sequence[str], edges: Floats) -> Floats:
    """Gains of one counter, added up over the routers; shape (windows, pods)."""
    found, anew = np.zeros((len(edges) - 1, len(pods))), restarts(series)
    for s in series:
        if s.labels.get("__name__") == name:
            found[:, pods.index(_pod(s))] += gained_by_window(s.samples, edges, anew.get(s.target, ()))
    return found


def _refused(series: Sequence[Series], edges: Floats) -> Floats:
    """Answers that were refusals; shape (windows, 1)."""
    return _together(series, edges, lambda s: s.labels.get("__name__") == REFUSED)


def _without_refused(answered: Floats, refused: Floats) -> Floats:
    """Without the answers that were refusals: each pod has its share of them."""
    all_answered = answered.sum(axis=1, keepdims=True)
    return np.asarray(answered * np.clip(1 - refused / np.maximum(all_answered, 1.0), 0.0, 1.0))


def _late(series: Sequence[Series], edges: Floats, compared: Comparison) -> Floats:
    """Answers that came later than the router would have waited for a candidate; shape (windows, 1)."""
    give_up = give_up_edge(common_edges(series), compared.give_up_after)
    return np.maximum(_answers(series, edges, None) - _answers(series, edges, give_up), 0)


def _answers(series: Sequence[Series], edges: Floats, within: float | None) -> Floats:
    """Answers within an edge of the histogram (None: all); shape (windows, 1)."""
    if within is None:
        return _together(series, edges, lambda s: s.labels.get("__name__") == ANSWERED)
    return _together(
        series, edges, lambda s: s.labels.get("__name__") == ANSWERED_WITHIN and edge_of(s.labels) == within
    )


def _together(series: Sequence[Series], edges: Floats, counts: Callable[[Series], bool]) -> Floats:
    """Gains of the counters that `counts` chooses; shape (windows, 1), as no router says of which pod they are."""
    found, anew = np.zeros((len(edges) - 1, 1)), restarts(series)
    for s in series:
        if counts(s):
            found[:, 0] += gained_by_window(s.samples, edges, anew.get(s.target, ()))
    return found
