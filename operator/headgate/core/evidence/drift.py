"""Have live inputs drifted from the reference profile? A time-uniform Kolmogorov-Smirnov band with a tolerance.

Called by `core.report` with the counters' totals. Drift hits stable and candidate alike, so it alerts and never
rolls back.

A feature has drifted where KS > tolerance + band(n) + reference(n_ref):

- band(t) = 0.85 sqrt((ln(1 + ln(t/m)) + C) / t), for all t >= m at once (Howard and Ramdas, "Sequential estimation
  of quantiles", arXiv 1906.09712), with C = 9.28 for alpha = 1 %;
- reference(n) = sqrt(ln(4/alpha) / (2n)), Massart's bound for the reference's own sampling error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

ALPHA = 0.01
_C = 9.28
FIRST_LOOK = 100
"""Rows before the first look (m of the band)."""


@dataclass(frozen=True)
class FeatureDrift:
    """How far one feature is from its reference."""

    feature: str
    rows: int
    distance: float
    limit: float

    @property
    def drifted(self) -> bool:
        """Whether the distance is beyond tolerance, band and the reference's own error."""
        return self.distance > self.limit


def band(rows: int) -> float:
    """Half-width of the time-uniform band after `rows` rows; 1 before the first look."""
    if rows < FIRST_LOOK:
        return 1.0
    return 0.85 * math.sqrt((math.log(1 + math.log(rows / FIRST_LOOK)) + _C) / rows)


def compare(feature: str, live: Mapping[str, float], reference: Mapping[str, float], tolerance: float) -> FeatureDrift:
    """Compare live counts by bin with the profile's. Bins are named and ordered as in the contract."""
    n, m = sum(live.values()), sum(reference.values())
    if n <= 0 or m <= 0:
        return FeatureDrift(feature, int(n), 0.0, 1.0)
    bins = sorted({*live, *reference}, key=_order)
    categorical = not any(b.startswith("n") for b in bins)
    gaps = [live.get(b, 0.0) / n - reference.get(b, 0.0) / m for b in bins]
    if categorical:
        distance = sum(abs(g) for g in gaps) / 2
    else:
        total, distance = 0.0, 0.0
        for gap in gaps:
            total += gap
            distance = max(distance, abs(total))
    limit = tolerance + band(int(n)) + math.sqrt(math.log(4 / ALPHA) / (2 * m))
    return FeatureDrift(feature, int(n), distance, limit)


def _order(bin_: str) -> tuple[int, str]:
    if bin_ == "below":
        return (0, bin_)
    if bin_.startswith("n"):
        return (1, bin_)
    return (2 if bin_ == "above" else 3, bin_)
