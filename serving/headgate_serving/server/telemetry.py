"""The runtime's own series: requests, latency, the model. `app.py` counts, the metrics port reads.

Plain numbers on the request's path; Prometheus objects are made only when somebody scrapes.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CODES = (200, 400, 404, 405, 413, 415, 500, 503)
KINDS = ("json", "tensor", "datatype", "shape", "data", "output", "binary", "encoding")


class Telemetry(Collector):
    """Counters of one process. All of them are written by the event loop's thread alone."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._keys = list(labels)
        self._values = list(labels.values())
        self._codes = dict.fromkeys(CODES, 0)
        self._violations = dict.fromkeys(KINDS, 0)
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self.in_flight = 0
        self.ready = False
        self.load_seconds = 0.0
        self.info: dict[str, str] = {}

    def answered(self, code: int, seconds: float) -> None:
        """One inference request was answered."""
        self._codes[code] = self._codes.get(code, 0) + 1
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def violated(self, kind: str) -> None:
        """One request was malformed in this way."""
        self._violations[kind] = self._violations.get(kind, 0) + 1

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known to be free."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, with the three labels of the revision."""
        yield self._counter("headgate_requests", "Inference requests by HTTP code", "code", self._codes)
        yield self._counter(
            "headgate_schema_violation", "Malformed requests by what was wrong", "kind", self._violations
        )
        yield self._latency()
        yield self._gauge("headgate_requests_in_flight", "Inference requests being answered", self.in_flight)
        yield self._gauge("headgate_ready", "1 while the model takes requests", int(self.ready))
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

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=self._keys)
        family.add_metric(self._values, value)
        return family

    def _latency(self) -> Metric:
        family = HistogramMetricFamily(
            "headgate_request_duration_seconds", "Time from request to answer inside of the runtime", labels=self._keys
        )
        bounds = [*map(str, BUCKETS), "+Inf"]
        buckets = list(zip(bounds, accumulate(list(self._buckets)), strict=True))
        family.add_metric(self._values, buckets, self._seconds)
        return family
