"""How long a run will take, by what those before it took; `runner.py` asks before each.

By it small runs happen on the event loop, and large ones that are alone have all cores.
"""

LARGE = 0.002
"""Seconds of a run with one thread from which on all cores may work on one. docs/serving.md has the measurements."""

_LONG = 0.1  # seconds of a run after which the next ones are expected to be long, for there may be more of its kind
_UP, _DOWN = 1.02, 1 / 1.02  # steps with which the expected time follows the median of what is seen
_ENOUGH = 3  # runs of which the fastest is believed, where nothing was known: the first ones allocate


class Pace:
    """Seconds of a run for each unit of its work: a row, or an element of the inputs where rows differ in length.

    It begins with `seconds`; None if they are not known, and a run is expected to be long until there was one.
    """

    def __init__(self, seconds: float | None) -> None:
        self._each = 1.0 if seconds is None else seconds
        self._missing = _ENOUGH if seconds is None else 0

    @property
    def known(self) -> bool:
        """Whether there were enough runs to believe what they took."""
        return not self._missing

    def expected(self, work: int) -> float:
        """Seconds of a run of so much work."""
        return self._each * work

    def ran(self, work: int, seconds: float) -> None:
        """A run of so much work, more than none, took so long."""
        each = seconds / work
        if self._missing:
            self._each = each if self._missing == _ENOUGH else min(self._each, each)
            self._missing -= 1
        else:
            self._each *= _UP if each > self._each else _DOWN
        if seconds > _LONG:
            self._each = max(self._each, each)
