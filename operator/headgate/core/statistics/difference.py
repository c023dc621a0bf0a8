"""An e-value for the difference of two proportions, with a margin: the test that every signal is made of.

In a block, arm g of {candidate, stable} had n_g trials and y_g events. For a null hypothesis "p_c - p_s <= margin"
and any alternative (q_c, q_s) that was chosen before the block,

    ln E = sum over g of  y_g ln(q_g / r_g) + (n_g - y_g) ln((1 - q_g) / (1 - r_g)),

where (r_c, r_s) is the point of the null that is nearest to (q_c, q_s): it minimises
n_c KL(q_c || r_c) + n_s KL(q_s || r_s).

Why E is an e-value. Under (p_c, p_s) the mean of E is the product of [p_g q_g / r_g + (1 - p_g)(1 - q_g)/(1 - r_g)]
to the power n_g. Its logarithm is concave in (p_c, p_s), is 0 at (r_c, r_s), and its gradient there is minus the
gradient of the minimised divergence, which on a convex set points nowhere into the set. So it is at most 0 on the
whole null: E has mean at most 1, for each block by itself. Proportions may therefore drift from block to block, the
traffic may be split in any way, and products over blocks stay below 1/alpha for ever with probability 1 - alpha
(Ville). For margin 0 it is the test of Turner, Ly and Grünwald (arXiv 2106.02693); the convex null is the setting of
Turner and Grünwald, "Exact anytime-valid confidence intervals for contingency tables and beyond" (2022).

Other nulls are this one after a change of names: see `at_least`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EDGE = 1e-9
"""Proportions are kept this far from 0 and 1."""

_CLOSE = 1e-13
"""Relative precision of the nearest point; what it leaves out of the mean of E is its square."""

_STEPS = 100


class Bet(NamedTuple):
    """ln E of a block as a function of its events: constant + candidate * y_c + stable * y_s."""

    constant: Floats
    candidate: Floats
    stable: Floats

    def log_e(self, y_c: ArrayLike, y_s: ArrayLike) -> Floats:
        """ln E for these numbers of events."""
        return np.asarray(self.constant + self.candidate * np.asarray(y_c) + self.stable * np.asarray(y_s))


def bet_at_most(n_c: ArrayLike, n_s: ArrayLike, q_c: ArrayLike, q_s: ArrayLike, margin: ArrayLike) -> Bet:
    """The bet of one block against "p_c - p_s <= margin".

    All arguments broadcast against each other: trials of the block, proportions in [0, 1] that were estimated from
    earlier blocks only, margin in (-1, 1). The bet is nothing wherever the alternative lies inside the null, or an
    arm had no trials.
    """
    nc, ns, qc, qs, d = (np.asarray(a, dtype=np.float64) for a in (n_c, n_s, q_c, q_s, margin))
    qc, qs = np.clip(qc, EDGE, 1 - EDGE), np.clip(qs, EDGE, 1 - EDGE)
    silent = (qc - qs <= d) | (nc <= 0) | (ns <= 0)
    rs = nearest_stable(nc, ns, qc, qs, d)
    rc = np.clip(rs + d, EDGE, 1 - EDGE)
    missed_c, missed_s = np.log((1 - qc) / (1 - rc)), np.log((1 - qs) / (1 - rs))
    return Bet(
        np.where(silent, 0.0, nc * missed_c + ns * missed_s),
        np.where(silent, 0.0, np.log(qc / rc) - missed_c),
        np.where(silent, 0.0, np.log(qs / rs) - missed_s),
    )


def log_e_at_most(
    y_c: ArrayLike,
    n_c: ArrayLike,
    y_s: ArrayLike,
    n_s: ArrayLike,
    q_c: ArrayLike,
    q_s: ArrayLike,
    margin: ArrayLike,
) -> Floats:
    """ln E of one block against "p_c - p_s <= margin"; arguments as in `bet_at_most`."""
    return bet_at_most(n_c, n_s, q_c, q_s, margin).log_e(y_c, y_s)


def log_e_at_least(
    y_c: ArrayLike,
    n_c: ArrayLike,
    y_s: ArrayLike,
    n_s: ArrayLike,
    q_c: ArrayLike,
    q_s: ArrayLike,
    margin: ArrayLike,
) -> Floats:
    """ln E of one block against "p_c - p_s >= margin": the events' complements, at most -margin apart."""
    misses_c, misses_s = np.subtract(n_c, y_c), np.subtract(n_s, y_s)
    return log_e_at_most(
        misses_c, n_c, misses_s, n_s, np.subtract(1.0, q_c), np.subtract(1.0, q_s), np.negative(margin)
    )


def nearest_stable(nc: Floats, ns: Floats, qc: Floats, qs: Floats, d: Floats) -> Floats:
    """r_s of the null's point that is nearest to (q_c, q_s), on its edge r_c = r_s + d; q_s or so inside the null.

    The divergence's slope times r_c (1 - r_c) r_s (1 - r_s) is a cubic with one root between the two proportions of
    the alternative: Newton's method, with bisection where it would leave the bracket.
    """
    nc, ns, qc, qs, d = np.broadcast_arrays(nc, ns, qc, qs, d)
    low = np.maximum(qs, np.maximum(EDGE, EDGE - d))
    high = np.maximum(low, np.minimum(qc - d, np.minimum(1 - EDGE, 1 - EDGE - d)))
    total = np.maximum(nc + ns, 1.0)
    share_c, share_s = nc / total, ns / total
    r = np.clip(share_c * (qc - d) + share_s * qs, low, high)
    settled = qc - qs <= d
    for _ in range(_STEPS):
        rc = r + d
        vary_c, vary_s = rc * (1 - rc), r * (1 - r)
        value = share_c * (rc - qc) * vary_s + share_s * (r - qs) * vary_c
        slope = share_c * (vary_s + (rc - qc) * (1 - 2 * r)) + share_s * (vary_c + (r - qs) * (1 - 2 * rc))
        high, low = np.where(value > 0, r, high), np.where(value > 0, low, r)
        step = r - np.divide(value, slope, out=np.full(r.shape, np.inf), where=slope != 0)
        following = np.where((step >= low) & (step <= high), step, (low + high) / 2)
        moved = np.abs(following - r) > _CLOSE * r
        r = np.where(settled, r, following)
        settled = settled | ~moved
        if settled.all():
            break
    return r


def log_mixture(log_e: ArrayLike, weights: ArrayLike) -> Floats:
    """ln of the weighted mean of e-values along the last axis: again an e-value, under any dependence.

    `weights` add up to 1.
    """
    values = np.asarray(log_e, dtype=np.float64)
    peak = np.max(values, axis=-1, keepdims=True)
    return np.asarray(np.log(np.exp(values - peak) @ np.asarray(weights)) + peak[..., 0], dtype=np.float64)


def log_mean(log_e: ArrayLike) -> Floats:
    """ln of the mean of e-values along the last axis."""
    size = np.shape(log_e)[-1]
    return log_mixture(log_e, np.full(size, 1 / size))
