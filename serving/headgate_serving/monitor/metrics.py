"""The monitor's counters as Prometheus series; the names are those of docs/architecture.md.

Registered with the metrics port's registry. Every bin is there from the start, at 0.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headgate.api import contract

from .counter import Monitor, Series
from .profile import Feature, Prediction, Profile


class MonitorCollector(Collector):
    """`own` is the profile of the version that is served, for the reference gauges."""

    def __init__(self, monitor: Monitor, own: Profile | None, labels: Mapping[str, str]) -> None:
        self._monitor = monitor
        self._own = own
        self._keys = list(labels)
        self._values = list(labels.values())

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known to be free, so registering need not count."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Bins of live traffic, then the reference's."""
        yield self._counters(contract.FEATURES, "Inputs by bin", "feature", self._monitor.features())
        yield self._counters(contract.PREDICTIONS, "Answers by bin", "output", self._monitor.predictions())
        dropped = CounterMetricFamily("headgate_samples_dropped", "Rows that were not counted", labels=self._keys)
        dropped.add_metric(self._values, self._monitor.dropped)
        yield dropped
        if self._own:
            layout = self._own.layout
            yield self._reference(contract.FEATURE_REFERENCE, "feature", layout, self._own.features)
            yield self._reference("headgate_prediction_reference", "output", layout, self._own.outputs)

    def _counters(self, name: str, text: str, of: str, all_series: Iterable[Series]) -> Metric:
        family = CounterMetricFamily(name, text, labels=[*self._keys, of, "bin", "layout"])
        for series in all_series:
            for label, count in zip(series.labels, series.counts.tolist(), strict=True):
                family.add_metric([*self._values, series.name, label, series.layout], count)
        return family

    def _reference(self, name: str, of: str, layout: str, items: Iterable[Feature | Prediction]) -> Metric:
        family = GaugeMetricFamily(
            name, "The reference profile's counts by bin", labels=[*self._keys, of, "bin", "layout"]
        )
        pairs = chain.from_iterable(
            ((item.name, label, count) for label, count in zip(item.bins.labels(), item.counts, strict=True))
            for item in items
        )
        for item_name, label, count in pairs:
            family.add_metric([*self._values, item_name, label, layout], count)
        return family
