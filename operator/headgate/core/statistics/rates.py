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

Trials of one version alone wait for the other's: see `waiting`.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from headgate.core.statistics import waiting
from headgate.core.statistics.alone import log_e_alone
from headgate.core.statistics.conditional import LARGEST_TOTAL, log_stake
from headgate.core.statistics.difference import Bet, Floats, bet_at_most, log_e_at_least, log_mean, log_mixture

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

    @classmethod
    def none(cls, rollouts: int) -> Self:
        """No trials."""
        return cls(*(np.zeros(rollouts) for _ in range(4)))

    def plus(self, other: "Counts") -> "Counts":
        """The sums."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: "Counts") -> "Counts":
        """The differences."""
        return Counts(*(a - b for a, b in zip(self, other, strict=True)))

    def where(self, chosen: NDArray[np.bool_]) -> "Counts":
        """The counts of these rollouts, and 0 of the others."""
        return Counts(*(np.where(chosen, part, 0.0) for part in self))

    @property
    def trials(self) -> Floats:
        """Of both versions together."""
        return self.n_c + self.n_s


@dataclass(frozen=True)
class AttemptBlock:
    """Attempts and bad answers of both versions in one block. Raises ValueError for impossible counts."""

    candidate_attempts: int = 0
    candidate_failures: int = 0
    stable_attempts: int = 0
    stable_failures: int = 0
    candidate_rejections: int = 0
    """Those of the candidate's bad answers that it refused or answered invalidly, where stable gave a good one."""

    def __post_init__(self) -> None:
        for version in ("candidate", "stable"):
            attempts, failures = getattr(self, f"{version}_attempts"), getattr(self, f"{version}_failures")
            if not 0 <= failures <= attempts:
                raise ValueError(f"a block with {failures} bad answers in {attempts} attempts on {version}")
        if not 0 <= self.candidate_rejections <= self.candidate_failures:
            raise ValueError(f"a block with {self.candidate_rejections} of {self.candidate_failures} answers rejected")

    @property
    def counts(self) -> Counts:
        """As arrays of one rollout."""
        return Counts(
            np.array([float(self.candidate_attempts)]),
            np.array([float(self.candidate_failures)]),
            np.array([float(self.stable_attempts)]),
            np.array([float(self.stable_failures)]),
        )


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

    @property
    def trust(self) -> Floats:
        """What one of its attempts counts for."""
        return np.minimum(1.0, HISTORY_TRIALS / np.maximum(self.trials, 1.0))


class Alone(NamedTuple):
    """Trials and events of the candidate that were judged without stable's, each of shape (rollouts,)."""

    trials: Floats
    events: Floats


@dataclass(frozen=True)
class Rates:
    """The state of all three e-processes, for each rollout: what was counted, and ln e-values."""

    counts: Counts
    """What the e-values know of. What is `waiting` comes on top."""
    history: History
    harm: Floats
    """Shape (rollouts, alternatives)."""
    worse: Floats
    safe: Floats
    stake: Floats
    """ln of what avoiding overshoot has won for harm; shape (rollouts,)."""
    waiting: Counts
    """A block that is not complete yet: trials of one version alone."""
    waited: Floats
    """Seconds since its first piece came; shape (rollouts,)."""
    alone: Alone

    @classmethod
    def start(cls, history: History) -> Self:
        """Before the first block."""
        n = len(history.trials)
        zeros, none = np.zeros(n), Counts.none(n)
        harm, safe = np.zeros((n, len(ODDS))), np.zeros((n, len(SHARES)))
        return cls(none, history, harm, harm, safe, zeros, none, zeros, Alone(zeros, zeros))

    def take(self, chosen: Rows) -> "Rates":
        """The rollouts of these indices."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Rates(**{name: _taken(part, chosen) for name, part in parts.items()})

    def put(self, chosen: Rows, rows: "Rates") -> "Rates":
        """With `rows` in place of the rollouts of these indices."""
        parts = {f.name: (getattr(self, f.name), getattr(rows, f.name)) for f in fields(self)}
        return Rates(**{name: _replaced(*part, chosen) for name, part in parts.items()})

    @property
    def seen(self) -> Counts:
        """Everything that was counted."""
        return self.counts.plus(self.waiting)

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
        return _estimate(self.history, self.counts.n_s, self.counts.y_s)

    @property
    def excess(self) -> Floats:
        """Bad answers of the candidate beyond those that stable would have given: what the rollout cost so far."""
        return np.maximum(0.0, self.seen.y_c - self.stable_rate * self.seen.n_c)

    @property
    def settled(self) -> "Rates":
        """Without what is waiting: all that the next weight may follow from."""
        nothing = Counts.none(len(self.waited))
        return replace(self, waiting=nothing, waited=np.zeros(len(self.waited)))


def fold(state: Rates, block: Counts, margin: float, ceiling: float, seconds: float = 0.0) -> Rates:
    """The state after one more block, which took `seconds`.

    `margin` is a difference of rates, such as 0.005; `ceiling` the ln e-value of harm at which it decides.
    """
    merged = state.waiting.plus(block)
    waited = waiting.age(state.waiting.trials, state.waited, seconds)
    together, expired = waiting.ripe(merged.n_c, merged.n_s, waited, waiting.CANDIDATE_ALONE)
    open_ = ~(together | expired)
    after = replace(state, waiting=merged.where(open_), waited=np.where(open_, waited, 0.0))
    for chosen, judge in ((together, _compare), (expired, _let_go)):
        rows = np.flatnonzero(chosen)
        if len(rows):
            judged = judge(after.take(rows), Counts(*(part[rows] for part in merged)), margin, ceiling)
            after = after.put(rows, judged)
    return after


def fold_alone(state: Rates, block: Counts, margin: float, rate: float) -> Rates:
    """The state after a block in which only the candidate served, against stable's earlier `rate`.

    What was waiting is part of it: of stable it is only counted.
    """
    merged = state.waiting.plus(block._replace(n_s=np.zeros(len(block.n_s)), y_s=np.zeros(len(block.y_s))))
    limit = np.array(min(rate + margin, 0.98))
    q = _times(ODDS, limit)
    y, n = merged.y_c[:, None], merged.n_c[:, None]
    gained = y * np.log(q / limit) + (n - y) * np.log((1 - q) / (1 - limit))
    harm = state.harm + gained / state.history.dispersion[:, None]
    return replace(state.settled, counts=state.counts.plus(merged), harm=harm)


def _compare(state: Rates, block: Counts, margin: float, ceiling: float) -> Rates:
    """The state after a complete block: both versions have trials."""
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


def _let_go(state: Rates, block: Counts, margin: float, ceiling: float) -> Rates:
    """The state after trials of one version that waited in vain: of stable they are counted, the candidate's judged.

    They can show harm and not its absence: a candidate that stable was not beside does not pass.
    """
    before = state.alone
    after = Alone(before.trials + block.n_c, before.events + block.y_c)
    now, then = ((_alone(state.history, part, margin), _alone(state.history, part, 0.0)) for part in (after, before))
    return replace(
        state,
        counts=state.counts.plus(block),
        harm=state.harm + now[0] - then[0],
        worse=state.worse + now[1] - then[1],
        alone=after,
    )


def _alone(history: History, candidate: Alone, margin: float) -> Floats:
    """ln e-values of all that the candidate did alone, against "worse than stable was by at most the margin"."""
    q = _times(ODDS, _estimate(history, 0.0, 0.0)[:, None] + margin)
    logs = log_e_alone(*candidate, history.trials, history.events, history.trust, q, margin)
    return np.asarray(logs / history.dispersion[:, None], dtype=np.float64)


def _estimate(history: History, trials: Floats | float, events: Floats | float) -> Floats:
    """Stable's rate from its history, these trials, and what is assumed of every version."""
    rate = (events + history.trust * history.events + PRIOR_EVENTS) / (
        trials + history.trust * history.trials + PRIOR_TRIALS
    )
    return np.asarray(rate, dtype=np.float64)


def _taken(part: Any, chosen: Rows) -> Any:
    """The rows of an array, or of each array of a tuple."""
    return type(part)(*(a[chosen] for a in part)) if isinstance(part, tuple) else part[chosen]


def _replaced(whole: Any, rows: Any, chosen: Rows) -> Any:
    """The reverse of `_taken`."""
    if isinstance(whole, tuple):
        return type(whole)(*(_replaced(a, b, chosen) for a, b in zip(whole, rows, strict=True)))
    result = whole.copy()
    result[chosen] = rows
    return result


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
