"""The runtime's own series: requests, latency, queue, runs, the model. The server counts, the metrics port reads.

Plain numbers on the request's path; Prometheus objects are made only when somebody scrapes.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headgate.api import contract

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
CODES = (200, 400, 404, 413, 415, 429, 500, 503)
KINDS = ("json", "tensor", "datatype", "shape", "data", "output", "binary", "encoding")
REASONS = ("cancelled", "deadline")


class Histogram:
    """Counts by bucket, and the sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Telemetry(Collector):
    """Counters of one process. All of them are written by the event loop's thread alone."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._keys = list(labels)
        self._values = list(labels.values())
        self._codes = dict.fromkeys(CODES, 0)
        self._violations = dict.fromkeys(KINDS, 0)
        self._dropped = dict.fromkeys(REASONS, 0)
        self._latency = Histogram(BUCKETS)
        self._queue = Histogram(BUCKETS)
        self._runs = Histogram(BUCKETS)
        self._rows = Histogram(ROWS)
        self._failed_seconds = 0.0
        self._last = 0
        self.in_flight = 0
        self.queued = 0
        self.low_confidence = 0
        self.runs_stopped = 0
        self.restarts = 0
        self.ready = False
        self.started = time.time()
        self.load_seconds = 0.0
        self.info: dict[str, str] = {}
        self.secret_usable: Callable[[], bool] | None = None

    def answered(self, code: int, seconds: float) -> None:
        """One inference request was answered."""
        self._codes[code] = self._codes.get(code, 0) + 1
        self._latency.add(seconds)
        if code != 200:
            self._failed_seconds += seconds

    def violated(self, kind: str) -> None:
        """One request was malformed in this way."""
        self._violations[kind] = self._violations.get(kind, 0) + 1

    def drop(self, reason: str) -> None:
        """One request will not be run, or nobody waits for its answer any more."""
        self._dropped[reason] += 1

    def waited(self, seconds: float) -> None:
        """One request begins to run."""
        self._queue.add(seconds)

    def ran(self, rows: int, seconds: float) -> None:
        """The model ran once."""
        self._rows.add(rows)
        self._runs.add(seconds)
        self._last = time.time_ns()

    def statistics(self) -> dict[str, Any]:
        """As in Triton's statistics extension: counts and nanoseconds."""
        good, all_of_them = self._codes[200], self._latency.count

        def took(count: int, seconds: float) -> dict[str, int]:
            return {"count": count, "ns": int(seconds * 1e9)}

        return {
            "last_inference": self._last // 1_000_000,
            "inference_count": int(self._rows.sum),
            "execution_count": self._runs.count,
            "inference_stats": {
                "success": took(good, self._latency.sum - self._failed_seconds),
                "fail": took(all_of_them - good, self._failed_seconds),
                "queue": took(self._queue.count, self._queue.sum),
                "compute_input": took(0, 0.0),
                "compute_infer": took(self._runs.count, self._runs.sum),
                "compute_output": took(0, 0.0),
                "cache_hit": took(0, 0.0),
                "cache_miss": took(0, 0.0),
            },
            "batch_stats": [],
        }

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known to be free."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, with the three labels of the revision."""
        yield self._counter("headgate_requests", "Inference requests by HTTP code", "code", self._codes)
        yield self._counter(
            "headgate_schema_violation", "Malformed requests by what was wrong", "kind", self._violations
        )
        yield self._counter(
            "headgate_requests_dropped", "Requests whose answer nobody waits for", "reason", self._dropped
        )
        yield self._total("headgate_low_confidence", "Rows answered with less confidence", self.low_confidence)
        yield self._total("headgate_runs_stopped", "Runs of the model that took too long", self.runs_stopped)
        yield self._total(
            "headgate_worker_restarts", "Times that the serving process had to be replaced", self.restarts
        )
        yield self._histogram(
            "headgate_request_duration_seconds", "Time from request to answer inside of the runtime", self._latency
        )
        yield self._histogram("headgate_queue_duration_seconds", "Time that requests waited for a run", self._queue)
        yield self._histogram("headgate_run_duration_seconds", "Time that a run of the model took", self._runs)
        yield self._histogram("headgate_batch_rows", "Rows in one run of the model", self._rows)
        yield self._gauge(contract.STARTED, "When this process began to count", self.started)
        yield self._gauge("headgate_requests_in_flight", "Inference requests being answered", self.in_flight)
        yield self._gauge("headgate_requests_queued", "Inference requests that wait for a run", self.queued)
        yield self._gauge(contract.RUNTIME_READY, "1 while the model takes requests", int(self.ready))
        if self.secret_usable:
            text = "1 while the Secret for TLS is the one in use, 0 where it can't be used"
            yield self._gauge("headgate_secret_usable", text, int(self.secret_usable()))
        if self.info:
            yield self._gauge("headgate_model_load_seconds", "Time that loading the model took", self.load_seconds)
            info = GaugeMetricFamily("headgate_model_info", "What is served", labels=[*self._keys, *self.info])
            info.add_metric([*self._values, *self.info.values()], 1)
            yield info

    def _counter(self, name: str, text: str, label: str, counts: Mapping[int, int] | Mapping[str, int]) -> Metric:
        family = CounterMetricFamily(name, text, labels=[*self._keys, label])
        for key, count in list(counts.items()):
            family.add_metric([*self._values, str(key)], count)
        return family

    def _total(self, name: str, text: str, count: int) -> Metric:
        family = CounterMetricFamily(name, text, labels=self._keys)
        family.add_metric(self._values, count)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=self._keys)
        family.add_metric(self._values, value)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        family = HistogramMetricFamily(name, text, labels=self._keys)
        bounds = [*map(str, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(list(histogram.counts)), strict=True))
        family.add_metric(self._values, buckets, histogram.sum)
        return family
