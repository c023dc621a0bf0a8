"""Gathers one Observation: the object, what belongs to it, its metrics. Called by `reconcile`; decides nothing.

Only what a decision may need is read here, within a few seconds; what may come later is in `background`.
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import ValidationError

from headgate.api import REVISION_LABEL
from headgate.api.quantities import seconds
from headgate.api.revision import RevisionSpec, RevisionStatus
from headgate.api.rules import eighths_waited_for
from headgate.api.spec import Spec, Traffic
from headgate.api.status import Rollout, Status
from headgate.core import shadow
from headgate.core.children import workload_of
from headgate.core.manifests.runtime import REVISION_COPY
from headgate.core.metrics import SERIES, Comparison, metrics_from
from headgate.core.model import Blind, Defaults, Fresh, Metrics, Observation, Quiet, RevisionView, Workload
from headgate.core.pairs import PAIR_SERIES, pairs_from
from headgate.core.past import HISTORY_SECONDS, PAST_SERIES, before, slow_before
from headgate.core.times import seconds_since
from headgate.edges.prometheus import MetricsSource
from headgate.errors import MetricsError

log = logging.getLogger("headgate.observe")

Object = Mapping[str, Any]

METRICS_SECONDS = 6.0
"""For all questions to Prometheus of one look together."""

_USES_METRICS = frozenset({"Pending", "Shadow", "Canary", "Promoting", "Soaking"})


@dataclass(frozen=True)
class Children:
    """What belongs to one ModelDeployment, as the API server gives it."""

    deployments: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    revisions: Sequence[Object] = ()


class ChildSource(Protocol):
    """Where children are read from: the informer, or a dictionary in tests."""

    def children(self, namespace: str, model: str) -> Children:
        """All children of one ModelDeployment."""


@dataclass(frozen=True)
class Observer:
    """Reads what `decide` needs."""

    metrics: MetricsSource
    defaults: Defaults
    stale_after: float

    async def observe(self, raw: Object, found: Children) -> Observation:
        """The Observation of a ModelDeployment. Raises pydantic's ValidationError for what can't be read."""
        meta = raw["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        spec, status = Spec.model_validate(raw["spec"]), Status.model_validate(raw.get("status") or {})
        workloads = _workloads(found)
        return Observation(
            namespace=namespace,
            name=name,
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            spec=spec,
            status=status,
            defaults=self.defaults,
            revisions={v.name: v for v in _readable(found.revisions)},
            workloads=workloads,
            router=_router(found, name),
            metrics=await self._metrics(meta, spec, status, workloads),
        )

    async def _metrics(self, meta: Object, spec: Spec, status: Status, workloads: Mapping[str, Workload]) -> Metrics:
        rollout, stable = status.rollout, status.stable
        if rollout is None or stable is None or rollout.phase not in _USES_METRICS:
            return Quiet()
        if rollout.phase == "Pending" and not workloads.get(rollout.revision, Workload()).rolled_out:
            return Quiet()
        labels = {
            "headgate_namespace": meta["namespace"],
            "headgate_model": meta["name"],
            "headgate_revision": f"{stable.revision}|{rollout.revision}",
        }
        try:
            async with asyncio.timeout(METRICS_SECONDS):
                now = await self.metrics.now()
                if shadow.compares_pairs(spec, rollout):
                    return await self._pairs(labels, now, stable.revision, rollout)
                # What another object of this name did is not the history of this one.
                age = (
                    seconds_since(meta["creationTimestamp"], now) if meta.get("creationTimestamp") else HISTORY_SECONDS
                )
                look_back = min(HISTORY_SECONDS, max(1.0, age))
                return await self._attempts(labels, now, spec, stable.revision, rollout, look_back)
        except MetricsError as error:
            return Blind(str(error))
        except TimeoutError:
            return Blind(f"Prometheus did not answer within {METRICS_SECONDS:g} seconds.")

    async def _attempts(
        self, labels: Mapping[str, str], now: float, spec: Spec, stable: str, rollout: Rollout, look_back: float
    ) -> Metrics:
        """What both versions have answered since the last look; before the first one, also what stable did before."""
        slow_after = seconds(spec.rollout.latency.threshold) if spec.rollout.latency else None
        who = Comparison(stable, rollout.revision, patience_of(spec.traffic), slow_after)
        cursor = None if rollout.phase == "Shadow" else rollout.cursor
        begins = cursor is None and (rollout.phase == "Shadow" or not spec.rollout.shadow)
        current = self.metrics.samples(SERIES, labels, now, cursor)
        if not begins:
            return metrics_from(await current, now, cursor, who, self.stale_after)
        of_stable = {**labels, "headgate_revision": stable}
        series, past = await asyncio.gather(current, self.metrics.samples(PAST_SERIES, of_stable, now, None, look_back))
        found = metrics_from(series, now, cursor, who, self.stale_after)
        if not isinstance(found, Fresh):
            return found
        slow = found.slow and replace(found.slow, before=slow_before(past, found.cursor, who, found.slow.edge))
        return replace(found, before=before(past, found.cursor, who), slow=slow)

    async def _pairs(self, labels: Mapping[str, str], now: float, stable: str, rollout: Rollout) -> Metrics:
        """What a shadow has shown since the last look."""
        series = await self.metrics.samples(PAIR_SERIES, labels, now, rollout.cursor)
        return pairs_from(series, now, rollout.cursor, stable, rollout.revision, self.stale_after)


def patience_of(traffic: Traffic) -> float | None:
    """Seconds after which the router has stable rescue a candidate's request; None where it doesn't."""
    return seconds(traffic.timeout) * eighths_waited_for(traffic) / 8 if traffic.retryOnStable else None


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


def revision_view(raw: Object) -> RevisionView:
    """A ModelRevision, as the API server gives it. Raises pydantic's ValidationError."""
    return RevisionView(
        name=raw["metadata"]["name"],
        spec=RevisionSpec.model_validate(raw["spec"]),
        status=RevisionStatus.model_validate(raw.get("status") or {}),
        created=raw["metadata"].get("creationTimestamp") or "",
    )


def revision_kept_on(deployment: Object) -> RevisionView | None:
    """The ModelRevision that a Deployment was made of, from the copy in its annotation; None without a usable one."""
    kept = (deployment["metadata"].get("annotations") or {}).get(REVISION_COPY)
    if not kept:
        return None
    try:
        copy = json.loads(kept)
        spec, status = RevisionSpec.model_validate(copy["spec"]), RevisionStatus.model_validate(copy["status"])
    except (ValueError, KeyError, TypeError):  # somebody has edited it
        return None
    return RevisionView(name=deployment["metadata"]["name"], spec=spec, status=status, recorded=False)


def _readable(revisions: Iterable[Object]) -> Iterator[RevisionView]:
    """Those that this version can read: an old record that nobody needs must not hold up anything."""
    for raw in revisions:
        try:
            yield revision_view(raw)
        except ValidationError as error:
            log.debug("ModelRevision %s can't be read: %s", raw["metadata"]["name"], error)
