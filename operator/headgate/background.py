"""Readings that decide nothing and may take long: how far inputs have drifted, and which retired pods can go.

`reconcile` takes the newest ones into its Observation and asks for new ones after it has acted, so no decision waits
for them. At most one reading of a model and a few of all models run at a time. Nothing here outlives the leader.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from headgate.api import contract
from headgate.api.spec import Spec
from headgate.api.status import Retiring, Status
from headgate.core.dataplane import DataPlane
from headgate.core.model import Drift, Foreign
from headgate.core.provenance import ModelPods, sift
from headgate.core.statistics.counters import TARGET_POD
from headgate.core.statistics.difference import Floats
from headgate.core.statistics.history import STEP, History, Profile, profile_of
from headgate.edges.prometheus import MetricsSource
from headgate.edges.promql import AnyOf, Labels, StartsWith
from headgate.errors import MetricsError
from headgate.known_pods import KnownPods
from headgate.observe import Object, labels_of
from headgate.queue import Key

log = logging.getLogger("headgate.background")

DRIFT_EVERY = 300.0
"""Seconds between two readings of the drift of one model's inputs, give or take a fifth."""

DRIFT_AGAIN = 60.0
"""Seconds after which one is tried again that failed."""

_BY = ("feature", "bin", "layout")

_VALUES_AT_ONCE = 40_000
"""Numbers in one answer about drift: a few megabytes."""

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
    drift_due: float = 0.0
    history: History | None = None
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
    drift_every: float = DRIFT_EVERY
    jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2)
    """So that models are not all looked at in the same second."""
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
        with_drift = status.stable is not None and self.clock() >= state.drift_due
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
                    await self._read_drift(key, state, status.stable.revision, spec.monitoring.drift.tolerance)
        except (MetricsError, TimeoutError) as error:
            log.debug("%s/%s: %s", *key, error)
        except Exception:
            log.exception("%s/%s: unhandled error in a background reading", *key)

    def _running(self, key: Key, pods: Sequence[Object]) -> list[str]:
        running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
        return sorted(self.plane.pods(key.name, running))

    async def _read_drift(self, key: Key, state: _Known, stable: str, tolerance: float) -> None:
        if state.drift_of != stable:
            state.drift_of, state.history = stable, None
        state.drift_due = self.clock() + DRIFT_AGAIN
        state.drift = await self._drift(key, state, stable, tolerance)
        state.drift_due = self.clock() + self.drift_every * self.jitter()
        before, state.drifted = state.drifted, tuple(f.feature for f in state.drift.features if f.drifted)
        if state.drifted != before:
            self.on_news(key)

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

    async def _drift(self, key: Key, state: _Known, stable: str, tolerance: float) -> Drift:
        # Pods of the last day are too many to name: those of a ReplicaSet begin with the name of the Deployment.
        whose: Labels = {**labels_of(key), contract.REVISION: stable, TARGET_POD: StartsWith(f"{stable}-")}
        told = await self.metrics.largest(contract.FEATURE_REFERENCE, whose, _BY)
        profile = profile_of({(f, b, layout): n for (f, b, layout), n in told.items() if _LAYOUT.fullmatch(layout)})
        if not profile.features:
            state.history = None
            return Drift()
        if state.history is None or state.history.fingerprint != profile.fingerprint:
            state.history = History(profile.fingerprint, len(profile.places))
        source = _Blocks(self.metrics, whose, profile)
        now = await self.metrics.now()
        ends = state.history.missing(now)
        at_once = max(1, _VALUES_AT_ONCE // len(profile.places))
        for at in range(0, len(ends), at_once):
            page = ends[at : at + at_once]
            state.history.add(page, await source.read(page, STEP))
        newest = await source.read([now], now - state.history.end)
        # Beside the decisions: a wide model takes a good part of a second.
        features = await asyncio.to_thread(state.history.drift, profile, newest[:, 0], tolerance)
        return Drift(features, profile.left_out)


@dataclass(frozen=True)
class _Blocks:
    """Where the rows of one profile's bins are read from."""

    metrics: MetricsSource
    whose: Labels
    profile: Profile

    async def read(self, ends: Sequence[float], seconds: float) -> Floats:
        """Rows [bins, len(ends)] in the `seconds` before each of `ends`."""
        layouts: Labels = {"layout": AnyOf(tuple(sorted({layout for _, _, layout in self.profile.places})))}
        found = await self.metrics.gains(contract.FEATURES, self.whose, layouts, _BY, ends, seconds)
        rows = np.zeros((len(self.profile.places), len(ends)))
        for (feature, bin_, layout), gained in found.items():
            if (place := self.profile.places.get((feature, bin_, layout))) is not None:
                rows[place] = gained
        return rows


@dataclass(frozen=True)
class _Routers:
    known: ModelPods
    """Those that count, without the revisions' pods."""
    running: Sequence[str]
    """Names of those that may send requests."""
