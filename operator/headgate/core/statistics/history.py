"""The rows that drift is judged by: how many came in each bin, in blocks of half an hour, a day back.

Called by `background`. Prometheus adds up the pods (`edges.promql.gained`), so what is kept of a model is one array. A
block is complete at each full multiple of `STEP`, does not change any more, and is asked for once.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.core.statistics.difference import Floats
from headgate.core.statistics.drift import FeatureDrift, follow

STEP = 1800.0
"""Seconds of a block. The detector finds what began with any block. Half as long would cost twice as much to read, and
a change that matters lasts longer."""

BLOCKS = 48
"""Blocks that are looked back: a whole day, so that every hour of the day is in it; a drift of last week is news no
more. A Prometheus that keeps less gives less."""

MOST_BINS = 10_000
"""Bins of all features of a model together that are looked at."""

Bin = tuple[str, str, str]
"""Feature, bin, layout."""


@dataclass(frozen=True)
class Profile:
    """The counts of a reference, and in which order bins are kept."""

    places: Mapping[Bin, int]
    counts: Floats
    """[bins]"""
    features: tuple[tuple[str, tuple[str, ...], int], ...]
    """Name, bins, and where they begin."""
    left_out: int = 0
    """Features beyond MOST_BINS: the last ones by name."""

    @property
    def fingerprint(self) -> str:
        """The same for profiles with the same bins."""
        return hashlib.sha256(repr(list(self.places)).encode()).hexdigest()


def profile_of(counts: Mapping[Bin, float]) -> Profile:
    """The features of a reference by name, as many as there is room for."""
    features: dict[tuple[str, str], list[str]] = {}
    for feature, bin_, layout in sorted(counts):
        features.setdefault((feature, layout), []).append(bin_)
    places: dict[Bin, int] = {}
    kept = list[tuple[str, tuple[str, ...], int]]()
    for (feature, layout), bins in features.items():
        if len(places) + len(bins) > MOST_BINS:
            break
        kept.append((feature, tuple(bins), len(places)))
        places |= {(feature, bin_, layout): len(places) + at for at, bin_ in enumerate(bins)}
    reference = np.array([counts[bin_] for bin_ in places], dtype=np.float64)
    return Profile(places, reference, tuple(kept), len(features) - len(kept))


@dataclass
class History:
    """The complete blocks of one model up to `end`."""

    fingerprint: str
    bins: int
    end: float = -math.inf
    """Seconds since the epoch, by Prometheus' clock."""
    _counts: NDArray[np.float32] = field(init=False)
    """[bins, BLOCKS], the newest last. Exact up to 16 million rows of a bin in a block."""

    def __post_init__(self) -> None:
        self._counts = np.zeros((self.bins, BLOCKS), dtype=np.float32)

    def missing(self, now: float) -> Sequence[float]:
        """The ends of complete blocks that are not known yet, in the order of time."""
        last = math.floor(now / STEP)
        first = last - BLOCKS + 1 if self.end == -math.inf else max(round(self.end / STEP) + 1, last - BLOCKS + 1)
        return [at * STEP for at in range(first, last + 1)]

    def add(self, ends: Sequence[float], gained: Floats) -> None:
        """Take in the next complete blocks, with their rows [bins, len(ends)]."""
        gone = BLOCKS if self.end == -math.inf else min(BLOCKS, round((ends[-1] - self.end) / STEP))
        self._counts = np.roll(self._counts, -gone, axis=1)
        self._counts[:, BLOCKS - gone :] = 0
        self._counts[:, BLOCKS - len(ends) :] = gained
        self.end = ends[-1]

    def drift(self, profile: Profile, newest: Floats, tolerance: float) -> tuple[FeatureDrift, ...]:
        """Each feature's verdict; `newest` [bins] are the rows since `end`, of a block that is not complete yet."""
        blocks = np.concatenate([self._counts, newest[:, None]], axis=1, dtype=np.float64).T
        blocks = blocks[np.argmax(blocks.any(axis=1)) :]
        return tuple(
            follow(
                feature,
                bins,
                blocks[:, at : at + len(bins)],
                profile.counts[at : at + len(bins)],
                tolerance,
                len(profile.features),
            )
            for feature, bins, at in profile.features
        )
