"""From the counters of all pods at points in time to the blocks of rows in between. Called by `background` for drift.

Between two points a counter has gained its difference. Where any counter of a pod is lower than before, its process
began anew, and all of them count from 0; so does a pod that was not there at the first point. What a pod counted
between its last point and its end is lost: some rows fewer, of no particular kind.

Of what was there at the first point of all nobody knows the age. It is the first block, and is only used while there
is hardly anything after it: in the first half-hour of a model, or of a Prometheus that lost its data.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from headgate.core.statistics.counters import Series
from headgate.core.statistics.drift import FIRST_LOOK

SPAN = 24 * 3600.0
"""Seconds that are looked back: a whole day, so that every hour of the day is in it; a drift of last week is news no
more. A Prometheus that keeps less gives less."""

STEP = 1800.0
"""Seconds of a block: 48 of them. The detector finds what began with any block. Half as long would cost twice as much
to read, and a change that matters lasts longer."""

Block = Mapping[str, float]
"""Rows by bin."""

Feature = tuple[str, str]
"""Name and layout."""


def blocks_of(series: Iterable[Series]) -> dict[Feature, list[Block]]:
    """The blocks of each feature in the order of time, the last of them up to now and perhaps short.

    `series` have the labels feature, bin and layout, and samples at points that all of them share; a series has none
    at a point where it was not there.
    """
    targets: dict[str, list[Series]] = defaultdict(list)
    for counter in series:
        if counter.samples:
            targets[counter.target].append(counter)
    times = sorted({t for of_target in targets.values() for counter in of_target for t, _ in counter.samples})
    place = {t: at for at, t in enumerate(times)}
    features: dict[Feature, list[dict[str, float]]] = {}
    for of_target in targets.values():
        for counter, gains in zip(of_target, _gains(of_target, place), strict=True):
            labels, bin_ = counter.labels, counter.labels.get("bin", "")
            blocks = features.setdefault((labels.get("feature", ""), labels.get("layout", "")), [{} for _ in times])
            for at in np.flatnonzero(gains).tolist():
                blocks[at][bin_] = blocks[at].get(bin_, 0.0) + float(gains[at])
    return {feature: _known(blocks) for feature, blocks in features.items()}


def _gains(target: list[Series], place: Mapping[float, int]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """What each counter of one pod gained up to each point [series, points]."""
    values = np.full((len(target), len(place)), np.nan)
    for row, counter in enumerate(target):
        for t, value in counter.samples:
            values[row, place[t]] = value
    there = np.flatnonzero(~np.isnan(values).all(axis=0))
    present = np.nan_to_num(values[:, there])
    gained = np.diff(present, axis=1, prepend=0.0)
    anew = (gained < 0).any(axis=0)
    gained[:, anew] = present[:, anew]
    result = np.zeros(values.shape)
    result[:, there] = gained
    return result


def _known(blocks: list[dict[str, float]]) -> list[Block]:
    """Without the first block, if the others say enough."""
    later = blocks[1:]
    return list(later if sum(sum(block.values()) for block in later) >= FIRST_LOOK else blocks)
