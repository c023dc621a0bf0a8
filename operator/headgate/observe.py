"""Gathers one Observation: the object, what belongs to it, its metrics. Called by `reconcile`; decides nothing.

Only what a decision may need is read here, within a few seconds; what may come later is in `background`.
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from pydantic import ValidationError

from headgate.api import contract
from headgate.api.revision import RevisionSpec, RevisionStatus
from headgate.api.spec import Spec
from headgate.api.status import Rollout, Status
from headgate.core import phases, preflight, readings
from headgate.core.children import component_of, revision_of, workload_of
from headgate.core.commands import commands_of
from headgate.core.dataplane import DataPlane, Read
from headgate.core.model import (
    Defaults,
    Foreign,
    Metrics,
    MetricsUnavailable,
    NewSamples,
    NoNewSamples,
    Observation,
    Reading,
    RevisionView,
    Workload,
)
from headgate.core.provenance import ModelPods, pods_of, sift
from headgate.core.revision_pods import REVISION_COPY
from headgate.core.signals import SIGNALS, user_signals
from headgate.core.signals.latency import slow_after
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import TARGET_NAMESPACE, Series
from headgate.core.times import seconds_since
from headgate.edges.prometheus import LOOK_BACK, MetricsSource
from headgate.edges.promql import AnyOf, Labels
from headgate.errors import MetricsError, TooMuchData
from headgate.known_pods import KnownPods
from headgate.pages import PAGE_SECONDS, next_page
from headgate.queue import Key
from headgate.shares import Ask, Share, TooLarge, read_in_shares
from headgate.user_signals import UserSignals

log = logging.getLogger("headgate.observe")

Object = Mapping[str, Any]

METRICS_SECONDS = 6.0
"""For all queries of one reconciliation together."""

SPARE_SECONDS = 1.0
"""Of those that must be left when what a rollout can be judged without is read in shares: else it is left out."""

SHARED_SECONDS = 75.0
"""Of samples that may be read in shares. Where more are too much a shorter time is read first."""

SETTLED_SECONDS = 3.0
"""So old are the newest samples that are read in shares: one scrape writes several series at about the same time, and
all questions have to see it, or none."""

HISTORY_SECONDS = 1800.0
"""Of stable before the rollout: long enough for a few hundred bad answers of a busy model and for rare bursts to show;
short enough to be like what comes next, and to be read in one answer of a few megabytes."""


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
    plane: DataPlane
    defaults: Defaults
    stale_after: float
    known: KnownPods = field(default_factory=KnownPods)
    too_large: TooLarge = field(default_factory=TooLarge)
    user_signals: UserSignals = field(default_factory=UserSignals)

    async def observe(self, raw: Object, children: Children) -> Observation:
        """The Observation of a ModelDeployment. Raises pydantic's ValidationError for what can't be read."""
        meta = raw["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        spec, status = Spec.model_validate(raw["spec"]), Status.read(raw.get("status") or {})
        workloads = _workloads(children)
        own = self.known.seen(Key(namespace, name), pods_of(name, children.deployments, children.pods, self.plane))
        metrics, foreign = await self._metrics(meta, spec, status, workloads, own)
        return Observation(
            namespace=namespace,
            name=name,
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            spec=spec,
            status=status,
            defaults=self.defaults,
            commands=commands_of(name, spec),
            revisions={v.name: v for v in _readable(children.revisions)},
            workloads=workloads,
            router=self.plane.workload(name, children.deployments, _of_routers(children.pods)),
            preflight=preflight.reported(status.rollout, children.pods) if phases.is_looked_at(status) else None,
            metrics=metrics,
            foreign=foreign,
            capabilities=self.plane.capabilities,
        )

    async def _metrics(
        self, meta: Object, spec: Spec, status: Status, workloads: Mapping[str, Workload], own: ModelPods
    ) -> tuple[Metrics, Foreign | None]:
        """What the rollout's phase needs to see, and what was left out of it (None: nothing was read)."""
        rollout, stable = status.rollout, status.stable
        if rollout is None or stable is None:
            return NoNewSamples(), None
        reading = phases.needed_reading(spec, status, workloads.get(rollout.revision, Workload()))
        if reading is Reading.NOTHING:
            return NoNewSamples(), None
        compared = self.plane.compared(spec, stable.revision, rollout.revision)
        spare = asyncio.get_running_loop().time() + METRICS_SECONDS - SPARE_SECONDS
        source = _OwnSeries(self.metrics, self.plane, own, spare, self.too_large)
        try:
            async with asyncio.timeout(METRICS_SECONDS):
                found = await self._samples(source, meta, spec, reading, compared, rollout)
        except MetricsError as error:
            return MetricsUnavailable(str(error)), None
        except TimeoutError:
            return MetricsUnavailable(f"Prometheus did not answer within {METRICS_SECONDS:g} seconds."), None
        found = _without_unread(found, source.left_out)
        return await self._with_user_signals(found, meta["namespace"], spec, rollout, compared), source.foreign

    async def _with_user_signals(
        self, found: Metrics, namespace: str, spec: Spec, rollout: Rollout, compared: Comparison
    ) -> Metrics:
        """What the user's own queries say at the time up to which everything else was read."""
        if not isinstance(found, NewSamples) or found.reading is Reading.PAIRS:
            return found
        alone = not phases.phase_of(rollout).stable_serves
        wanted = [signal for signal in user_signals(spec) if not (alone and signal.about_stable)]
        asked = await self.user_signals.ask(wanted, namespace, compared, found.cursor) if wanted else {}
        return replace(found, blocks={**found.blocks, **asked})

    async def _samples(
        self,
        source: "_OwnSeries",
        meta: Object,
        spec: Spec,
        reading: Reading,
        compared: Comparison,
        rollout: Rollout,
    ) -> Metrics:
        now = await self.metrics.now()
        compared = replace(compared, slow_after=slow_after(spec, rollout.evidence))
        both: Labels = {
            **labels_of(Key(meta["namespace"], meta["name"])),
            contract.REVISION: AnyOf((compared.stable, compared.candidate)),
        }
        names = (*self.plane.comparison_series, *(name for signal in SIGNALS for name in signal.series))
        if reading is not Reading.OPENING:
            read_by, names = (
                (self.plane.read_pairs, self.plane.pair_series)
                if reading is Reading.PAIRS
                else (self.plane.read, names)
            )
            page = await next_page(
                partial(source.samples, names, both),
                lambda series, until, since: read_by(series, until, since, compared, self.stale_after),
                now,
                rollout.cursor,
            )
            return readings.new_samples(page.result, reading, None, page.uncounted_since, last=page.last)
        # What another object of this name did is not the history of this one.
        created = meta.get("creationTimestamp")
        age = seconds_since(created, now) if created else HISTORY_SECONDS
        of_stable: Labels = {**both, contract.REVISION: compared.stable}
        series, before = await asyncio.gather(
            source.samples(names, both, now, None),
            self._before(source, of_stable, now, min(HISTORY_SECONDS, max(1.0, age))),
        )
        read = self.plane.read(series, now, None, compared, self.stale_after)
        if not isinstance(read, Read):
            return readings.new_samples(read, reading, None)
        history = self.plane.history(before, read.cursor, compared)
        compared = replace(compared, slow_after=slow_after(spec, rollout.evidence, history))
        return readings.new_samples(replace(read, samples=replace(read.samples, compared=compared)), reading, history)

    async def _before(self, source: "_OwnSeries", of_stable: Labels, now: float, seconds: float) -> tuple[Series, ...]:
        """Stable's series of the last `seconds`; of the last few minutes where that is too much to read."""
        for span in (seconds, min(seconds, PAGE_SECONDS)):
            with suppress(TooMuchData):
                return await source.samples(self.plane.history_series, of_stable, now, None, span)
        return await source.samples(self.plane.history_series, of_stable, now, None, min(seconds, LOOK_BACK))


@dataclass
class _OwnSeries:
    """The series of one model's own pods; whatever else has its labels is left out, and counted."""

    metrics: MetricsSource
    plane: DataPlane
    own: ModelPods
    spare: float
    """Until when there is time for what is needed less, by the event loop's clock."""
    too_large: TooLarge
    foreign: Foreign = field(default_factory=Foreign)
    left_out: frozenset[str] = frozenset()
    """Names of series that were too much even in shares."""

    async def samples(
        self, names: tuple[str, ...], labels: Labels, now: float, since: float | None, look_back: float = LOOK_BACK
    ) -> tuple[Series, ...]:
        """As `MetricsSource.samples`. Of a short time what is too much for one answer is read in shares."""

        async def ask(share: Share, until: float = now - SETTLED_SECONDS) -> tuple[Series, ...]:
            found = await self.metrics.samples(share.names, share.labels, until, since, look_back)
            kept, foreign = sift(found, self.own, self.plane, until)
            self.foreign += foreign
            return kept

        self.left_out -= set(names)
        whole, is_short = Share(names, labels), (look_back if since is None else now - since) <= SHARED_SECONDS
        if not (is_short and whole in self.too_large):
            try:
                return await ask(whole, now)
            except TooMuchData:
                if not is_short:
                    raise
                self.too_large.add(whole)
        more = tuple(name for name in names if name in _OF_SIGNALS)
        needed = Share(tuple(name for name in names if name not in more), labels)
        found = await read_in_shares(ask, needed, self.own, self.too_large)
        return (*found, *(await self._less_needed(ask, Share(more, labels)) if more else ()))

    async def _less_needed(self, ask: Ask, share: Share) -> tuple[Series, ...]:
        """All of a share or nothing: of one version alone it would say what is not so."""
        try:
            async with asyncio.timeout_at(self.spare):
                return await read_in_shares(ask, share, self.own, self.too_large)
        except (TooMuchData, TimeoutError):
            self.left_out |= set(share.names)
            return ()


_OF_SIGNALS = frozenset(name for signal in SIGNALS for name in signal.series)
"""What data planes count is needed to see whether a candidate fails; these are not."""


def _without_unread(found: Metrics, left_out: frozenset[str]) -> Metrics:
    """Signals know which of them could not be read."""
    if not isinstance(found, NewSamples):
        return found
    unread = {s.name: s.unread() for s in SIGNALS if left_out.intersection(s.series) and s.name in found.blocks}
    return replace(found, blocks={**found.blocks, **unread}) if unread else found


def labels_of(key: Key) -> Labels:
    """Labels of a model's series: what the scraper says of where they are from, and what they say themselves."""
    return {TARGET_NAMESPACE: key.namespace, contract.NAMESPACE: key.namespace, contract.MODEL: key.name}


def _workloads(children: Children) -> dict[str, Workload]:
    return {
        revision: workload_of(deployment, [p for p in children.pods if revision_of(p) == revision])
        for deployment in children.deployments
        if (revision := revision_of(deployment))
    }


def _of_routers(pods: Iterable[Object]) -> list[Object]:
    return [pod for pod in pods if not revision_of(pod) and component_of(pod) != contract.PREFLIGHT_COMPONENT]


def revision_view(raw: Object) -> RevisionView:
    """A ModelRevision, as the API server gives it. Raises pydantic's ValidationError."""
    return RevisionView(
        name=raw["metadata"]["name"],
        spec=RevisionSpec.model_validate(raw["spec"]),
        status=RevisionStatus.read(raw.get("status") or {}),
        created=raw["metadata"].get("creationTimestamp") or "",
    )


def revision_kept_on(deployment: Object) -> RevisionView | None:
    """The ModelRevision that a Deployment was made of, from the copy in its annotation; None without a usable one."""
    kept = (deployment["metadata"].get("annotations") or {}).get(REVISION_COPY)
    if not kept:
        return None
    try:
        copy = json.loads(kept)
        spec, status = RevisionSpec.model_validate(copy["spec"]), RevisionStatus.read(copy["status"])
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
