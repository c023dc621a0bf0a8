"""An e-value for trials of the candidate alone, against what is known of stable from before the rollout.

Called by `rates` where stable gets no requests for long, as with a weight of 100 %. The null hypothesis is "p_c - p_s
<= margin", where p_s is stable's rate now and in the history. For any alternative q

    E = q^y (1 - q)^(n - y) * m / sup over the null of  p_c^y (1 - p_c)^(n - y) * p_s^Y (1 - p_s)^(N - Y),

with y of n trials of the candidate, Y of N of stable's history, and m the probability of the history where p_s is drawn
from Beta(1/2, 1/2). The numerator is a probability law of all these outcomes and the denominator is at least their
probability under the truth, so the mean of E is at most 1, and P(E ever >= 1/alpha) <= alpha (universal inference:
Wasserman, Ramdas and Balakrishnan, arXiv 1912.11436). How uncertain stable's rate is, is so paid for: some three units
of ln E with a long history, less with a short one. The product with the bets of other blocks stays valid, for those
may depend on the history as on anything that is past.

Unlike a comparison of versions at the same time this one takes stable's rate to be what it was. It is the second best.
A history raised to a power below 1 counts less, and its part of E still has a mean of at most 1 (Jensen).
"""

import math

import numpy as np

from headgate.core.statistics.difference import Floats, nearest_stable

_PRIOR = 0.5
_lgamma = np.frompyfunc(math.lgamma, 1, 1)


def log_e_alone(
    n: Floats, y: Floats, trials: Floats, events: Floats, trust: Floats, q: Floats, margin: float
) -> Floats:
    """ln E for each of the alternatives `q`, of shape (rollouts, alternatives).

    `y` events in `n` trials of the candidate so far, `events` in `trials` of stable's history, which is raised to the
    power `trust`; each of shape (rollouts,). 0 where there is no history or no trial.
    """
    n, y, trials, events, trust = (a[:, None] for a in (n, y, trials, events, trust))
    seen_c, seen_s = y / np.maximum(n, 1.0), events / np.maximum(trials, 1.0)
    edge = nearest_stable(n, trust * trials, seen_c, seen_s, np.asarray(margin))
    inside = seen_c - seen_s <= margin
    p_c, p_s = np.where(inside, seen_c, edge + margin), np.where(inside, seen_s, edge)
    likeliest = _log_likelihood(n, y, p_c) + trust * _log_likelihood(trials, events, p_s)
    drawn = _log_beta(events + _PRIOR, trials - events + _PRIOR) - _log_beta(_PRIOR, _PRIOR)
    both = (n > 0) & (trials > 0)
    return np.where(both, _log_likelihood(n, y, q) + trust * drawn - likeliest, 0.0)


def _log_likelihood(n: Floats, y: Floats, p: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(y > 0, y * np.log(p), 0.0) + np.where(n > y, (n - y) * np.log1p(-p), 0.0))


def _log_beta(a: Floats | float, b: Floats | float) -> Floats:
    return np.asarray(_lgamma(a) + _lgamma(b) - _lgamma(np.add(a, b)), dtype=np.float64)
