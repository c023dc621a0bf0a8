"""Have inputs drifted from the reference profile? A band for all rows together, and a detector for a recent change.

Called by `history` with the counts of the last day and by `headgate drift` with those of a file. Drift hits stable
and candidate alike, so it alerts and never rolls back.

The distance of a number is that of Kolmogorov and Smirnov between live rows and profile, by bins; of a category half
the sum of the differences of all shares. A feature has drifted where one of two things says so:

1. The distance > tolerance + band(n) + reference error.
   - band(t) = 0.85 sqrt((ln(1 + ln(t/m)) + C) / t), for all t >= m at once (Howard and Ramdas, "Sequential estimation
     of quantiles", arXiv 1906.09712), with C = 9.28 for alpha = 1 %. Their proof adds one bound per epoch of rows and
     needs no more than P(distance >= x) <= 2 exp(-2 t x^2). For categories that holds for what the distance has above
     its mean (McDiarmid), so its mean is added: without drift at most half the sum of sqrt(p (1 - p) / t). The
     epochs' ratio is below 2 * 0.85^2, hence the factor sqrt(2) * 0.85.
   - reference error: the same for the profile, a sample of m rows: sqrt(ln(4/alpha) / (2m)) for numbers (Massart); for
     categories its mean plus sqrt(ln(2/alpha) / (2m)).
2. The running detector over the blocks (`detector`), with tolerance and reference error as its null's slack. It finds
   what is only a little beyond the tolerance, within few blocks of when it began, however long all was well before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.core.statistics.detector import ALPHA, log_detector, threshold
from headgate.core.statistics.distances import Floats, kolmogorov_smirnov, shares, total_variation

_A, _C = 0.85, 9.28
FIRST_LOOK = 100
"""Rows before the first look: m of the band, and the detector gives no alarm before."""


@dataclass(frozen=True)
class FeatureDrift:
    """How far one feature is from its reference."""

    feature: str
    rows: int
    distance: float
    limit: float
    alarmed: bool = False
    """Whether the detector found a change in the newest rows."""

    @property
    def drifted(self) -> bool:
        """Whether the distance is beyond its limit, or the newest rows have changed."""
        return self.alarmed or self.distance > self.limit


@dataclass(frozen=True)
class Windows:
    """Consecutive windows of one feature: arrays of the same length."""

    rows: Floats
    distance: Floats
    limit: Floats
    evidence: Floats
    """ln M of the detector, after each window."""
    alarm: float
    """What `evidence` has to reach."""

    @property
    def drifted(self) -> NDArray[np.bool_]:
        """The verdict for each window."""
        return (self.distance > self.limit) | (self.evidence >= self.alarm)

    @property
    def too_few(self) -> NDArray[np.bool_]:
        """Windows about which nothing can be said: not drifted, and without the rows for a look."""
        return ~self.drifted & (self.rows < FIRST_LOOK)


def band(rows: float) -> float:
    """Half-width of the time-uniform band after `rows` rows; 1 before the first look."""
    if rows < FIRST_LOOK:
        return 1.0
    return _A * math.sqrt((math.log(1 + math.log(rows / FIRST_LOOK)) + _C) / rows)


def reference_error(reference: ArrayLike, categorical: bool) -> float:
    """How far the profile, with these counts [B], may be from what it is a sample of; 1 without any row."""
    counts = np.asarray(reference, dtype=np.float64)
    m = float(counts.sum())
    if m <= 0:
        return 1.0
    if not categorical:
        return math.sqrt(math.log(4 / ALPHA) / (2 * m))
    return float(_spread(counts)) / math.sqrt(m) + math.sqrt(math.log(2 / ALPHA) / (2 * m))


def look(blocks: ArrayLike, reference: ArrayLike, categorical: bool, tolerance: float, features: int = 1) -> Windows:
    """Judge windows of counts [W, B] against the profile's [B], in the order of time and of the bins.

    `tolerance` is the largest distance that is no drift, in (0, 1); `features` is how many are looked at together.
    """
    n = np.atleast_2d(np.asarray(blocks, dtype=np.float64))
    m = np.asarray(reference, dtype=np.float64)
    rows, error = n.sum(axis=-1), reference_error(m, categorical)
    slack = tolerance + error
    limit = slack + np.array([band(r) for r in rows])
    if categorical:
        limit += math.sqrt(2) * _A * _spread(n + m) / np.sqrt(np.maximum(rows, 1))
    distance = (total_variation if categorical else kolmogorov_smirnov)(n, m)
    alarm, silent = threshold(features), (np.cumsum(rows) < FIRST_LOOK) | (m.sum() <= 0)
    evidence = np.where(silent, -np.inf, log_detector(n, m, categorical, tolerance, error, alarm))
    return Windows(rows, distance, limit, evidence, alarm)


def follow(
    feature: str, bins: Sequence[str], blocks: ArrayLike, reference: ArrayLike, tolerance: float, features: int = 1
) -> FeatureDrift:
    """Compare consecutive blocks of live counts [W, B] with the profile's [B]: all together, and as they came.

    `bins` [B] are named as in the contract, and may come in any order.
    """
    order = sorted(range(len(bins)), key=lambda at: _order(bins[at]))
    n = np.asarray(blocks, dtype=np.float64)[:, order]
    m = np.asarray(reference, dtype=np.float64)[order]
    if n.sum() <= 0 or m.sum() <= 0:
        return FeatureDrift(feature, int(n.sum()), 0.0, 1.0)
    categorical = not any(b.startswith("n") for b in bins)
    whole = look(n.sum(axis=0), m, categorical, tolerance)
    newest = look(n, m, categorical, tolerance, features)
    return FeatureDrift(
        feature,
        int(whole.rows[0]),
        float(whole.distance[0]),
        float(whole.limit[0]),
        bool(newest.evidence[-1] >= newest.alarm),
    )


def _spread(counts: Floats) -> Floats:
    """Half the sum of sqrt(p (1 - p)): the mean distance of a sample from its own law, times the root of its rows."""
    p = shares(counts)
    return np.asarray(np.sqrt(p * (1 - p)).sum(axis=-1) / 2)


def _order(bin_: str) -> tuple[int, str]:
    if bin_ == "below":
        return (0, bin_)
    if bin_.startswith("n"):
        return (1, bin_)
    return (2 if bin_ == "above" else 3, bin_)
