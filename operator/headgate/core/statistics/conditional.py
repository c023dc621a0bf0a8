"""What is known of a block's failures once their total is known, and how that saves requests near a verdict.

Given the totals, the candidate's failures follow the hypergeometric law where both versions fail equally often, and
Fisher's noncentral one, tilted by the odds ratio, where they don't.

An e-value that ends above 1/alpha has won more than it needed. What it would win beyond that can be staked on the
other outcomes instead (Fischer and Ramdas, "Improving the (approximate) sequential probability ratio test by avoiding
overshoot", arXiv 2410.16076): E becomes min(b E, ceiling), with the largest b that leaves its mean unchanged. Why
the mean stays at most 1 for every point of the null "p_c - p_s <= margin" with margin >= 0:

- Given the total, E rises with the candidate's failures j, so min(b E, ceiling) - E is positive for small j and
  negative for large ones. On the null's edge the odds ratio is at least 1, which moves the law of j upwards from the
  hypergeometric one. So b, for which the mean of the difference is 0 under odds ratio 1, makes it at most 0 there.
- Below the edge the candidate may fail less often than stable, and there a large stake on a block in which mostly
  stable failed would be too much. So b E is at most what E would be, had the candidate had one failure more and
  stable as many (`rates` sees to that): min(b E, ceiling) then rises with the candidate's failures at any number of
  stable's, and its mean is largest on the edge of the null. On the edge less is staked than allowed, never more.
"""

from collections.abc import Callable

import numpy as np

from headgate.core.statistics.difference import Floats

LARGEST_TOTAL = 300
"""Blocks with more failures are taken as they are: b = 1 is always right, and costs nothing."""

_STEPS = 40


def log_law(total: Floats, n_c: Floats, n_s: Floats, size: int) -> Floats:
    """ln of the hypergeometric law of the candidate's failures j = 0, 1, …, size - 1.

    `total` failures in n_c + n_s trials, each of shape (rollouts,); -inf where j is impossible. Shape (rollouts, size).
    """
    k, nc, ns = total[:, None], n_c[:, None], n_s[:, None]
    j = np.arange(size, dtype=np.float64)
    least, most = np.maximum(0.0, k - ns), np.minimum(k, nc)
    possible = (j >= least) & (j <= most)
    rising = (j > least) & (j <= most)  # where the law follows from the one before
    ratio = np.where(rising, (nc - j + 1) * (k - j + 1) / np.maximum(j * (ns - k + j), 1.0), 1.0)
    law = np.where(possible, np.cumsum(np.log(np.where(rising, ratio, 1.0)), axis=1), -np.inf)
    peak = np.max(law, axis=1, keepdims=True)
    return np.asarray(law - peak - np.log(np.sum(np.exp(law - peak), axis=1, keepdims=True)), dtype=np.float64)


def log_stake(total: Floats, n_c: Floats, n_s: Floats, log_e: Callable[[Floats], Floats], ceiling: Floats) -> Floats:
    """ln b >= 0 for each rollout: the largest stake that leaves the mean of min(b E, ceiling) what that of E is.

    `log_e(j)` gives ln E, of shape (rollouts, len(j)), had the candidate had j of the `total` failures.
    """
    size = int(np.max(total, initial=0)) + 1
    law = log_law(total, n_c, n_s, size)
    chance = np.exp(law)
    gains = np.where(chance > 0, log_e(np.arange(size, dtype=np.float64)), -np.inf)
    room = np.asarray(ceiling)[:, None]
    mean = np.sum(chance * np.exp(np.minimum(gains, 700.0)), axis=1)
    stake = np.zeros(len(total))
    for _ in range(_STEPS):  # from below: the mean is concave in b, so no step goes too far
        capped = gains + stake[:, None] > room
        at_ceiling = np.sum(np.where(capped, chance, 0.0), axis=1) * np.exp(np.minimum(room[:, 0], 700.0))
        rest = np.sum(np.where(capped, 0.0, chance * np.exp(np.minimum(gains, 700.0))), axis=1)
        left = mean - at_ceiling
        open_ = (rest > 0) & (left > rest)
        further = np.where(open_, np.log(np.where(open_, left, 1.0) / np.where(open_, rest, 1.0)), stake)
        if np.all(further <= stake + 1e-12):
            break
        stake = np.maximum(stake, further)
    return stake
