"""How often the shadow may look: a bound on the CPU that copies cost beside the users' requests.

What a verdict takes is some hundred pairs, and each costs the agent a millisecond or two. A busy router would copy
thousands a second, and an agent that is busy with them takes cores from Envoy and follows the weights late. So what is
more than this is let go before its body is read.
"""

from dataclasses import dataclass, field

MOST_A_SECOND = 50.0


@dataclass(slots=True)
class Pace:
    """So many a second, and as many at once after a rest. `now` in seconds, of any clock that does not go back."""

    a_second: float = MOST_A_SECOND
    _left: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._left = self.a_second

    def allows(self, now: float) -> bool:
        """Whether there may be another one now; if so it is taken."""
        self._left = min(self.a_second, self._left + (now - self._at) * self.a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
