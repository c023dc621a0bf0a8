"""How much stable's bad answers cluster: their variance over that of independent ones, from before the rollout.

Called by the data plane when a canary is about to open. A pod that stalls for a moment gives many bad answers in a row;
taken for independent ones they would be evidence against a candidate that is no worse. `rates` divides its bets by
what comes out here.
"""

import numpy as np

from headgate.core.statistics.difference import Floats

SCALES = (1, 4, 16, 64)
"""How many windows are merged into one: a burst lasts longer than a scrape."""

FEWEST_WINDOWS = 8
"""As many must be left after merging."""

FEWEST_EVENTS = 10
"""Fewer bad answers show nothing: 1."""

STANDARD_ERRORS = 4.0
"""By so much must the ratio be above 1, so that independent bad answers hardly ever pass for clustered ones."""

MORE_STANDARD_ERRORS = 2.0
"""By so much must a wider window say more than the narrower ones."""

_OVERLAP = 1.5
"""Every window is in two pairs of neighbours, which adds half to the variance of what they give."""


def dispersion(trials: Floats, events: Floats) -> float:
    """Variance over binomial variance, at least 1, of one version's counts of shape (windows, pods).

    With several pods, of the differences between pods within a window: common outages and seasons don't count. With
    one, of the differences between neighbouring windows: seasons don't count. The largest over several scales.
    """
    trials, events = np.asarray(trials, dtype=np.float64), np.asarray(events, dtype=np.float64)
    if events.sum() < FEWEST_EVENTS:
        return 1.0
    together = (trials > 0).sum(axis=1) > 1
    between_pods = trials[together].sum() > trials.sum() / 2
    if not between_pods:
        trials, events = trials.sum(axis=1, keepdims=True), events.sum(axis=1, keepdims=True)
    largest = 1.0
    for scale in SCALES:
        if len(trials) // scale < FEWEST_WINDOWS:
            break
        n, y = _merged(trials, scale), _merged(events, scale)
        rows = (n, y, 1.0) if between_pods else (_neighbours(n), _neighbours(y), _OVERLAP)
        largest = max(largest, _beyond(largest, *rows))
    return largest


def _merged(counts: Floats, scale: int) -> Floats:
    """Sums of `scale` windows; what is left over at the beginning is dropped."""
    windows = len(counts) // scale
    return np.asarray(counts[len(counts) - windows * scale :].reshape(windows, scale, -1).sum(axis=1))


def _neighbours(counts: Floats) -> Floats:
    """Each window beside the next: shape (windows - 1, 2)."""
    return np.hstack([counts[:-1], counts[1:]])


def _beyond(least: float, n: Floats, y: Floats, inflation: float) -> float:
    """Sum of squared deviations over what it would be if each row's events fell on its trials by chance.

    `least` where the ratio is not clearly above that, taking the events to come in bunches of that size: at one
    scale of several the ratio is large by chance. Given a row's totals the events are hypergeometric, which gives
    the mean; the variance is that of the multinomial law, a little more. `inflation` of that variance: rows overlap.
    """
    total, bad = n.sum(axis=1), y.sum(axis=1)
    informative = (bad > 0) & (total > bad)
    n, y, total, bad = n[informative], y[informative], total[informative], bad[informative]
    share = n / total[:, None]
    second, third = (share**2).sum(axis=1), (share**3).sum(axis=1)
    expected = float(np.sum(bad * (1 - second) * (total - bad) / (total - 1)))
    if expected <= 0:
        return least
    ratio = float(np.sum((y - bad[:, None] * share) ** 2)) / expected
    pairs = 2 * bad * np.maximum(bad - least, 0) * (second - 2 * third + second**2)
    singles = 4 * least * bad * (third - second**2)
    error = least * np.sqrt(inflation * float(np.sum(pairs + singles))) / expected
    needed = STANDARD_ERRORS if least == 1 else MORE_STANDARD_ERRORS
    return ratio if ratio > least + needed * error else least
