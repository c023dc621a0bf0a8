"""What the router says of the samples that it sends, under the names of the contract in docs/architecture.md."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from headgate.api import contract

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
    """Once in a process; all outcomes are there, at 0, from the first sampled revision on."""

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
        """So many more."""
        self._samples.labels(*self._whose, outcome).inc(number)
