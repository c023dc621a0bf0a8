"""Signals: the ways in which a candidate can be worse than stable. `signal.Signal` says what one is.

To add one: a module here, a line in `SIGNALS`, and its field in `api.spec`.
"""

from typing import Any

from headgate.core.signals.errors import ERRORS
from headgate.core.signals.latency import LATENCY
from headgate.core.signals.predictions import PREDICTION_SHIFT
from headgate.core.signals.shadow import SHADOW
from headgate.core.signals.signal import Signal

SIGNALS: tuple[Signal[Any, Any], ...] = (ERRORS, LATENCY, SHADOW, PREDICTION_SHIFT)
"""All of them, in the order in which they are reported."""
