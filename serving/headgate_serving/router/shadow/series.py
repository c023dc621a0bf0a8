"""What the shadow counts, under the names of the contract in docs/architecture.md."""

from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from headgate.api import contract

Verdict = Literal["yes", "no", "error"]

VERDICTS: tuple[Verdict, ...] = ("yes", "no", "error")
REASONS = (
    "broken",
    "bytes",
    "incomparable",
    "no-pod",
    "other-revision",
    "pace",
    "queue",
    "size",
    "unanswered",
    "unreadable",
    "version",
)
"""Why a copy made no pair; docs/traffic.md says what they mean."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LABELS = (contract.NAMESPACE, contract.MODEL, contract.REVISION, contract.BASELINE)


@dataclass
class Series:
    """The families, once in a process."""

    registry: CollectorRegistry
    pairs: Counter = field(init=False)
    dropped: Counter = field(init=False)
    seconds: Histogram = field(init=False)

    def __post_init__(self) -> None:
        what = "Requests that the candidate was asked too, by whether it answered as stable did"
        self.pairs = Counter(contract.SHADOW_PAIRS, what, (*_LABELS, "agree"), registry=self.registry)
        what = "Copied requests that were not compared"
        self.dropped = Counter("headgate_shadow_dropped", what, (*_LABELS, "reason"), registry=self.registry)
        what = "How long the candidate took for a copy"
        self.seconds = Histogram(
            "headgate_shadow_candidate_seconds", what, _LABELS, buckets=_SECONDS, registry=self.registry
        )


class Tally:
    """The series of one pair of revisions: all are there, at 0, as soon as it begins, and go with it."""

    def __init__(self, series: Series, namespace: str, model: str, candidate: str, stable: str) -> None:
        self._series = series
        self._whose = (namespace, model, candidate, stable)
        self.forget()
        self._pairs = {verdict: series.pairs.labels(*self._whose, verdict) for verdict in VERDICTS}
        self._dropped = {reason: series.dropped.labels(*self._whose, reason) for reason in REASONS}
        self.seconds = series.seconds.labels(*self._whose)

    def pair(self, verdict: Verdict) -> None:
        """One more."""
        self._pairs[verdict].inc()

    def drop(self, reason: str) -> None:
        """One fewer."""
        self._dropped[reason].inc()

    def forget(self) -> None:
        """No series of any pair is left."""
        for family in (self._series.pairs, self._series.dropped, self._series.seconds):
            family.clear()
