"""The signals of many rollouts at once: arrays in place of the status, and the statistics that decide real rollouts.

A signal about bad answers of one kind needs nothing here: `World.bad` says how many there are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.core.signals.errors import ERRORS
from headgate.core.signals.evidence import AnySignal, ceiling
from headgate.core.signals.predictions import PREDICTION_SHIFT
from headgate.core.signals.rate import RateSignal
from headgate.core.signals.shadow import SHADOW
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

    name: str
    world: World
    policy: Policy
    weight: float
    """Share of alpha."""
    history: History
    """What is known of stable's failures from before."""
    rng: np.random.Generator

    @staticmethod
    @abstractmethod
    def is_compared(name: str, world: World, policy: Policy) -> bool:
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

    state: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.state = Rates.start(self.history)

    @staticmethod
    def is_compared(name: str, world: World, policy: Policy) -> bool:
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
class SimulatedRate(SimulatedErrors):
    """Bad ones of the answers that have not failed, such as slow ones."""

    def __post_init__(self) -> None:
        good = self.history.trials - self.history.events
        bad = self.rng.binomial(good.astype(np.int64), self.world.bad[self.name][0]).astype(np.float64)
        self.state = Rates.start(History(good, bad, np.ones(len(good))))

    @staticmethod
    def is_compared(name: str, world: World, policy: Policy) -> bool:
        if name in world.bad and name not in policy.margins:
            raise ValueError(f"the policy has no margin for the signal {name!r}, of which the world has bad answers")
        return name in world.bad

    def fold(self, block: Counts) -> None:
        stable, candidate = self.world.bad[self.name]
        counts = []
        for n, y, share in ((block.n_c, block.y_c, candidate), (block.n_s, block.y_s, stable)):
            good = (n - y).astype(np.int64)
            counts += [good.astype(np.float64), self.rng.binomial(good, share).astype(np.float64)]
        margin = self.policy.margins[self.name]
        self.state = rates.fold(self.state, Counts(*counts), margin, self.ceiling, self.world.scrape)


@dataclass
class SimulatedPredictions(Simulated):
    """Scores, in bins."""

    state: Shares = field(init=False)

    def __post_init__(self) -> None:
        self.state = Shares.start(len(self.history.trials), SCORE_BINS - 1)

    @staticmethod
    def is_compared(name: str, world: World, policy: Policy) -> bool:
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

    state: Agreement = field(init=False)
    compares: NDArray[np.bool_] = field(init=False)
    """Which rollouts are still in their shadow."""

    def __post_init__(self) -> None:
        self.state = Agreement.start(len(self.history.trials))
        self.compares = np.ones(len(self.history.trials), bool)

    @staticmethod
    def is_compared(name: str, world: World, policy: Policy) -> bool:
        return policy.shadow is not None

    def fold(self, block: Counts) -> None:
        """The pairs of one scrape of those rollouts that are in their shadow; the block is the others'."""
        if self.policy.shadow is None:
            return
        shadow, world = self.policy.shadow, self.world
        expected = world.rps * world.scrape * shadow.fraction_at(world.rps)
        pairs = np.where(self.compares, self.rng.poisson(expected, len(self.compares)), 0)
        agreed = self.rng.binomial(pairs, world.agreement)
        seen = pairs.astype(np.float64), agreed.astype(np.float64)
        self.state = agreement.fold(self.state, *seen, shadow.min_agreement)

    def take(self, rows: Rows) -> None:
        kept = Agreement(*(getattr(self.state, name)[rows] for name in ("pairs", "agreed", "harm", "safe")))
        self.state, self.compares = kept, self.compares[rows]

    @property
    def log_harm(self) -> Floats:
        return self.state.log_harm

    @property
    def log_safe(self) -> Floats:
        return self.state.log_safe


_OWN: dict[str, type[Simulated]] = {
    ERRORS.name: SimulatedErrors,
    SHADOW.name: SimulatedShadow,
    PREDICTION_SHIFT.name: SimulatedPredictions,
}


def simulated(signal: AnySignal) -> type[Simulated] | None:
    """The simulation of a signal; None: it has none."""
    return _OWN.get(signal.name) or (SimulatedRate if isinstance(signal, RateSignal) else None)
