"""Signals: the ways in which a candidate can be worse than stable. `signal.Signal` says what one is.

To add one: a module here, a line in `SIGNALS`, and its field in `api.spec`. The user's own are made of the spec.
"""

from typing import Any

from headgate.api.spec import Spec
from headgate.core.signals.bound import Bound
from headgate.core.signals.errors import ERRORS
from headgate.core.signals.latency import LATENCY
from headgate.core.signals.predictions import PREDICTION_SHIFT
from headgate.core.signals.ratio import CAPITAL, Ratio
from headgate.core.signals.shadow import SHADOW
from headgate.core.signals.signal import Signal

SIGNALS: tuple[Signal[Any, Any], ...] = (ERRORS, LATENCY, SHADOW, PREDICTION_SHIFT)
"""Headgate's own, in the order in which they are reported."""


def signals_of(spec: Spec) -> tuple[Signal[Any, Any], ...]:
    """All that a rollout with this spec may compare: Headgate's own, and the user's."""
    return (*SIGNALS, *user_signals(spec))


def user_signals(spec: Spec) -> tuple[Signal[Any, Any], ...]:
    """Those of `spec.rollout.signals`. What decides shares what there is of alpha for them."""
    wanted = spec.rollout.signals
    capital = CAPITAL / max(1, sum(each.required and each.query is None for each in wanted))
    return tuple(Bound(each) if each.query is not None else Ratio(each, capital) for each in wanted)
