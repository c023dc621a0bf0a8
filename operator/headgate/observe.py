"""Gathers one Observation: the object, what belongs to it, its metrics. Called by `reconcile`; decides nothing."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from headgate.api import REVISION_LABEL
from headgate.api.quantities import seconds
from headgate.api.revision import RevisionSpec, RevisionStatus
from headgate.api.rules import eighths_waited_for
from headgate.api.spec import Spec, Traffic
from headgate.api.status import Rollout, Status
from headgate.core import shadow
from headgate.core.children import workload_of
from headgate.core.evidence.drift import FeatureDrift, follow
from headgate.core.evidence.history import SPAN, STEP, blocks_of
from headgate.core.following import FOLLOWING_SERIES, released
from headgate.core.following import LOOK_BACK as FOLLOWING_LOOK_BACK
from headgate.core.metrics import SERIES, Comparison, metrics_from
from headgate.core.model import Blind, Defaults, Drift, Fresh, Metrics, Observation, Quiet, RevisionView, Workload
from headgate.core.pairs import PAIR_SERIES, pairs_from
from headgate.core.past import HISTORY_SECONDS, PAST_SERIES, before, slow_before
from headgate.edges.prometheus import MetricsSource
from headgate.errors import MetricsError

Object = Mapping[str, Any]

_USES_METRICS = frozenset({"Pending", "Shadow", "Canary", "Promoting", "Soaking"})


@dataclass(frozen=True)
class Children:
    """What belongs to one ModelDeployment, as the API server gives it."""

    deployments: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    revisions: Sequence[Object] = ()


class ChildSource(Protocol):
    """Where children are read from: kopf's indices, or a dictionary in tests."""

    def children(self, namespace: str, model: str) -> Children:
        """All children of one ModelDeployment."""


@dataclass(frozen=True)
class Observer:
    """Reads what `decide` needs."""

    children: ChildSource
    metrics: MetricsSource
    defaults: Defaults
    stale_after: float
    clock: Callable[[], float] = time.time

    async def observe(self, raw: Object, with_drift: bool) -> Observation:
        """The Observation of a ModelDeployment. Raises pydantic's ValidationError for what can't be read."""
        meta = raw["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        spec, status = Spec.model_validate(raw["spec"]), Status.model_validate(raw.get("status") or {})
        found = self.children.children(namespace, name)
        workloads = _workloads(found)
        return Observation(
            namespace=namespace,
            name=name,
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            spec=spec,
            status=status,
            defaults=self.defaults,
            revisions={v.name: v for v in map(_revision, found.revisions)},
            workloads=workloads,
            router=_router(found, name),
            metrics=await self._metrics(namespace, name, spec, status, workloads),
            drift=await self._drift(namespace, name, spec, status) if with_drift else None,
            released=await self._released(namespace, name, status, found),
        )

    async def _metrics(
        self, namespace: str, name: str, spec: Spec, status: Status, workloads: Mapping[str, Workload]
    ) -> Metrics:
        rollout, stable = status.rollout, status.stable
        if rollout is None or stable is None or rollout.phase not in _USES_METRICS:
            return Quiet()
        if rollout.phase == "Pending" and not workloads.get(rollout.revision, Workload()).rolled_out:
            return Quiet()
        if shadow.compares_pairs(spec, rollout):
            return await self._pairs(namespace, name, stable.revision, rollout)
        labels = {
            "headgate_namespace": namespace,
            "headgate_model": name,
            "headgate_revision": f"{stable.revision}|{rollout.revision}",
        }
        patience = patience_of(spec.traffic)
        slow_after = seconds(spec.rollout.latency.threshold) if spec.rollout.latency else None
        who = Comparison(stable.revision, rollout.revision, patience, slow_after)
        cursor = None if rollout.phase == "Shadow" else rollout.cursor
        before_canary = rollout.phase == "Shadow" or not spec.rollout.shadow
        try:
            read = await self.metrics.samples(SERIES, labels, cursor)
            found = metrics_from(read.series, read.now, cursor, who, self.stale_after)
            if cursor is not None or not isinstance(found, Fresh) or not before_canary:
                return found
            past = await self.metrics.samples(
                PAST_SERIES, {**labels, "headgate_revision": stable.revision}, None, HISTORY_SECONDS
            )
        except MetricsError as error:
            return Blind(str(error))
        slow = found.slow and replace(found.slow, before=slow_before(past.series, found.cursor, who, found.slow.edge))
        return replace(found, before=before(past.series, found.cursor, who), slow=slow)

    async def _released(self, namespace: str, name: str, status: Status, found: Children) -> frozenset[str]:
        if not status.retiring:
            return frozenset()
        labels = {"headgate_namespace": namespace, "headgate_model": name}
        routers = [
            pod["metadata"]["name"]
            for pod in found.pods
            if not _label(pod, REVISION_LABEL) and (pod.get("status") or {}).get("phase") == "Running"
        ]
        try:
            read = await self.metrics.samples(FOLLOWING_SERIES, labels, None, FOLLOWING_LOOK_BACK)
        except MetricsError:
            return frozenset()
        return released(status.retiring, routers, read.series, read.now - self.clock())

    async def _pairs(self, namespace: str, name: str, stable: str, rollout: Rollout) -> Metrics:
        """What a shadow has shown since the last look."""
        candidate = rollout.revision
        labels = {
            "headgate_namespace": namespace,
            "headgate_model": name,
            "headgate_revision": f"{stable}|{candidate}",
        }
        try:
            read = await self.metrics.samples(PAIR_SERIES, labels, rollout.cursor)
        except MetricsError as error:
            return Blind(str(error))
        return pairs_from(read.series, read.now, rollout.cursor, stable, candidate, self.stale_after)

    async def _drift(self, namespace: str, name: str, spec: Spec, status: Status) -> Drift | None:
        if status.stable is None:
            return None
        labels = {
            "headgate_namespace": namespace,
            "headgate_model": name,
            "headgate_revision": status.stable.revision,
        }
        try:
            reference = await self.metrics.totals("headgate_feature_reference", labels, ("feature", "bin", "layout"))
            if not reference:
                return Drift()
            layouts = "|".join(sorted({layout for _, _, layout in reference}))
            live = await self.metrics.history("headgate_feature_bin_total", {**labels, "layout": layouts}, SPAN, STEP)
        except MetricsError:
            return None
        return Drift(tuple(_features(blocks_of(live), reference, spec.monitoring.drift.tolerance)))


def patience_of(traffic: Traffic) -> float | None:
    """Seconds after which the router has stable rescue a candidate's request; None where it doesn't."""
    return seconds(traffic.timeout) * eighths_waited_for(traffic) / 8 if traffic.retryOnStable else None


def _features(
    live: Mapping[tuple[str, str], Sequence[Mapping[str, float]]],
    reference: Mapping[tuple[str, ...], float],
    tolerance: float,
) -> list[FeatureDrift]:
    features: dict[tuple[str, str], dict[str, float]] = {}
    for (feature, bin_, layout), count in reference.items():
        features.setdefault((feature, layout), {})[bin_] = count
    return [
        follow(feature, live.get((feature, layout), ()), bins, tolerance, len(features))
        for (feature, layout), bins in sorted(features.items())
    ]


def _workloads(found: Children) -> dict[str, Workload]:
    return {
        revision: workload_of(deployment, [p for p in found.pods if _label(p, REVISION_LABEL) == revision])
        for deployment in found.deployments
        if (revision := _label(deployment, REVISION_LABEL))
    }


def _router(found: Children, name: str) -> Workload:
    deployment = next((d for d in found.deployments if d["metadata"]["name"] == f"{name}-router"), None)
    return workload_of(deployment, [p for p in found.pods if not _label(p, REVISION_LABEL)])


def _label(obj: Object, label: str) -> str:
    return str((obj["metadata"].get("labels") or {}).get(label, ""))


def _revision(raw: Object) -> RevisionView:
    return RevisionView(
        name=raw["metadata"]["name"],
        spec=RevisionSpec.model_validate(raw["spec"]),
        status=RevisionStatus.model_validate(raw.get("status") or {}),
        created=raw["metadata"].get("creationTimestamp") or "",
    )
