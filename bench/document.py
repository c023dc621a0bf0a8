"""docs/benchmarks.md and its like: each command writes its own part, between its marks."""

from collections.abc import Sequence
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
END = "<!-- end -->"


def put(text: str, by: str, document: Path = DOCUMENT) -> None:
    """Put it between the marks of the command `by`; ValueError if the document has none."""
    whole = document.read_text()
    begin = f"<!-- written by {by} -->"
    before, found, rest = whole.partition(begin)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError(f"{document} has no place for the tables: {begin} … {END}")
    document.write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in [head, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
