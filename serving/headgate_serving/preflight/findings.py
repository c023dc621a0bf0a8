"""What a check has found so far, and how that is told: bounded, and printable whatever the text is of."""

from dataclasses import dataclass, field

from headgate.api.preflight import MOST_FIGURES, MOST_TEXT, Check, CheckName

_SHOWN = 80


class NothingToCheck(Exception):
    """Raised by a check that has nothing to check; its text says why."""


@dataclass
class Findings:
    """Filled while a check goes on, so that what was found is there when its time ends."""

    wrong: list[str] = field(default_factory=list)
    """Each of them fails the check."""
    notes: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def count(self, figure: str, more: float = 1) -> None:
        """Add to a figure."""
        self.figures[figure] = self.figures.get(figure, 0) + more

    def check(self, name: CheckName) -> Check:
        """The result."""
        figures = {key: round(value, 6) for key, value in list(self.figures.items())[:MOST_FIGURES]}
        message = joined([*self.wrong, *self.notes])
        return Check(name=name, outcome="Failed" if self.wrong else "Passed", message=message, figures=figures)


def skipped(name: CheckName, why: str) -> Check:
    """The result of a check that had nothing to check."""
    return Check(name=name, outcome="Skipped", message=shown(why, MOST_TEXT))


def joined(lines: list[str]) -> str:
    """As many lines as fit, and how many did not."""
    text = ""
    for at, line in enumerate(lines):
        more = f"{'; ' if text else ''}{shown(line, 240)}"
        if len(text) + len(more) > MOST_TEXT - 20:
            return f"{text}; and {len(lines) - at} more"
        text += more
    return text


def shown(text: object, most: int = _SHOWN) -> str:
    """Text of an artifact or of an answer as it may be shown: in one line, without control characters, shortened."""
    flat = "".join(char if char.isprintable() else " " for char in str(text)[: 4 * most])
    flat = " ".join(flat.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
