"""A request or an answer as it went by: some of its headers, and its body."""

from dataclasses import dataclass, field

MAX_BODY = 1 << 20
"""Bytes of a request or an answer that is looked at. What says that it is larger is not copied."""


@dataclass(slots=True)
class Message:
    """Headers (names in lower case; those of trailers among them) and body of a request or an answer."""

    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    @property
    def body(self) -> bytes:
        """All pieces."""
        return b"".join(self.pieces)

    def header(self, name: str) -> str:
        """Its value, or nothing."""
        return self.headers.get(name, "")
