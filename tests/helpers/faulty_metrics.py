"""A rollout that sees its traffic through a Prometheus with faults, from raw samples to the decision."""

import random
from bisect import bisect_right
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headgate.api.spec import Spec
from headgate.core import phases, readings
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.model import Metrics, MetricsUnavailable, NoNewSamples, Reading
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Series
from headgate.edges.prometheus import series_of
from headgate.errors import MetricsError, TooMuchData
from headgate.pages import Result, next_page
from world import Behaviour, World

SUCCESSES, ERRORS, READY, UPTIME = (
    "envoy_cluster_endpoint_rq_success",
    "envoy_cluster_endpoint_rq_error",
    "headgate_ready",
    "envoy_server_uptime",
)
FAULTS = ("hangs", "in part", "behind", "twice", "in disorder", "skewed", "too much", "restart")
Raw = dict[tuple[str, str, str], list[tuple[float, float]]]
"""Samples by name, revision and target."""


@dataclass
class Scraped(World):
    """A world whose routers are scraped every second, and whose Prometheus has these faults, in so many looks."""

    faults: Sequence[str] = ()
    often: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._dice = random.Random(self.seed)
        self._counted_by: dict[tuple[str, str, str], float] = {}
        self._started_at = dict.fromkeys(("router-1", "router-2"), self.now - 1000)
        self._raw: Raw = {}
        self._fault = ""

    def _metrics(self) -> Metrics:
        rollout, stable = self.status.rollout, self.status.stable
        if rollout is None or stable is None or rollout.revision not in self._started:
            return NoNewSamples()
        self._scrape(rollout.revision, stable.revision)
        self._fault = self._dice.choice(self.faults) if self.faults and self._dice.random() < self.often else ""
        reading = phases.needed_reading(Spec.model_validate(self.spec), self.status, self._workload(rollout.revision))
        if reading is Reading.NOTHING:
            return NoNewSamples()
        if reading is Reading.OPENING:
            return self._new(reading, rollout, stable)
        compared = Comparison(stable.revision, rollout.revision)

        def understand(series: Sequence[Series], until: float, cursor: float | None) -> Result:
            return EnvoyDataPlane().read(series, until, cursor, compared, 30.0)

        now = self.now + (self._dice.choice([-300.0, 300.0]) if self._fault == "skewed" else 0.0)
        try:
            page = at_once(next_page(self._ask, understand, now, rollout.cursor))
        except MetricsError as error:
            return MetricsUnavailable(str(error))
        return readings.new_samples(page.result, reading, None, page.uncounted_since)

    def _scrape(self, candidate: str, stable: str) -> None:
        numbers = np.random.default_rng([self.seed, int(self.now * 10)])
        if self._fault == "restart":
            self._restart(self._dice.choice(["router-1", "router-2"]))
        shares = {t.role: t.weight / 100 for t in self.status.traffic}
        for router in self._started_at:
            total = int(numbers.poisson(self.requests / 2))
            of_candidate = int(numbers.binomial(total, shares.get("candidate", 0.0)))
            for revision, n in ((candidate, of_candidate), (stable, total - of_candidate)):
                failed = int(numbers.binomial(n, self.behaviours[self.version_of(revision)].failing))
                self._add(SUCCESSES, revision, router, n - failed)
                self._add(ERRORS, revision, router, failed)
                self._set(UPTIME, revision, router, int(self.now - self._started_at[router]))
        self._set(READY, stable, f"{stable}-pod", 1.0)

    def _restart(self, router: str) -> None:
        self._started_at[router] = self.now - 0.5
        for key in self._counted_by:
            if key[2] == router:
                self._counted_by[key] = 0.0

    def _add(self, name: str, revision: str, target: str, gained: float) -> None:
        key = name, revision, target
        self._counted_by[key] = self._counted_by.get(key, 0.0) + gained
        self._set(*key, self._counted_by[key])

    def _set(self, name: str, revision: str, target: str, value: float) -> None:
        self._raw.setdefault((name, revision, target), []).append((self.now, value))

    async def _ask(self, until: float, since: float | None) -> tuple[Series, ...]:
        if self._fault == "hangs":
            raise MetricsError("no answer")
        if self._fault == "too much":
            raise TooMuchData("too much")
        start = (until if since is None else since) - 60
        end = until - (self._dice.choice([10.0, 40.0, 6 * 3600.0]) if self._fault == "behind" else 0.0)
        lost = self._dice.choice(["router-1", "router-2"]) if self._fault == "in part" else ""
        found = []
        for (name, revision, target), samples in self._raw.items():
            inside = samples[bisect_right(samples, (start, np.inf)) : bisect_right(samples, (end, np.inf))]
            if inside and target != lost:
                labels = {"__name__": name, "headgate_revision": revision, "instance": target, "pod": target}
                found.append((labels, self._told(inside)))
        if self._fault == "twice":
            found *= 2
        return series_of(found)

    def _told(self, samples: list[tuple[float, float]]) -> list[tuple[float, float]]:
        told = list(samples)
        if self._fault == "in disorder":
            self._dice.shuffle(told)
        return told


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")


@dataclass(frozen=True)
class Ending:
    """How a rollout ended, and after how many looks; empty for one that is not decided."""

    decision: str = ""
    looks: int = 0


def ending(seed: int, failing: float, faults: Sequence[str], often: float, looks: int = 150) -> Ending:
    """Of a candidate that fails this share of its requests, as stable fails one in a thousand."""
    world = Scraped(seed=seed, requests=2000.0, faults=(), often=often)
    world.ask("v1", Behaviour(failing=0.001, positive=None)).settled("Stable")
    world.faults = faults
    world.ask("v2", Behaviour(failing=failing, positive=None))
    for look in range(looks):
        status = world.look().status
        if status.phase in ("RollingBack", "Promoting"):
            return Ending(status.phase, look)
    return Ending(looks=looks)
