"""What clients saw, second by second: kept by `load.py`, read by the story, the live view and the report.

A request belongs to the second that it was planned for. It is pending until it is either good or failed, so
`sent` is always the sum of the three: nothing can go uncounted.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# Latencies are kept as counts in buckets 5 % apart.
STEP = math.log(1.05)
REMEMBERED = 20
NOBODY = "-"


@dataclass
class Outcomes:
    """Outcomes of a set of requests; `labelled` and what follows count good answers only."""

    ok: int = 0
    failed: int = 0
    late: int = 0
    positive: int = 0
    correct: int = 0

    def to_json(self) -> dict[str, int]:
        """As plain numbers."""
        return dict(vars(self))


@dataclass
class Second:
    """One second of the plan."""

    sent: int = 0
    slowest: float = 0.0
    waited: float = 0.0
    revisions: dict[str, Outcomes] = field(default_factory=dict)

    def of(self, revision: str) -> Outcomes:
        """Outcomes by the revision that answered."""
        return self.revisions.setdefault(revision or NOBODY, Outcomes())

    def to_json(self, at: int) -> dict[str, Any]:
        """With the sums over all revisions."""
        done = _sum(self.revisions)
        answered = done.ok + done.failed
        return {
            "time": at,
            "sent": self.sent,
            **done.to_json(),
            "mean_ms": round(1000 * self.waited / answered, 2) if answered else 0.0,
            "max_ms": round(1000 * self.slowest, 2),
            "revisions": {name: outcomes.to_json() for name, outcomes in self.revisions.items()},
        }


class Tally:
    """All counts of one run. Times are seconds of the same clock; `budget` is what a client would wait at most."""

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.seconds: dict[int, Second] = {}
        self.failures: Counter[str] = Counter()
        self.first_failures: list[dict[str, Any]] = []
        self._latencies: Counter[int] = Counter()
        self._slowest = 0.0

    def sent(self, planned: float) -> None:
        """A request was due, whatever became of it."""
        self._at(planned).sent += 1

    def good(self, planned: float, latency: float, revision: str, *, positive: bool, correct: bool) -> None:
        """It was answered; `correct` if the label is what really was the case."""
        outcomes = self._done(planned, latency, revision)
        outcomes.ok += 1
        outcomes.positive += positive
        outcomes.correct += correct

    def failed(self, planned: float, latency: float, revision: str, kind: str, message: str = "") -> None:
        """It was not: `kind` is one of a few words, `message` is for people."""
        self._done(planned, latency, revision).failed += 1
        self.failures[kind] += 1
        if len(self.first_failures) < REMEMBERED:
            self.first_failures.append({"time": round(planned, 3), "kind": kind, "message": message[:300]})

    def to_json(self, since: int = 0) -> dict[str, Any]:
        """Totals of everything, and the seconds from `since` on."""
        revisions: dict[str, Outcomes] = {}
        for second in self.seconds.values():
            for name, outcomes in second.revisions.items():
                _add(revisions.setdefault(name, Outcomes()), outcomes)
        done = _sum(revisions)
        sent = sum(second.sent for second in self.seconds.values())
        return {
            "totals": {"sent": sent, "pending": sent - done.ok - done.failed, **done.to_json()},
            "revisions": {name: outcomes.to_json() for name, outcomes in revisions.items()},
            "failures": dict(self.failures),
            "first_failures": self.first_failures,
            "latency_ms": self._quantiles(),
            "seconds": [second.to_json(at) for at, second in sorted(self.seconds.items()) if at >= since],
        }

    def _at(self, planned: float) -> Second:
        return self.seconds.setdefault(int(planned), Second())

    def _done(self, planned: float, latency: float, revision: str) -> Outcomes:
        second = self._at(planned)
        second.waited += latency
        second.slowest = max(second.slowest, latency)
        self._slowest = max(self._slowest, latency)
        self._latencies[math.ceil(math.log(max(latency, 1e-6)) / STEP)] += 1
        outcomes = second.of(revision)
        outcomes.late += latency > self.budget
        return outcomes

    def _quantiles(self) -> dict[str, float]:
        count = sum(self._latencies.values())
        result = {"max": round(1000 * self._slowest, 2)}
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            below = 0
            for bucket, times in sorted(self._latencies.items()):
                below += times
                if below >= share * count:
                    result[name] = round(1000 * math.exp(bucket * STEP), 2)
                    break
        return result


def _add(to: Outcomes, more: Outcomes) -> None:
    for name, value in vars(more).items():
        setattr(to, name, getattr(to, name) + value)


def _sum(revisions: dict[str, Outcomes]) -> Outcomes:
    total = Outcomes()
    for outcomes in revisions.values():
        _add(total, outcomes)
    return total
