"""What becomes of copies, counted: the pairs of a shadow, and the samples for monitors. See docs/architecture.md."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headgate.api import contract

Verdict = Literal["yes", "no", "few", "error"]
"""Alike, not alike, not alike and with another label for most rows, not answered well."""

VERDICTS: tuple[Verdict, ...] = ("yes", "no", "few", "error")
REASONS = (
    "broken",
    "bytes",
    "incomparable",
    "no-certificate",
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
class PairSeries:
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


class PairCounters:
    """The series of one pair of revisions: all are there, at 0, as soon as it begins, and go with it."""

    def __init__(self, series: PairSeries, namespace: str, model: str, candidate: str, stable: str) -> None:
        self._series = series
        self._whose = (namespace, model, candidate, stable)
        self.forget()
        self._pairs = {verdict: series.pairs.labels(*self._whose, verdict) for verdict in VERDICTS}
        self._dropped = {reason: series.dropped.labels(*self._whose, reason) for reason in REASONS}
        self.seconds = series.seconds.labels(*self._whose)

    def pair(self, verdict: Verdict) -> None:
        """Count a pair."""
        self._pairs[verdict].inc()

    def drop(self, reason: str) -> None:
        """Count a copy that made no pair."""
        self._dropped[reason].inc()

    def forget(self) -> None:
        """No series of any pair is left."""
        for family in (self._series.pairs, self._series.dropped, self._series.seconds):
            family.clear()


OUTCOMES = (
    "counted",
    "broken",
    "bytes",
    "failed",
    "no-pod",
    "pace",
    "queue",
    "size",
    "unanswered",
    "unreadable",
)
"""What became of a copy; docs/traffic.md says what they mean."""


class SampleSeries:
    """Samples for monitors, by outcome. All outcomes are there, at 0, from the first sampled revision on."""

    def __init__(self, registry: CollectorRegistry, namespace: str, model: str) -> None:
        self._whose = (namespace, model)
        labels = (contract.NAMESPACE, contract.MODEL)
        what = "Copies for the monitor of an engine that has none, by what became of them"
        self._samples = Counter("headgate_samples", what, (*labels, "outcome"), registry=registry)
        what = "Part of the answered requests that is copied for the version's monitor, 0 to 1"
        self._fraction = Gauge("headgate_sample_fraction", what, (*labels, contract.REVISION), registry=registry)

    def show(self, fractions: Mapping[str, float]) -> None:
        """Which revisions are sampled now."""
        self._fraction.clear()
        for revision, fraction in fractions.items():
            self._fraction.labels(*self._whose, revision).set(fraction)
        if fractions:
            for outcome in OUTCOMES:
                self._samples.labels(*self._whose, outcome)

    def count(self, outcome: str, number: int = 1) -> None:
        """Count copies."""
        self._samples.labels(*self._whose, outcome).inc(number)
