"""Evidence that can't be used yet is kept until it can: when is a block complete?

A block compares two versions, so it needs trials of both. With few requests a scrape often brings trials of one
version alone. Then `rates`, `shares` and `predictions` keep what came, and merge it with what comes next, until both
versions have trials. The merged block is one block: it is bet on once, with alternatives that were fixed before its
first piece. (The estimates that they are made of know nothing of what waits.)

Why a merged block is an e-value like any other. `difference` shows that the mean of E is at most 1 for any numbers of
trials, as long as these numbers say nothing about the outcomes. So nothing here may look at outcomes: whether a block
is complete depends on numbers of trials and on time. For the same reason the ramp follows `Rates.counts`, which is
without what waits: else an open block's failures would change the weight, and with it how the block goes on.

Proportions may drift from block to block, and within a block as far as both versions see it alike: what counts for E
is the mean of each version's proportion over its own trials. Where these lie at different times, a common outage that
begins within a block may hit the one version's and not the other's. One change gets into one block, and a block is
kept short: with many requests it is one scrape; otherwise it ends with the first trial of the version that has fewer.

The waiting is bounded. After it, trials of stable alone only tell what its rate is. Of the candidate's alone `rates`
makes a comparison with stable as it was before the rollout (`alone`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.core.statistics.difference import Floats

FEWEST = 20.0
"""So many trials of one version wait however long it takes: with a request an hour there is nothing else."""

LONGEST = 1800.0
"""Seconds that more than these wait for the other version. It is how far back stable is known when a canary opens."""

CANDIDATE_ALONE = 30.0
"""Seconds that the candidate's wait where they can be judged without stable's: as a rule stable's come sooner, and a
candidate that gets all the traffic must not fail for long."""


class Ripe(NamedTuple):
    """Which blocks are complete, and which have waited long enough without the other version."""

    together: NDArray[np.bool_]
    expired: NDArray[np.bool_]


def ripe(n_c: Floats, n_s: Floats, waited: Floats, candidate_waits: float = LONGEST) -> Ripe:
    """What can be done with blocks of n_c and n_s trials whose first piece is `waited` seconds old.

    `candidate_waits`: seconds that trials of the candidate alone wait.
    """
    together = (n_c > 0) & (n_s > 0)
    longest = np.where(n_c > 0, candidate_waits, LONGEST)
    return Ripe(together, ~together & (n_c + n_s >= FEWEST) & (waited >= longest))


def age(waiting: Floats, waited: Floats, seconds: float) -> Floats:
    """Seconds since the first piece came, after `seconds` more; `waiting` trials were there before."""
    return np.asarray(np.where(waiting > 0, waited + seconds, 0.0), dtype=np.float64)
