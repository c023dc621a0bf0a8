"""One row for each version: what the report's table says. Pure; `report.py` prints it in two forms."""

from __future__ import annotations

from dataclasses import dataclass

from .claims import IN_WORDS
from .recording import Recording


@dataclass(frozen=True)
class Row:
    """One version's part of the story, in numbers. Times in seconds."""

    version: str
    what: str
    outcome: str
    good: bool
    total: float
    decided_after: float
    exposed: int
    failed_answers: int
    answers: int
    why: str


def rows(recording: Recording) -> list[Row]:
    """All versions that were applied."""
    found = []
    for number, act in enumerate(recording.acts):
        until = recording.acts[number + 1].applied if number + 1 < len(recording.acts) else recording.ended
        seen = recording.clients(act.applied, until)
        found.append(
            Row(
                version=act.version,
                what=act.title,
                outcome=IN_WORDS.get(act.outcome, act.outcome),
                good=act.outcome == act.wanted,
                total=act.ended - act.applied,
                decided_after=act.decided_after,
                exposed=recording.exposed(act.version),
                failed_answers=seen["failed"],
                answers=seen["ok"] + seen["failed"],
                why=f"{act.reason}: {act.message}" if act.message not in ("", "-") else act.reason,
            )
        )
    return found


def accuracy(recording: Recording) -> dict[str, float]:
    """Share of right answers by the version that gave them: the labels came with the rows."""
    revisions = recording.load.get("revisions", {})
    return {
        recording.versions[name]: outcomes["correct"] / outcomes["ok"]
        for name, outcomes in revisions.items()
        if name in recording.versions and outcomes["ok"] > 0
    }
