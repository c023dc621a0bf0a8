"""The operator's own metrics: what it did, and how long it took. `health` serves them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headgate.api import contract
from headgate.api.status import PHASES, Status
from headgate.core.model import Foreign

MODEL = (contract.NAMESPACE, contract.MODEL)

_Sample = tuple[Gauge, tuple[str, ...]]


class Telemetry:
    """All metrics of the operator, in one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.leading = Gauge("headgate_leading", "Whether this replica decides.", registry=self.registry)
        self.queue_depth = Gauge(
            "headgate_queue_depth", "ModelDeployments that wait to be reconciled.", registry=self.registry
        )
        self.resync_age = Gauge("headgate_resync_age_seconds", "Age of the last full list.", registry=self.registry)
        self.reconciled_at = Gauge(
            "headgate_reconciled_timestamp_seconds", "When a reconciliation last succeeded.", registry=self.registry
        )
        self.waits_for_crds = Gauge(
            "headgate_waits_for_crds",
            "1 while the CustomResourceDefinitions are missing or can't be listed.",
            registry=self.registry,
        )
        self.prometheus_answers = Gauge(
            "headgate_prometheus_answers", "0 while Prometheus does not answer: rollouts hold.", registry=self.registry
        )
        self.prometheus_answers.set(1)
        self.missed = Counter(
            "headgate_watch_missed",
            "Changes that a list has found and of which the watch had no event.",
            ("resource",),
            registry=self.registry,
        )
        self.decision_seconds = Histogram(
            "headgate_decision_seconds", "Time of one reconciliation of a ModelDeployment.", registry=self.registry
        )
        self.failures = Counter(
            "headgate_reconcile_failures_total", "Reconciliations that failed.", ("reason",), registry=self.registry
        )
        self.lost_events = Counter(
            "headgate_events_lost_total",
            "Kubernetes events that were given up before the API server took them.",
            registry=self.registry,
        )
        self.rollbacks = Counter("headgate_rollbacks_total", "Rollbacks.", (*MODEL, "reason"), registry=self.registry)
        self.foreign = Counter(
            "headgate_foreign_series_total",
            "Series with a model's labels that were left out, each time that they were read: not from its pods.",
            (*MODEL, "why"),
            registry=self.registry,
        )
        self.phase = Gauge(
            "headgate_rollout_phase", "1 for the current phase.", (*MODEL, "phase"), registry=self.registry
        )
        self.weight = Gauge(
            "headgate_traffic_weight",
            "Weight in percent.",
            (*MODEL, contract.REVISION, "role"),
            registry=self.registry,
        )
        self.log_e = Gauge(
            "headgate_evidence_log_e", "ln of the e-value of each test.", (*MODEL, "test"), registry=self.registry
        )
        self.revision_info = Gauge(
            "headgate_revision_info",
            "1 for each revision in a role.",
            (*MODEL, contract.REVISION, "role", "version"),
            registry=self.registry,
        )
        self.condition = Gauge(
            "headgate_condition",
            "1 for the present status and reason of each condition of a ModelDeployment.",
            (*MODEL, "type", "status", "reason"),
            registry=self.registry,
        )
        self._shown: dict[tuple[str, str], dict[_Sample, float]] = {}

    def show(self, namespace: str, model: str, status: Status) -> None:
        """Bring the gauges of one ModelDeployment up to date; only what differs is touched."""
        now = {(gauge, (namespace, model, *labels)): value for gauge, labels, value in self._samples(status)}
        self._bring(namespace, model, now)

    def _bring(self, namespace: str, model: str, now: dict[_Sample, float]) -> None:
        before = self._shown.get((namespace, model), {})
        for gauge, labels in before.keys() - now.keys():
            gauge.remove(*labels)
        for (gauge, labels), value in now.items():
            if before.get((gauge, labels)) != value:
                gauge.labels(*labels).set(value)
        self._shown[namespace, model] = now

    def show_conditions(self, namespace: str, model: str, conditions: Iterable[Mapping[str, Any]]) -> None:
        """Of a ModelDeployment whose spec or status can't be read: everything else stays as it was last shown."""
        before = self._shown.get((namespace, model), {})
        now = {sample: value for sample, value in before.items() if sample[0] is not self.condition}
        for each in conditions:
            labels = tuple(str(each.get(name, "")) for name in ("type", "status", "reason"))
            now[self.condition, (namespace, model, *labels)] = 1.0
        self._bring(namespace, model, now)

    def _samples(self, status: Status) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
        """Gauge, labels after those of the model, and value."""
        for phase in PHASES:
            yield self.phase, (phase,), float(status.phase == phase)
        for target in status.traffic:
            yield self.weight, (target.revision, target.role), target.weight
        for role, ref in (("stable", status.stable), ("candidate", status.candidate)):
            if ref:
                yield self.revision_info, (ref.revision, role, ref.version), 1.0
        for condition in status.conditions:
            yield self.condition, (condition.type, condition.status, condition.reason), 1.0
        if status.rollout:
            evidence = status.rollout.evidence
            yield self.log_e, ("combined",), evidence.logHarm
            for signal in evidence.signals:
                yield self.log_e, (signal.name,), signal.logHarm
                yield self.log_e, (f"{signal.name}_safe",), signal.logSafe

    def count_foreign(self, namespace: str, model: str, foreign: Foreign | None) -> None:
        """Count what was left out of one reading, by why; None: nothing was read."""
        for why, count in (foreign.series if foreign else {}).items():
            self.foreign.labels(namespace, model, why).inc(count)

    def forget(self, namespace: str, model: str) -> None:
        """Drop all samples of one ModelDeployment."""
        for gauge, labels in self._shown.pop((namespace, model), {}):
            gauge.remove(*labels)
        for counter in (self.rollbacks, self.foreign):
            counter.remove_by_labels({contract.NAMESPACE: namespace, contract.MODEL: model})

    def forget_all(self) -> None:
        """Of all: another replica leads now."""
        for namespace, model in list(self._shown):
            self.forget(namespace, model)
