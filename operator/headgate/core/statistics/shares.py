"""Has the share of an event moved by more than a margin? The accumulators of that question.

Functions over numpy arrays with any number of rollouts along the first axis and the events of one output along the
second; `predictions` uses them for one rollout, `simulate` for many. Answers of one version alone wait for the
other's: see `waiting`.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import numpy as np

from headgate.core.statistics import waiting
from headgate.core.statistics.difference import Floats, log_e_at_least, log_e_at_most
from headgate.core.statistics.rates import Rows

STRENGTH = 50.0
"""Pseudo-counts that pull an estimated share towards the pooled one."""

MIN_ALTERNATIVE = 0.02
"""The harm test bets on a movement of at least this much beyond the margin."""


class Answers(NamedTuple):
    """A block: how many answers had each event, of shape (rollouts, events), and how many there were, (rollouts, 1)."""

    y_c: Floats
    n_c: Floats
    y_s: Floats
    n_s: Floats


@dataclass(frozen=True)
class Shares:
    """Counts and ln e-values of each event, of shape (rollouts, events); answers of shape (rollouts, 1)."""

    candidate: Floats
    stable: Floats
    candidate_answers: Floats
    stable_answers: Floats
    up: Floats
    """Against "the share rose by no more than the margin"."""
    down: Floats
    not_up: Floats
    """Against "the share rose by at least the margin"."""
    not_down: Floats
    waiting: Answers
    """A block that is not complete yet: answers of one version alone. The counts above are without it."""
    waited: Floats
    """Seconds since its first piece came; shape (rollouts, 1)."""

    @classmethod
    def start(cls, rollouts: int, events: int) -> Self:
        """Before the first block."""
        each, single = np.zeros((rollouts, events)), np.zeros((rollouts, 1))
        return cls(each, each, single, single, each, each, each, each, Answers(each, single, each, single), single)

    def take(self, chosen: Rows) -> "Shares":
        """The rollouts of these indices."""
        parts = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "waiting"}
        return Shares(**parts, waiting=Answers(*(part[chosen] for part in self.waiting)))


def fold(state: Shares, block: Answers, margin: float, seconds: float = 0.0) -> Shares:
    """The state after one more block, which took `seconds`."""
    merged = Answers(*(a + b for a, b in zip(state.waiting, block, strict=True)))
    waited = waiting.age(state.waiting.n_c + state.waiting.n_s, state.waited, seconds)
    together, expired = waiting.ripe(merged.n_c, merged.n_s, waited)
    done = together | expired
    kept = Answers(*(np.where(done, 0.0, part) for part in merged))
    after = bet(state, Answers(*(np.where(done, part, 0.0) for part in merged)), margin)
    return replace(after, waiting=kept, waited=np.where(done, 0.0, waited))


def bet(state: Shares, block: Answers, margin: float) -> Shares:
    """The state after a complete block. Answers of one version alone are counted, and bet on nothing."""
    p_c, p_s = estimates(state.candidate, state.candidate_answers, state.stable, state.stable_answers)
    y_c, n_c, y_s, n_s = counts = block
    moved, room = margin + MIN_ALTERNATIVE, 0.9 * margin
    near = np.clip(p_c, p_s - room, p_s + room)
    return replace(
        state,
        candidate=state.candidate + y_c,
        stable=state.stable + y_s,
        candidate_answers=state.candidate_answers + n_c,
        stable_answers=state.stable_answers + n_s,
        up=state.up + log_e_at_most(*counts, np.maximum(p_c, p_s + moved), p_s, margin),
        down=state.down + log_e_at_least(*counts, np.minimum(p_c, p_s - moved), p_s, -margin),
        not_up=state.not_up + log_e_at_least(*counts, near, p_s, margin),
        not_down=state.not_down + log_e_at_most(*counts, near, p_s, -margin),
    )


def estimates(c: Floats, n_c: Floats, s: Floats, n_s: Floats) -> tuple[Floats, Floats]:
    """Shares in both versions from what was counted before, each pulled towards the pooled share."""
    pooled = (c + s + 0.5) / (n_c + n_s + 1.0)
    return (c + STRENGTH * pooled) / (n_c + STRENGTH), (s + STRENGTH * pooled) / (n_s + STRENGTH)


def log_e_same(past_c: Floats, past_s: Floats, c: Floats, s: Floats) -> Floats:
    """ln E of one block against "both versions have the same distribution over these bins", along the last axis.

    Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional stopping"
    (arXiv 2106.02693), for two samples: the sum over versions g and bins b of n_gb ln(p_gb / p_b), p_b the mixture of
    both by their answers in this block, all shares estimated from the earlier blocks (`past_…`). The common
    distribution may change with every block.
    """
    bins = past_c.shape[-1]
    earlier = past_c + past_s + 1.0 / bins
    pooled = earlier / earlier.sum(axis=-1, keepdims=True)
    p_c = (past_c + STRENGTH * pooled) / (past_c.sum(axis=-1, keepdims=True) + STRENGTH)
    p_s = (past_s + STRENGTH * pooled) / (past_s.sum(axis=-1, keepdims=True) + STRENGTH)
    n_c, n_s = c.sum(axis=-1, keepdims=True), s.sum(axis=-1, keepdims=True)
    both = (n_c * p_c + n_s * p_s) / np.maximum(n_c + n_s, 1.0)
    both = np.where(both > 0, both, 1.0)
    return np.asarray(np.sum(c * np.log(p_c / both) + s * np.log(p_s / both), axis=-1), dtype=np.float64)
