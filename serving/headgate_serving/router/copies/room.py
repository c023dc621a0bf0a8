"""How much the shadow may hold: a bound in bytes over all copies, from the first piece to the verdict."""

from dataclasses import dataclass

MOST_BYTES = 32 << 20


@dataclass(slots=True)
class Room:
    """Taken piece by piece, given back at once."""

    most: int = MOST_BYTES
    taken: int = 0

    def take(self, size: int) -> bool:
        """Whether there is room for so many more bytes; if so they are taken."""
        if self.taken + size > self.most:
            return False
        self.taken += size
        return True

    def give(self, size: int) -> None:
        """These are held no more."""
        self.taken -= size
