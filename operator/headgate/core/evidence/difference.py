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

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EDGE = 1e-9
"""Proportions are kept this far from 0 and 1."""

_BISECTIONS = 50


def log_e_at_most(
    y_c: ArrayLike,
    n_c: ArrayLike,
    y_s: ArrayLike,
    n_s: ArrayLike,
    q_c: ArrayLike,
    q_s: ArrayLike,
    margin: ArrayLike,
) -> Floats:
    """ln E of one block against "p_c - p_s <= margin".

    All arguments broadcast against each other: counts of one block, proportions in [0, 1] that were estimated from
    earlier blocks only, margin in (-1, 1). The result is 0 wherever the alternative lies inside the null, or an
    arm had no trials.
    """
    yc, nc, ys, ns, qc, qs, d = (np.asarray(a, dtype=np.float64) for a in (y_c, n_c, y_s, n_s, q_c, q_s, margin))
    qc, qs = np.clip(qc, EDGE, 1 - EDGE), np.clip(qs, EDGE, 1 - EDGE)
    rs = _nearest_stable(nc, ns, qc, qs, d)
    rc = np.clip(rs + d, EDGE, 1 - EDGE)
    gain = (
        yc * np.log(qc / rc)
        + (nc - yc) * np.log((1 - qc) / (1 - rc))
        + ys * np.log(qs / rs)
        + (ns - ys) * np.log((1 - qs) / (1 - rs))
    )
    silent = (qc - qs <= d) | (nc <= 0) | (ns <= 0)
    return np.where(silent, 0.0, gain)


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


def _nearest_stable(nc: Floats, ns: Floats, qc: Floats, qs: Floats, d: Floats) -> Floats:
    """r_s of the nearest point on the null's edge r_c = r_s + d, by bisection on the divergence's slope."""
    shape = np.broadcast_shapes(nc.shape, ns.shape, qc.shape, qs.shape, d.shape)
    low = np.broadcast_to(np.maximum(EDGE, EDGE - d), shape).copy()
    high = np.broadcast_to(np.minimum(1 - EDGE, 1 - EDGE - d), shape).copy()
    for _ in range(_BISECTIONS):
        r = (low + high) / 2
        rc = r + d
        slope = nc * (rc - qc) / (rc * (1 - rc)) + ns * (r - qs) / (r * (1 - r))
        too_high = slope > 0
        high = np.where(too_high, r, high)
        low = np.where(too_high, low, r)
    return np.asarray((low + high) / 2, dtype=np.float64)


def log_mean(log_e: ArrayLike, axis: int | None = None) -> Floats:
    """ln of the mean of e-values, given their logarithms: again an e-value, under any dependence."""
    values = np.asarray(log_e, dtype=np.float64)
    peak = np.max(values, axis=axis, keepdims=True)
    mean = np.log(np.mean(np.exp(values - peak), axis=axis, keepdims=True)) + peak
    return np.asarray(np.squeeze(mean, axis=axis) if axis is not None else mean.reshape(()), dtype=np.float64)
