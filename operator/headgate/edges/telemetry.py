"""The operator's own metrics, and its health: what it did, how long it took, and whether it still does it.

Served on one port: `/metrics`, `/healthz` (alive), `/readyz` (leading, or waiting to).
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from headgate.api.status import PHASES, Status

MODEL = ("headgate_namespace", "headgate_model")


@dataclass(frozen=True)
class Health:
    """What a probe gets: whether it is well, and why not."""

    well: bool
    detail: str = "ok"


class Telemetry:
    """All metrics of the operator, in one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.leading = Gauge("headgate_leading", "Whether this replica decides.", registry=self.registry)
        self.queue_depth = Gauge("headgate_queue_depth", "Keys that wait for a look.", registry=self.registry)
        self.resync_age = Gauge("headgate_resync_age_seconds", "Age of the last full list.", registry=self.registry)
        self.reconciled_at = Gauge(
            "headgate_reconciled_timestamp_seconds", "When a look last succeeded.", registry=self.registry
        )
        self.missed = Counter(
            "headgate_watch_missed",
            "Changes that a list has found and the watch had not told.",
            ("resource",),
            registry=self.registry,
        )
        self.decision_seconds = Histogram(
            "headgate_decision_seconds", "Time of one look at a ModelDeployment.", registry=self.registry
        )
        self.failures = Counter(
            "headgate_reconcile_failures_total", "Looks that failed.", ("reason",), registry=self.registry
        )
        self.rollbacks = Counter("headgate_rollbacks_total", "Rollbacks.", (*MODEL, "reason"), registry=self.registry)
        self.phase = Gauge(
            "headgate_rollout_phase", "1 for the current phase.", (*MODEL, "phase"), registry=self.registry
        )
        self.weight = Gauge(
            "headgate_traffic_weight",
            "Weight in percent.",
            (*MODEL, "headgate_revision", "role"),
            registry=self.registry,
        )
        self.log_e = Gauge(
            "headgate_evidence_log_e", "ln of the e-value of each test.", (*MODEL, "test"), registry=self.registry
        )
        self.revision_info = Gauge(
            "headgate_revision_info",
            "1 for each revision in a role.",
            (*MODEL, "headgate_revision", "role", "version"),
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

    def _bring(self, namespace: str, model: str, now: "dict[_Sample, float]") -> None:
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

    def forget(self, namespace: str, model: str) -> None:
        """Drop everything that is told of one ModelDeployment."""
        for gauge, labels in self._shown.pop((namespace, model), {}):
            gauge.remove(*labels)
        self.rollbacks.remove_by_labels({"headgate_namespace": namespace, "headgate_model": model})

    def forget_all(self) -> None:
        """Of all: another replica tells now."""
        for namespace, model in list(self._shown):
            self.forget(namespace, model)


_Sample = tuple[Gauge, tuple[str, ...]]


class HealthServer:
    """A few lines of HTTP, so that the operator needs no web framework."""

    def __init__(self, telemetry: Telemetry, healthy: Callable[[], Health], ready: Callable[[], Health]) -> None:
        self._telemetry = telemetry
        self._probes = {"/healthz": healthy, "/readyz": ready}
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        """Listen on all addresses."""
        self._server = await asyncio.start_server(self._serve, port=port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a path."""
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4", generate_latest(self._telemetry.registry)
        if probe := self._probes.get(path):
            health = probe()
            return (200 if health.well else 503), "application/json", json.dumps(health.__dict__).encode()
        return 404, "text/plain", b"not found\n"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = await reader.readline()
                while (await reader.readline()).strip():
                    pass
                words = request.decode("latin-1").split()
                status, kind, body = self.answer(words[1].split("?")[0] if len(words) > 1 else "")
                head = (
                    f"HTTP/1.1 {status} -",
                    f"Content-Type: {kind}",
                    f"Content-Length: {len(body)}",
                    "Connection: close",
                )
                writer.write("\r\n".join((*head, "", "")).encode() + body)
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
