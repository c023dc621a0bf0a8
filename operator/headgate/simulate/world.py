"""Simulated traffic: requests, and which of them fail, for many rollouts at once.

Failures are independent, or come in bursts: once one begins, the next requests that the same pod gets fail as well.
Rates may follow a day, rise for everybody in an outage, and be the candidate's own only after a while. Scrapes may be
missed, and pods restart, which loses what they counted since the last scrape.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.core.statistics.difference import Floats
from headgate.core.statistics.dispersion import dispersion
from headgate.core.statistics.rates import Counts, History

DAY = 86400.0
SEASON = 0.8
"""Rates swing by this share around their mean in the course of a day."""

OUTAGE_SECONDS, OUTAGE_FACTOR, OUTAGE_MOST = 300.0, 10.0, 0.5
"""A common outage lasts so long, multiplies everybody's rate by so much, up to so much."""

SCORE_BINS = 10


@dataclass(frozen=True)
class World:
    """Who fails how often, and what else happens. Rates are shares of 1, times in seconds."""

    stable_errors: float
    candidate_errors: float
    rps: float = 50.0
    scrape: float = 1.0
    burst: int = 1
    """Requests in a burst of failures on one pod; 1: failures are independent."""
    season: bool = False
    outage_at: float | None = None
    candidate_refusals: float = 0.0
    """Share of the requests that the candidate refuses, or answers invalidly, of those that it has not failed. Stable
    answers them."""
    late_onset: float = 0.0
    """Until then the candidate fails as often as stable."""
    missed_scrapes: float = 0.0
    """Share of scrapes that fail."""
    restart_every: float | None = None
    """Mean seconds between restarts of a pod, for each version."""
    stable_pods: int = 2
    candidate_pods: int = 1
    history: float = 1800.0
    """Seconds of stable's traffic that are known from before the rollout."""
    prediction_shift: float | None = None
    """By how much the share of scores in the lower half is larger on the candidate; None: no predictions."""
    bad: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Shares of stable's and of the candidate's good answers that are bad for a further signal, such as slow for
    `latency`, by its name. A signal that is not named is not compared."""
    agreement: float = 1.0
    """Share of the copies of requests that the candidate answers as stable does, where there is a shadow."""

    def candidate_failing(self, retry_on_stable: bool) -> float:
        """Share of the candidate's attempts that are bad. What stable is not asked about is no attempt."""
        refused = self.candidate_refusals if retry_on_stable else 0.0
        return self.candidate_errors + (1 - self.candidate_errors) * refused

    def rates(self, time: float, phase: Floats) -> tuple[Floats, Floats]:
        """Failure rates of candidate and stable at `time`; `phase` is where in the day each rollout began."""
        swing = 1 + SEASON * np.sin(2 * math.pi * (time / DAY + phase)) if self.season else np.ones(len(phase))
        own = self.candidate_errors if time >= self.late_onset else self.stable_errors
        candidate, stable = np.minimum(own * swing, 1.0), np.minimum(self.stable_errors * swing, 1.0)
        if self.outage_at is not None and self.outage_at <= time < self.outage_at + OUTAGE_SECONDS:
            candidate, stable = (
                np.maximum(rate, np.minimum(rate * OUTAGE_FACTOR, OUTAGE_MOST)) for rate in (candidate, stable)
            )
        return candidate, stable


@dataclass
class Version:
    """The pods of one version in every rollout; remembers the bursts that are under way."""

    world: World
    pods: int
    rollouts: int
    under_way: NDArray[np.int64] = field(init=False)
    """Requests that are still to fail, of shape (rollouts, pods)."""

    def __post_init__(self) -> None:
        self.under_way = np.zeros((self.rollouts, self.pods), np.int64)

    def take(self, chosen: NDArray[np.intp]) -> None:
        """Go on with the rollouts of these indices only."""
        self.under_way = self.under_way[chosen]

    def serve(self, rng: np.random.Generator, requests: Floats, rate: Floats) -> tuple[Floats, Floats]:
        """Attempts and failures of each pod, of shape (rollouts, pods), when `requests` are expected in all."""
        n = rng.poisson(np.repeat(requests[:, None] / self.pods, self.pods, axis=1))
        p = np.repeat(rate[:, None], self.pods, axis=1)
        if self.world.burst == 1:
            return n.astype(np.float64), rng.binomial(n, p).astype(np.float64)
        size = self.world.burst
        begun = size * rng.binomial(n, np.where(p < 1, p / size, 0.0))
        to_fail = np.where(p < 1, self.under_way + begun, np.maximum(self.under_way, n))
        failed = np.minimum(to_fail, n)
        self.under_way = to_fail - failed
        return n.astype(np.float64), failed.astype(np.float64)


def stable_history(world: World, rng: np.random.Generator, rollouts: int, phase: Floats) -> History:
    """Stable before the rollout, as an operator reads it from Prometheus."""
    windows = int(world.history / world.scrape)
    if windows == 0:
        return History.unknown(rollouts)
    stable = Version(world, world.stable_pods, rollouts)
    expected = np.full(rollouts, world.rps * world.scrape)
    counted = [
        stable.serve(rng, expected, world.rates(-world.history + i * world.scrape, phase)[1]) for i in range(windows)
    ]
    trials, events = (np.stack(part, axis=1) for part in zip(*counted, strict=True))
    clusters = [dispersion(n, y) for n, y in zip(trials, events, strict=True)]
    return History(trials.sum(axis=(1, 2)), events.sum(axis=(1, 2)), np.array(clusters))


def without_restarted(rng: np.random.Generator, block: Counts, world: World) -> Counts:
    """The block as it is counted when pods restart: what a pod did since its last scrape is lost."""
    if world.restart_every is None:
        return block
    n_c, y_c = _lost(rng, block.n_c, block.y_c, world.candidate_pods, world)
    n_s, y_s = _lost(rng, block.n_s, block.y_s, world.stable_pods, world)
    return Counts(n_c, y_c, n_s, y_s)


def _lost(rng: np.random.Generator, n: Floats, y: Floats, pods: int, world: World) -> tuple[Floats, Floats]:
    restarted = rng.random(len(n)) < world.scrape / (world.restart_every or math.inf)
    kept = np.where(restarted, 1 - rng.random(len(n)) / pods, 1.0)
    good, bad = (rng.binomial(count.astype(np.int64), kept).astype(np.float64) for count in (n - y, y))
    return good + bad, bad


def scores(rng: np.random.Generator, answers: Floats, shift: float) -> Floats:
    """How many scores are at or below each of the cuts between the bins; shape (rollouts, SCORE_BINS - 1)."""
    half = SCORE_BINS // 2
    shares = 1 / SCORE_BINS + np.repeat([shift / half, -shift / half], half)
    counts = rng.multinomial(answers.astype(np.int64), shares)
    return np.cumsum(counts, axis=1)[:, :-1].astype(np.float64)
