"""How far live counts by bin are from the reference's: the distances that people know, over whole arrays.

`live` has the shape [..., B], counts of any number of windows; `reference` has [B]; the result has the shape [...].
A window without rows is at distance 0. All of them are pure and need no order of the bins but `kolmogorov_smirnov`.

With few rows none of them means anything by itself: without any drift PSI is about (1/n + 1/m) chi-square with B - 1
degrees of freedom, so that "0.1" with ten bins is a false alarm in 5 % of the windows of 170 rows. PSI and
Jensen-Shannon are therefore shown and decide nothing; what decides is in `drift`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

HALF = 0.5
"""Added to every bin on both sides (Jeffreys' prior), so that an empty bin is no infinite distance."""


def kolmogorov_smirnov(live: ArrayLike, reference: ArrayLike) -> Floats:
    """Largest difference of the cumulative shares, 0 to 1; the bins in ascending order.

    On values instead of bins it would be larger by at most the smaller share of one bin.
    """
    return np.asarray(np.abs(np.cumsum(_gaps(live, reference), axis=-1)).max(axis=-1, initial=0.0))


def total_variation(live: ArrayLike, reference: ArrayLike) -> Floats:
    """Half the sum of the absolute differences of the shares, 0 to 1: the share of the rows that moved."""
    return np.asarray(np.abs(_gaps(live, reference)).sum(axis=-1) / 2)


def population_stability_index(live: ArrayLike, reference: ArrayLike) -> Floats:
    """PSI = sum (p - q) ln(p / q), in nats, 0 to infinity."""
    p, q, empty = _smoothed(live, reference)
    return np.where(empty, 0.0, np.sum((p - q) * np.log(p / q), axis=-1))


def jensen_shannon(live: ArrayLike, reference: ArrayLike) -> Floats:
    """The Jensen-Shannon distance, the root of the divergence in bits: 0 to 1."""
    p, q, empty = _smoothed(live, reference)
    m = (p + q) / 2
    bits = np.sum(p * np.log2(p / m) + q * np.log2(q / m), axis=-1) / 2
    return np.where(empty, 0.0, np.sqrt(np.maximum(bits, 0.0)))


def shares(counts: ArrayLike) -> Floats:
    """Counts [..., B] as shares of their sum; zeros where there are none."""
    n = np.asarray(counts, dtype=np.float64)
    return np.asarray(n / np.maximum(n.sum(axis=-1, keepdims=True), 1.0))


def _gaps(live: ArrayLike, reference: ArrayLike) -> Floats:
    n = np.asarray(live, dtype=np.float64)
    there = (n.sum(axis=-1, keepdims=True) > 0) & (np.sum(reference) > 0)
    return np.where(there, shares(n) - shares(reference), 0.0)


def _smoothed(live: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    n, m = np.asarray(live, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    return shares(n + HALF), shares(m + HALF), (n.sum(axis=-1) <= 0) | (m.sum() <= 0)
