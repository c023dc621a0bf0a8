"""A running alarm for drift that began at any time: the Shiryaev-Roberts e-detector, against a null with a tolerance.

Called by `drift` with the counts of consecutive blocks of rows. Shin, Ramdas and Rinaldo, "E-detectors: a
nonparametric framework for sequential change detection" (arXiv 2203.03532): with L an e-value of the newest block,

    M <- (M + 1) L,

and an alarm at M >= A. While the null holds, the mean of M grows by at most 1 a block. So false alarms are at least A
blocks apart on average, and one comes within the first N blocks with probability at most N / A.

The null is that no event's share is further from the profile's than a tolerance allows and the profile's own sampling
error explains. A tolerance of 0.1 allows ten of a hundred rows, and for rare events no more than a Hellinger distance
of 0.1, which is about a population stability index of 0.08: a category of 10 % may fall to 3.3 %, one that never was
may rise to 2 %. The events of a number are its cuts: "at or below this edge" and "above it". Those of a category are
each bin by itself, "in it" and "not in it", and one that is chosen before each block: the union of the bins that rose
in the blocks before. Half the sum of the absolute differences of all shares *is* the largest gain of any union of
bins, so the chosen one sees what is spread over many small categories; it is held to the rows alone.

For an event with the share p <= r, the furthest that the null allows, the bet on q > r pays, for y of n rows in it,

    L = (q / r)^y ((1 - q) / (1 - r))^(n - y),

whose mean is [p q/r + (1 - p)(1 - q)/(1 - r)]^n <= 1, row by row: it may be looked at in the middle of a block. Each
event is bet on with several q, and M is the mean over all of them: a mean of e-detectors is one. The mean is taken
over the M and not over the L, for then its price of some ln(200) nats is paid once, and not with every block.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.core.statistics.distances import Floats, shares

GAPS = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
"""Alternatives: by which part of the way from the null's edge to 1 an event's share has risen."""

ALPHA = 0.01
"""How likely the profile, a sample, may be further from the truth than is allowed for."""

LOOKS = 10_000.0
"""Blocks between two false alarms of one model, at least and on average: 208 days of half-hours."""

_CERTAIN = 1 - 1e-9
_HEADROOM = 3.0
"""Nats beyond the alarm: enough that a little noise does not end it while the drift goes on."""
_MEMORY = 0.5
"""Weight of an earlier block, per block, in the choice of the bins that rose."""


@dataclass(frozen=True)
class Events:
    """Events whose share may be at most `edge`: `members` [E, B] says which bins belong to each."""

    members: NDArray[np.bool_]
    edge: Floats


def events_of(reference: Floats, categorical: bool, tolerance: float, error: float) -> Events:
    """The fixed events over the bins of `reference` [B], counts in their order, that can rise above their edge.

    `error` bounds what all shares of the profile may be off by; a rare event's own bound is narrower.
    """
    bins = len(reference)
    single = np.eye(bins, dtype=bool) if categorical else np.tri(bins - 1, bins, dtype=bool)
    members = np.concatenate([single, ~single])
    share = members @ shares(reference)
    edge = furthest(share, tolerance) + np.minimum(error, _own_error(share, float(reference.sum())))
    possible = edge < _CERTAIN
    return Events(members[possible], edge[possible])


def _own_error(share: Floats, rows: float) -> Floats:
    """How far each event's share in `rows` rows of the profile may be from the truth, all events together.

    Maurer and Pontil, "Empirical Bernstein bounds and sample variance penalization" (arXiv 0907.3740), theorem 4.
    """
    log = math.log(2 * max(1, len(share)) / ALPHA)
    return np.asarray(np.sqrt(2 * share * (1 - share) * log / max(rows, 1)) + 7 * log / (3 * max(rows - 1, 1)))


def furthest(share: Floats, tolerance: float) -> Floats:
    """How far an event's share may rise: by `tolerance`, and by no more than a Hellinger distance of `tolerance`.

    The Hellinger distance of two shares is sqrt(1 - cos(difference of their angles)), the angle of p being
    arcsin(sqrt(p)).
    """
    angle = np.arcsin(np.sqrt(np.clip(share, 0.0, 1.0))) + math.acos(1 - tolerance**2)
    return np.asarray(np.minimum(share + tolerance, np.sin(np.minimum(angle, math.pi / 2)) ** 2))


def log_detector(
    blocks: Floats, reference: Floats, categorical: bool, tolerance: float, error: float, alarm: float
) -> Floats:
    """ln M after each of the blocks [W, B]; counts of rows, the newest block last.

    `tolerance` in (0, 1); `error` is the profile's own, by which each of its shares may be off.

    All bets are scaled down when M grows beyond the alarm at ln A, so that it ends soon when the drift is over.
    """
    events = events_of(reference, categorical, tolerance, error)
    gains = _log_bets(blocks @ events.members.T, blocks.sum(axis=-1)[:, None], events.edge)
    if categorical:
        gains = np.concatenate([gains, _chosen(blocks, reference, tolerance + error)[:, None, :]], axis=1)
    gains = gains.reshape(len(blocks), -1)
    if not gains.shape[1]:
        return np.full(len(blocks), -np.inf)
    log_m = np.full(gains.shape[1], -np.inf)
    result = np.empty(len(blocks))
    for at, gain in enumerate(gains):
        log_m = np.logaddexp(log_m, 0.0) + gain
        mean = np.logaddexp.reduce(log_m) - math.log(len(log_m))
        result[at] = min(mean, alarm + _HEADROOM)
        log_m -= mean - result[at]
    return result


def threshold(features: int) -> float:
    """ln A for each of `features` features, so that LOOKS holds for all of them together."""
    return math.log(LOOKS * max(1, features))


def _log_bets(inside: Floats, rows: Floats, edge: Floats) -> Floats:
    """ln L for each block, event and gap [..., G] of `inside` rows in the event, out of `rows`."""
    edge = edge[..., None]
    q = edge + GAPS * (1 - edge)
    gain: Floats = inside[..., None] * np.log(q / edge) + (rows - inside)[..., None] * np.log1p(-GAPS)
    return gain


def _chosen(blocks: Floats, reference: Floats, slack: float) -> Floats:
    """ln L [W, G] of the union of the bins that rose before each block; 0 where nothing is known or can be said."""
    profile, memory = shares(reference), np.zeros(len(reference))
    rose = np.zeros(blocks.shape, dtype=bool)
    for at, block in enumerate(blocks):
        rose[at] = (shares(memory) > profile) & (memory.sum() > 0)
        memory = _MEMORY * memory + block
    edge = rose @ profile + slack
    possible = rose.any(axis=-1) & (edge < _CERTAIN)
    gain = _log_bets((blocks * rose).sum(axis=-1), blocks.sum(axis=-1), np.where(possible, edge, 0.5))
    return np.where(possible[:, None], gain, 0.0)
