"""Does one kind of bad answer (failed, slow) happen more often on the candidate? The accumulators of that question.

Everything here is a function over numpy arrays with any number of rollouts at once along the first axis: `errors`
uses it for the one rollout of a ModelDeployment, `simulate` for hundreds.

Three e-processes, each a mixture over alternatives:

- harm, against "worse than stable by at most the margin";
- worse, against "not worse than stable at all" (margin 0): whether what a candidate cost was more than bad luck;
- safe, against "worse than stable by at least the margin".

The alternatives of the first two are odds ratios between the candidate and the edge of the null. Their weights were
chosen by simulation for the shortest time to a verdict between a candidate that is twice and one that is a hundred
times as bad; stable's own rate comes from earlier blocks and from before the rollout.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from headgate.core.evidence.conditional import LARGEST_TOTAL, log_stake
from headgate.core.evidence.difference import Bet, Floats, bet_at_most, log_e_at_least, log_mean, log_mixture

ODDS = np.array([1.7, 2.1, 2.7, 3.5, 4.8, 7.0, 10.0, 14.0, 20.0, 32.0, 60.0, 140.0])
"""Alternatives of harm and worse: how many times the odds of a bad answer at the null's edge."""

ODDS_WEIGHTS = np.array([0.06, 0.06, 0.07, 0.08, 0.07, 0.08, 0.1, 0.11, 0.13, 0.13, 0.08, 0.03])

SHARES = np.array([0.6, 0.3, 0.1])
"""Alternatives of safe: the candidate's excess over stable is this share of the margin below it."""

PRIOR_EVENTS, PRIOR_TRIALS = 0.25, 100.0
"""What is assumed of stable before anything was seen: a quarter of a bad answer in a hundred."""

HISTORY_TRIALS = 5000.0
"""What is known of stable from before the rollout counts as at most so many attempts, so that a new day can differ."""


Rows = NDArray[np.integer[Any]]


class Counts(NamedTuple):
    """Trials and events of both versions, each of shape (rollouts,)."""

    n_c: Floats
    y_c: Floats
    n_s: Floats
    y_s: Floats

    def plus(self, other: "Counts") -> "Counts":
        """The sums."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class History(NamedTuple):
    """Stable before the rollout, each of shape (rollouts,): trials, events, and how much its events cluster.

    `dispersion` is the variance of its counts over that of independent events, at least 1.
    """

    trials: Floats
    events: Floats
    dispersion: Floats

    @classmethod
    def unknown(cls, rollouts: int) -> Self:
        """Nothing is known."""
        return cls(np.zeros(rollouts), np.zeros(rollouts), np.ones(rollouts))


@dataclass(frozen=True)
class Rates:
    """The state of all three e-processes, for each rollout: what was counted, and ln e-values."""

    counts: Counts
    history: History
    harm: Floats
    """Shape (rollouts, alternatives)."""
    worse: Floats
    safe: Floats
    stake: Floats
    """ln of what avoiding overshoot has won for harm; shape (rollouts,)."""

    @classmethod
    def start(cls, history: History) -> Self:
        """Before the first block."""
        n = len(history.trials)
        zeros = np.zeros(n)
        harm, safe = np.zeros((n, len(ODDS))), np.zeros((n, len(SHARES)))
        return cls(Counts(zeros, zeros, zeros, zeros), history, harm, harm, safe, zeros)

    def take(self, chosen: Rows) -> "Rates":
        """The rollouts of these indices."""
        return Rates(
            Counts(*(a[chosen] for a in self.counts)),
            History(*(a[chosen] for a in self.history)),
            self.harm[chosen],
            self.worse[chosen],
            self.safe[chosen],
            self.stake[chosen],
        )

    @property
    def log_harm(self) -> Floats:
        """ln of the e-value against "worse by at most the margin"."""
        return log_mixture(self.harm, ODDS_WEIGHTS) + self.stake

    @property
    def log_worse(self) -> Floats:
        """ln of the e-value against "not worse at all"."""
        return log_mixture(self.worse, ODDS_WEIGHTS)

    @property
    def log_safe(self) -> Floats:
        """ln of the e-value against "worse by at least the margin"."""
        return log_mean(self.safe)

    @property
    def stable_rate(self) -> Floats:
        """Stable's rate as estimated from what was seen, before and in this rollout."""
        trusted = np.minimum(1.0, HISTORY_TRIALS / np.maximum(self.history.trials, 1.0))
        events = self.counts.y_s + trusted * self.history.events + PRIOR_EVENTS
        trials = self.counts.n_s + trusted * self.history.trials + PRIOR_TRIALS
        return np.asarray(events / trials, dtype=np.float64)

    @property
    def excess(self) -> Floats:
        """Bad answers of the candidate beyond those that stable would have given: what the rollout cost so far."""
        return np.maximum(0.0, self.counts.y_c - self.stable_rate * self.counts.n_c)


def fold(state: Rates, block: Counts, margin: float, ceiling: float) -> Rates:
    """The state after one more block.

    `margin` is a difference of rates, such as 0.005; `ceiling` the ln e-value of harm at which it decides.
    """
    q_s = state.stable_rate[:, None]
    n_c, y_c, n_s, y_s = (a[:, None] for a in block)
    independent = 1 / state.history.dispersion[:, None]
    harm_bet = bet_at_most(n_c, n_s, _times(ODDS, q_s + margin), q_s, margin)
    worse_bet = harm_bet if margin == 0 else bet_at_most(n_c, n_s, _times(ODDS, q_s), q_s, 0.0)
    safe_q = q_s + margin * (1 - SHARES) * (q_s / (q_s + margin))
    after = replace(
        state,
        counts=state.counts.plus(block),
        harm=state.harm + independent * harm_bet.log_e(y_c, y_s),
        worse=state.worse + independent * worse_bet.log_e(y_c, y_s),
        safe=state.safe + independent * log_e_at_least(y_c, n_c, y_s, n_s, safe_q, q_s, margin),
    )
    return _without_overshoot(state, after, block, harm_bet, ceiling)


def fold_alone(state: Rates, block: Counts, margin: float, rate: float) -> Rates:
    """The state after a block in which only the candidate served, against stable's earlier `rate`."""
    limit = np.array(min(rate + margin, 0.98))
    q = _times(ODDS, limit)
    y, n = block.y_c[:, None], block.n_c[:, None]
    gained = y * np.log(q / limit) + (n - y) * np.log((1 - q) / (1 - limit))
    counts = state.counts.plus(block._replace(n_s=np.zeros(len(y)), y_s=np.zeros(len(y))))
    return replace(state, counts=counts, harm=state.harm + gained / state.history.dispersion[:, None])


def _times(odds: Floats, rate: Floats) -> Floats:
    """The rate whose odds are `odds` times those of `rate`."""
    scaled = odds * rate / (1 - np.minimum(rate, 1 - 1e-9))
    return np.asarray(scaled / (1 + scaled), dtype=np.float64)


def _without_overshoot(before: Rates, after: Rates, block: Counts, bet: Bet, ceiling: float) -> Rates:
    """Stake what harm could have won beyond its ceiling in this block; only where that was possible at all.

    Not where failures cluster: the law of a block's failures is then not known.
    """
    total = block.y_c + block.y_s
    mixed = [np.broadcast_to(part, before.harm.shape) for part in bet]
    start = before.log_harm

    def log_gain(rows: Rows, j: Floats) -> Floats:
        """ln of the mixture's growth in this block, had the candidate had j of the failures."""
        constant, candidate, stable = (part[rows][:, None, :] for part in mixed)
        failures, rest = j[None, :, None], np.maximum(total[rows][:, None, None] - j[None, :, None], 0.0)
        grown = before.harm[rows][:, None, :] + constant + candidate * failures + stable * rest
        return log_mixture(grown, ODDS_WEIGHTS) + (before.stake - start)[rows][:, None]

    exact = (total > 0) & (total <= LARGEST_TOTAL) & (before.history.dispersion <= 1) & (start < ceiling)
    near = np.flatnonzero(exact & (start + _largest_gain(before, block, mixed) > ceiling))
    if not len(near):
        return after
    won = log_stake(total[near], block.n_c[near], block.n_s[near], lambda j: log_gain(near, j), ceiling - start[near])
    reached = log_mixture(after.harm[near], ODDS_WEIGHTS)
    one_more = log_mixture(after.harm[near] + mixed[1][near], ODDS_WEIGHTS) - reached
    won = np.where(block.y_c[near] < block.n_c[near], np.minimum(won, one_more), won)
    stake = before.stake.copy()
    stake[near] = np.minimum(stake[near] + won, ceiling - reached)
    return replace(after, stake=stake)


def _largest_gain(before: Rates, block: Counts, mixed: list[Floats]) -> Floats:
    """ln of the mixture's growth, had all failures of the block been the candidate's."""
    constant, candidate, stable = mixed
    most = np.minimum(block.y_c + block.y_s, block.n_c)[:, None]
    grown = before.harm + constant + candidate * most + stable * ((block.y_c + block.y_s)[:, None] - most)
    return log_mixture(grown, ODDS_WEIGHTS) + before.stake - before.log_harm
