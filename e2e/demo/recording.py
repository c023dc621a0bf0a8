"""Everything that was seen while the story was played: written by `watch.py` and `story.py`, kept as JSON.

`claims.py`, `summary.py`, `plots.py` and `report.py` work on a recording alone, so a report can be made again from
`build/demo/report.json`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tick:
    """One look. `weights` by version, `attempts` by version as Envoy counted them, evidence as ln of e-values."""

    time: float
    phase: str
    weights: dict[str, float]
    attempts: dict[str, float]
    combined: float | None = None
    errors: float | None = None
    predictions: float | None = None
    errors_safe: float | None = None
    predictions_safe: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Act:
    """One version's part of the story. `outcome` is what came of it; `pods` are serving and router pods by UID."""

    version: str
    title: str
    wanted: str
    applied: float
    ended: float
    outcome: str
    reason: str = "-"
    message: str = "-"
    decided_after: float = 0.0
    candidate_requests: int = 0
    pods_before: dict[str, str] = field(default_factory=dict)
    pods_after: dict[str, str] = field(default_factory=dict)
    restarts: int = 0


@dataclass(frozen=True)
class Note:
    """An event of Kubernetes about the ModelDeployment."""

    time: str
    type: str
    reason: str
    message: str


@dataclass
class Recording:
    """A whole run. `seconds` are the load generator's, by second; times are seconds since the epoch."""

    facts: dict[str, float] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
    acts: list[Act] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[int, dict[str, Any]] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    attempts: dict[str, float] = field(default_factory=dict)

    def act(self, version: str) -> Act | None:
        """The act of a version, if it was played."""
        return next((act for act in self.acts if act.version == version), None)

    def threshold(self) -> float | None:
        """The ln of the e-value at which a version goes."""
        return next((tick.threshold for tick in reversed(self.ticks) if tick.threshold), None)

    def exposed(self, version: str) -> int:
        """Requests that reached a candidate before it was decided on: by the operator's count, and for one that
        never became stable also by Envoy's, whichever is larger."""
        act = self.act(version)
        counted = act.candidate_requests if act else 0
        if act and act.outcome != "RolledBack":
            return counted
        return max(counted, int(self.attempts.get(version, 0)))

    def clients(self, begin: float, end: float) -> dict[str, int]:
        """What clients saw of the requests that were due in [begin, end)."""
        total = dict.fromkeys(("sent", "ok", "failed", "late", "correct"), 0)
        for at, second in self.seconds.items():
            if begin <= at < end:
                for name in total:
                    total[name] += int(second.get(name, 0))
        return total

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Recording:
        """What `to_json` gave."""
        return Recording(
            **{
                **{name: data[name] for name in ("facts", "started", "ended", "versions", "load", "attempts")},
                "acts": [Act(**each) for each in data["acts"]],
                "ticks": [Tick(**each) for each in data["ticks"]],
                "notes": [Note(**each) for each in data["notes"]],
                "seconds": {int(at): second for at, second in data["seconds"].items()},
            }
        )
