"""When a rollout is decided, for one rollout or for many at once. The only place where evidence becomes a verdict.

Called by `core.phases` with the status' figures and by `simulate` with arrays.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.core.signals.evidence import threshold
from headgate.core.signals.signal import PASS

Decided = NDArray[np.bool_]


def harmful(log_harm: ArrayLike, alpha: float) -> Decided:
    """Whether the combined evidence shows that the candidate is worse than stable by more than a margin."""
    return np.asarray(np.asarray(log_harm) >= round(threshold(alpha), 4))


def budget_spent(spent: ArrayLike, budget: ArrayLike, log_worse: ArrayLike, passed: ArrayLike, alpha: float) -> Decided:
    """Whether the candidate cost all that it may, and is shown to be worse than stable, if only by a little.

    Without the second condition stable's own bursts of failures would end the rollouts of versions that are equal.
    """
    shown = np.asarray(log_worse) >= threshold(alpha)
    return np.asarray((np.asarray(spent) >= budget) & shown & ~np.asarray(passed))


def passed(log_safe: Iterable[ArrayLike]) -> Decided:
    """Whether every signal that is compared has shown that the candidate is not worse by its margin.

    Raises ValueError where none is: nothing has passed then.
    """
    logs = [np.asarray(log) >= PASS for log in log_safe]
    if not logs:
        raise ValueError("nothing is compared, so nothing has passed")
    return np.asarray(np.all(logs, axis=0))
