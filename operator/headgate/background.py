"""Readings that decide nothing and may take long: how far inputs have drifted, and which retired pods can go.

`reconcile` takes the newest ones into its Observation and asks for new ones after it has acted, so no decision waits
for them. At most one reading of a model and a few of all models run at a time. Nothing here outlives the leader.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headgate.api import contract
from headgate.api.spec import Spec
from headgate.api.status import Retiring, Status
from headgate.core.dataplane import DataPlane
from headgate.core.model import Drift, Foreign
from headgate.core.provenance import ModelPods, sift
from headgate.core.statistics.counters import TARGET_POD, Series
from headgate.core.statistics.drift import FeatureDrift, follow
from headgate.core.statistics.history import SPAN, STEP, blocks_of
from headgate.edges.prometheus import MetricsSource
from headgate.edges.promql import AnyOf, Labels, StartsWith
from headgate.errors import MetricsError
from headgate.known_pods import KnownPods
from headgate.observe import Object, labels_of
from headgate.queue import Key

log = logging.getLogger("headgate.background")

DRIFT_EVERY = 15.0
"""Seconds between two readings of the drift of one model's inputs."""

READING_SECONDS = 30.0
"""Seconds for one reading, whatever Prometheus does."""

RELEASE_SECONDS = 180.0
"""How far back routers are asked which revisions they route to; one that is scraped more seldom keeps its pods."""

_LAYOUT = re.compile("[0-9a-f]{12}")
"""What `layout` of a profile looks like; anything else is no layout."""

AT_A_TIME = 4
"""Readings of all models."""


@dataclass(frozen=True)
class Readings:
    """The newest that is known of one model."""

    drift: Drift | None = None
    """None: not read since the last reconciliation."""
    released: frozenset[str] = frozenset()
    """Retiring revisions that no router sends requests to any more."""
    foreign: Foreign | None = None
    """What was left out of what routers say; None: not read since the last reconciliation."""


@dataclass
class _Known:
    drift: Drift | None = None
    drift_of: str = ""
    drift_at: float = -DRIFT_EVERY
    drifted: tuple[str, ...] | None = None
    """Features, at the reading before."""
    foreign: Foreign | None = None
    released: frozenset[tuple[str, str]] = frozenset()
    """Revisions with the time since when they retire: one that was in use again retires anew."""
    reading: "asyncio.Task[None] | None" = None


@dataclass
class BackgroundReadings:
    """The newest readings of all models."""

    metrics: MetricsSource
    plane: DataPlane
    on_news: Callable[[Key], None]
    """Called with each model of which there is something new."""
    clock: Callable[[], float] = time.time
    known: KnownPods = field(default_factory=KnownPods)
    _known: dict[Key, _Known] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_TIME))

    def newest(self, key: Key, status: Status) -> Readings:
        """The newest readings of a model with this status. Each drift is returned once."""
        state = self._known.get(key)
        if state is None:
            return Readings()
        drift, state.drift = state.drift, None
        foreign, state.foreign = state.foreign, None
        current = drift if status.stable and status.stable.revision == state.drift_of else None
        gone = frozenset(r.revision for r in status.retiring if (r.revision, r.since) in state.released)
        return Readings(current, gone, foreign)

    def refresh(self, key: Key, spec: Spec, status: Status, pods: Sequence[Object]) -> None:
        """Read anew what this status needs, unless that is being done or was done a moment ago."""
        state = self._known.setdefault(key, _Known())
        if state.reading and not state.reading.done():
            return
        with_drift = status.stable is not None and self.clock() - state.drift_at >= DRIFT_EVERY
        if status.retiring or with_drift:
            own = self.known.seen(key, ModelPods(self.plane.pods(key.name, pods)))
            routers = _Routers(own, self._running(key, pods))
            state.reading = asyncio.create_task(self._read(key, state, spec, status, routers, with_drift))

    def forget(self, key: Key) -> None:
        """The model is gone."""
        state = self._known.pop(key, None)
        if state and state.reading:
            state.reading.cancel()

    async def settled(self) -> None:
        """Wait for the end of all readings that run."""
        running = [state.reading for state in self._known.values() if state.reading]
        await asyncio.gather(*running, return_exceptions=True)

    async def close(self) -> None:
        """Cancel everything."""
        for key in list(self._known):
            self.forget(key)

    async def _read(
        self, key: Key, state: _Known, spec: Spec, status: Status, routers: "_Routers", with_drift: bool
    ) -> None:
        try:
            async with self._slots, asyncio.timeout(READING_SECONDS):
                if status.retiring and await self._read_released(key, state, status.retiring, routers):
                    self.on_news(key)
                if with_drift and status.stable:
                    state.drift_at, state.drift_of = self.clock(), status.stable.revision
                    state.drift = await self._drift(key, state.drift_of, spec.monitoring.drift.tolerance)
                    before, state.drifted = state.drifted, tuple(f.feature for f in state.drift.features if f.drifted)
                    if state.drifted != before:
                        self.on_news(key)
        except (MetricsError, TimeoutError) as error:
            log.debug("%s/%s: %s", *key, error)
        except Exception:
            log.exception("%s/%s: unhandled error in a background reading", *key)

    def _running(self, key: Key, pods: Sequence[Object]) -> list[str]:
        running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
        return sorted(self.plane.pods(key.name, running))

    async def _read_released(self, key: Key, state: _Known, retiring: Sequence[Retiring], routers: "_Routers") -> bool:
        """Whether more is released than was known."""
        now = await self.metrics.now()
        found = await self.metrics.samples(self.plane.release_series, labels_of(key), now, None, RELEASE_SECONDS)
        series, state.foreign = sift(found, routers.known, self.plane, now)
        released = self.plane.released(retiring, routers.running, series, now - self.clock())
        before, state.released = (
            state.released,
            frozenset((r.revision, r.since) for r in retiring if r.revision in released),
        )
        return bool(state.released - before)

    async def _drift(self, key: Key, stable: str, tolerance: float) -> Drift:
        # Pods of the last day are too many to name: those of a ReplicaSet begin with the name of the Deployment.
        labels: Labels = {**labels_of(key), contract.REVISION: stable, TARGET_POD: StartsWith(f"{stable}-")}
        told = await self.metrics.totals(contract.FEATURE_REFERENCE, labels, ("feature", "bin", "layout"))
        reference = {of: count for of, count in told.items() if _LAYOUT.fullmatch(of[2])}
        if not reference:
            return Drift()
        layouts = AnyOf(tuple(sorted({layout for _, _, layout in reference})))
        live = await self.metrics.history(contract.FEATURES, {**labels, "layout": layouts}, SPAN, STEP)
        return Drift(tuple(_features(live, reference, tolerance)))


def _features(
    live: Sequence[Series], reference: Mapping[tuple[str, ...], float], tolerance: float
) -> list[FeatureDrift]:
    blocks = blocks_of(live)
    features: dict[tuple[str, str], dict[str, float]] = {}
    for (feature, bin_, layout), count in reference.items():
        features.setdefault((feature, layout), {})[bin_] = count
    return [
        follow(feature, blocks.get((feature, layout), ()), bins, tolerance, len(features))
        for (feature, layout), bins in sorted(features.items())
    ]


@dataclass(frozen=True)
class _Routers:
    known: ModelPods
    """Those that count, without the revisions' pods."""
    running: Sequence[str]
    """Names of those that may send requests."""
