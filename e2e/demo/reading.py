"""From a ModelDeployment to what the demo shows of it. Pure, and tolerant: what is missing stays empty.

`watch.py` reads one every second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """One entry of the history."""

    version: str
    revision: str
    decision: str
    reason: str
    message: str
    requests: int
    seconds: float
    time: str


@dataclass(frozen=True)
class Test:
    """What one test knows: ln of its e-values for harm and for its absence, and how to say it."""

    harm: float | None = None
    safe: float | None = None
    verdict: str = "-"
    text: str = "-"


@dataclass(frozen=True)
class View:
    """A ModelDeployment at one moment."""

    phase: str = "-"
    stable: str = "-"
    candidate: str = "-"
    rollout_version: str = "-"
    rollout_phase: str = "-"
    reason: str = "-"
    message: str = "-"
    # Share of the traffic in percent, and ready pods, by version.
    weights: Mapping[str, float] = field(default_factory=dict)
    ready: Mapping[str, str] = field(default_factory=dict)
    # Version of each revision that the status names.
    versions: Mapping[str, str] = field(default_factory=dict)
    combined: float | None = None
    threshold: float | None = None
    errors: Test = Test()
    predictions: Test = Test()
    candidate_requests: int = 0
    budget: str = "-"
    history: tuple[Decision, ...] = ()
    observed: bool = False

    def decision_about(self, version: str) -> Decision | None:
        """The newest decision about a version."""
        return next((entry for entry in self.history if entry.version == version), None)


def view_of(resource: Json | None) -> View:
    """Read an object; None and an empty status give a View of dashes."""
    status = _part(resource or {}, "status")
    rollout = _part(status, "rollout")
    evidence = _part(rollout, "evidence")
    history = tuple(_decision(entry) for entry in status.get("history") or [])
    roles = [_part(status, "stable"), _part(status, "candidate"), rollout]
    versions = {**_versions(history), **{_text(r, "revision"): _text(r, "version") for r in roles if r}}
    generation = _part(resource or {}, "metadata").get("generation")
    return View(
        phase=_text(status, "phase"),
        stable=_text(roles[0], "version"),
        candidate=_text(roles[1], "version"),
        rollout_version=_text(rollout, "version"),
        rollout_phase=_text(rollout, "phase"),
        reason=_text(rollout, "reason"),
        message=_text(rollout, "message"),
        weights=_weights(status, versions),
        ready={_text(r, "version"): f"{r.get('ready', 0)}/{r.get('replicas', 0)}" for r in roles[:2] if r},
        versions=versions,
        combined=_number(evidence.get("logHarm")),
        threshold=_number(evidence.get("threshold")),
        errors=_signal(evidence, "errors"),
        predictions=_signal(evidence, "predictions"),
        candidate_requests=int(_number(rollout.get("candidateRequests")) or 0),
        budget=_budget(_part(rollout, "budget")),
        history=history,
        observed=generation is not None and status.get("observedGeneration", generation) == generation,
    )


def _versions(history: Iterable[Decision]) -> dict[str, str]:
    return {entry.revision: entry.version for entry in history}


def _weights(status: Json, versions: Mapping[str, str]) -> dict[str, float]:
    return {
        versions.get(_text(target, "revision"), _text(target, "revision")): _number(target.get("weight")) or 0.0
        for target in status.get("traffic") or []
    }


def _signal(evidence: Json, name: str) -> Test:
    """What one signal says."""
    entries = evidence.get("signals")
    entry = next((e for e in entries or [] if isinstance(e, Mapping) and e.get("name") == name), None)
    if entry is None:
        return Test()
    text = str(entry.get("summary") or "no answers yet")
    return Test(_number(entry.get("logHarm")), _number(entry.get("logSafe")), _text(entry, "verdict"), text)


def _budget(part: Json) -> str:
    if not part:
        return "-"
    return f"{_number(part.get('spent')) or 0:g} of {_number(part.get('total')) or 0:g}"


def _decision(entry: Json) -> Decision:
    return Decision(
        version=_text(entry, "version"),
        revision=_text(entry, "revision"),
        decision=_text(entry, "decision"),
        reason=_text(entry, "reason"),
        message=_text(entry, "message"),
        requests=int(_number(entry.get("candidateRequests")) or 0),
        seconds=_number(entry.get("seconds")) or 0.0,
        time=_text(entry, "time"),
    )


def _part(whole: Json, name: str) -> Json:
    found = whole.get(name)
    return found if isinstance(found, Mapping) else {}


def _text(part: Json, name: str) -> str:
    found = part.get(name)
    return str(found) if found not in (None, "") else "-"


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
