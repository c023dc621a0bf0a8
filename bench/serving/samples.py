"""What was measured, as `rounds` collects it and `report` reads it: medians over rounds, and how far they spread."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, NamedTuple

OPEN = "open"


class Key(NamedTuple):
    """What was asked how: `loop` is a number of connections, or OPEN."""

    server: str
    case: str
    transport: str
    loop: str


@dataclass(frozen=True)
class Sample:
    """One timed run. Requests a second, milliseconds, and CPU seconds of the server per 1,000 requests."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Start:
    """One start: seconds from exec to ready, and bytes of memory then."""

    seconds: float
    rss: int
    pss: int


@dataclass
class Samples:
    """All of a benchmark, by round."""

    runs: dict[Key, dict[int, Sample]] = field(default_factory=dict)
    starts: dict[tuple[str, str], list[Start]] = field(default_factory=dict)
    problems: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def add(self, key: Key, number: int, sample: Sample) -> None:
        self.runs.setdefault(key, {})[number] = sample

    def give_up(self, server: str, case: str, transport: str, why: str) -> None:
        """Nothing is reported of something that failed even once."""
        self.problems.setdefault((server, case, transport), why)

    def has_failed(self, server: str, case: str, transport: str) -> bool:
        return (server, case, transport) in self.problems or (server, case, "") in self.problems

    def of(self, key: Key) -> Mapping[int, Sample]:
        """By round; nothing of what failed."""
        return {} if self.has_failed(key.server, key.case, key.transport) else self.runs.get(key, {})

    def to_json(self) -> dict[str, Any]:
        runs = [
            {**key._asdict(), "round": number, **asdict(sample)}
            for key, by_round in self.runs.items()
            for number, sample in by_round.items()
        ]
        starts = [
            {"server": server, "case": case, **asdict(start)}
            for (server, case), found in self.starts.items()
            for start in found
        ]
        problems = [{"server": s, "case": c, "transport": t, "why": why} for (s, c, t), why in self.problems.items()]
        return {"runs": runs, "starts": starts, "problems": problems}


def spread(values: Iterable[float]) -> float:
    """Half of the way from the least to the most, as a share of the median."""
    found = list(values)
    middle = median(found)
    return (max(found) - min(found)) / 2 / middle if middle else 0.0


def ratio(ours: Mapping[int, Sample], theirs: Mapping[int, Sample]) -> float | None:
    """How many times their rate ours is: the median over the rounds that have both, for what slows one slows both."""
    common = ours.keys() & theirs.keys()
    return median(ours[number].rate / theirs[number].rate for number in common) if common else None
