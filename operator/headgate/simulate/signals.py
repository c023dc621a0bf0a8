"""The signals of many rollouts at once: arrays in place of the status, and the statistics that decide real rollouts.

`SIMULATED` has an entry for each of `core.signals.SIGNALS`; a test says so.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from headgate.core.signals.evidence import ceiling
from headgate.core.statistics import agreement, rates, shares
from headgate.core.statistics.agreement import Agreement
from headgate.core.statistics.difference import Floats, log_mean
from headgate.core.statistics.rates import Counts, History, Rates
from headgate.core.statistics.shares import Answers, Shares
from headgate.simulate.policy import Policy
from headgate.simulate.world import SCORE_BINS, World, scores

Rows = NDArray[np.intp]


@dataclass
class Simulated(ABC):
    """One signal in many rollouts. All arrays have one row for each rollout."""

    name: ClassVar[str]
    world: World
    policy: Policy
    weight: float
    """Share of alpha."""
    history: History
    """What is known of stable's failures from before."""
    rng: np.random.Generator

    @staticmethod
    @abstractmethod
    def is_compared(world: World, policy: Policy) -> bool:
        """Whether this world has it, and the policy asks for it."""

    @abstractmethod
    def fold(self, block: Counts) -> None:
        """One scrape later, in which `block` was counted."""

    @abstractmethod
    def take(self, rows: Rows) -> None:
        """Go on with these rollouts."""

    @property
    @abstractmethod
    def log_harm(self) -> Floats:
        """ln e-values against "not worse than the margin allows"."""

    @property
    @abstractmethod
    def log_safe(self) -> Floats:
        """ln e-values against "worse than the margin allows"."""

    @property
    def ceiling(self) -> float:
        """ln of the e-value at which it decides alone."""
        return ceiling(self.weight, self.policy.alpha)


@dataclass
class SimulatedErrors(Simulated):
    """Failed answers."""

    name = "errors"
    state: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.state = Rates.start(self.history)

    @staticmethod
    def is_compared(world: World, policy: Policy) -> bool:
        return True

    def fold(self, block: Counts) -> None:
        self.state = rates.fold(self.state, block, self.policy.margin, self.ceiling, self.world.scrape)

    def take(self, rows: Rows) -> None:
        self.state = self.state.take(rows)

    @property
    def log_harm(self) -> Floats:
        return self.state.log_harm

    @property
    def log_safe(self) -> Floats:
        return self.state.log_safe


@dataclass
class SimulatedLatency(SimulatedErrors):
    """Slow ones of the good answers."""

    name = "latency"

    def __post_init__(self) -> None:
        good = self.history.trials - self.history.events
        slow = self.rng.binomial(good.astype(np.int64), self.world.stable_slow or 0.0).astype(np.float64)
        self.state = Rates.start(History(good, slow, np.ones(len(good))))

    @staticmethod
    def is_compared(world: World, policy: Policy) -> bool:
        return world.stable_slow is not None

    def fold(self, block: Counts) -> None:
        counts = []
        for n, y, slow in (
            (block.n_c, block.y_c, self.world.candidate_slow),
            (block.n_s, block.y_s, self.world.stable_slow),
        ):
            good = (n - y).astype(np.int64)
            counts += [good.astype(np.float64), self.rng.binomial(good, slow or 0.0).astype(np.float64)]
        timed = Counts(*counts)
        self.state = rates.fold(self.state, timed, self.policy.latency_margin, self.ceiling, self.world.scrape)


@dataclass
class SimulatedPredictions(Simulated):
    """Scores, in bins."""

    name = "predictions"
    state: Shares = field(init=False)

    def __post_init__(self) -> None:
        self.state = Shares.start(len(self.history.trials), SCORE_BINS - 1)

    @staticmethod
    def is_compared(world: World, policy: Policy) -> bool:
        return world.prediction_shift is not None

    def fold(self, block: Counts) -> None:
        good_c, good_s = block.n_c - block.y_c, block.n_s - block.y_s
        c, s = scores(self.rng, good_c, self.world.prediction_shift or 0.0), scores(self.rng, good_s, 0.0)
        answers = Answers(c, good_c[:, None], s, good_s[:, None])
        self.state = shares.fold(self.state, answers, self.policy.prediction_margin, self.world.scrape)

    def take(self, rows: Rows) -> None:
        self.state = self.state.take(rows)

    @property
    def log_harm(self) -> Floats:
        return log_mean(np.concatenate([self.state.up, self.state.down], axis=1))

    @property
    def log_safe(self) -> Floats:
        return np.asarray(np.minimum(self.state.not_up, self.state.not_down).min(axis=1))


@dataclass
class SimulatedShadow(Simulated):
    """Pairs of answers to the same requests, before the first user gets the candidate's."""

    name = "shadow"
    state: Agreement = field(init=False)
    compares: NDArray[np.bool_] = field(init=False)
    """Which rollouts are still in their shadow."""

    def __post_init__(self) -> None:
        self.state = Agreement.start(len(self.history.trials))
        self.compares = np.ones(len(self.history.trials), bool)

    @staticmethod
    def is_compared(world: World, policy: Policy) -> bool:
        return policy.shadow is not None

    def fold(self, block: Counts) -> None:
        """The pairs of one scrape of those rollouts that are in their shadow; the block is the others'."""
        if self.policy.shadow is None:
            return
        expected = self.world.rps * self.world.scrape * self.policy.shadow.fraction
        pairs = np.where(self.compares, self.rng.poisson(expected, len(self.compares)), 0)
        agreed = self.rng.binomial(pairs, self.world.agreement)
        minimum = self.policy.shadow.min_agreement
        self.state = agreement.fold(self.state, pairs.astype(np.float64), agreed.astype(np.float64), minimum)

    def take(self, rows: Rows) -> None:
        kept = Agreement(*(getattr(self.state, name)[rows] for name in ("pairs", "agreed", "harm", "safe")))
        self.state, self.compares = kept, self.compares[rows]

    @property
    def log_harm(self) -> Floats:
        return self.state.log_harm

    @property
    def log_safe(self) -> Floats:
        return self.state.log_safe


SIMULATED: tuple[type[Simulated], ...] = (SimulatedErrors, SimulatedLatency, SimulatedShadow, SimulatedPredictions)
