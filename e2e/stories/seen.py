"""A ModelDeployment as a reader of its status sees it at one moment. Made by `models.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from demo.reading import View, view_of

Json = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """A condition, or what stands for one that is not there."""

    status: str = "-"
    reason: str = "-"
    message: str = "-"
    since: str = "-"


@dataclass(frozen=True)
class Seen:
    """The object, and shorter words for what stories ask about."""

    raw: Json

    @property
    def status(self) -> Json:
        found: Json = self.raw.get("status") or {}
        return found

    @property
    def view(self) -> View:
        return view_of(self.raw)

    @property
    def phase(self) -> str:
        return self.view.phase

    @property
    def stable(self) -> str:
        """Version."""
        return self.view.stable

    @property
    def rollout(self) -> Json:
        found: Json = self.status.get("rollout") or {}
        return found

    @property
    def weights(self) -> dict[str, float]:
        """Percent of the traffic by revision."""
        return {target["revision"]: target["weight"] for target in self.status.get("traffic") or []}

    @property
    def decisions(self) -> list[tuple[str, str, str]]:
        """Version, decision and reason, oldest first."""
        return [(each.version, each.decision, each.reason) for each in reversed(self.view.history)]

    def revision_of(self, version: str) -> str:
        """The revision that was last known as this version."""
        return next((revision for revision, name in self.view.versions.items() if name == version), "-")

    def weight_of(self, version: str) -> float:
        return self.weights.get(self.revision_of(version), 0.0)

    def counted(self, who: str) -> int:
        """Attempts on "candidate" or "stable" that are in the evidence."""
        return counts(self.rollout.get("evidence"), "errors").get(f"{who}Attempts", 0)

    def condition(self, type_: str) -> Condition:
        for each in self.status.get("conditions") or []:
            if each["type"] == type_:
                return Condition(each["status"], each["reason"], each.get("message", ""), each["lastTransitionTime"])
        return Condition()

    def is_stable(self, version: str) -> bool:
        """Everything that was asked for is done, and this version serves."""
        settled = self.view.observed and self.phase == "Stable" and self.condition("Ready").status == "True"
        return settled and self.stable == version

    def was_rolled_back(self, version: str) -> bool:
        return self.phase == "RolledBack" and self.view.rollout_version == version

    def __repr__(self) -> str:
        """The status without the tests' accumulators: what somebody would look at first."""
        return yaml.safe_dump(_brief(self.status), sort_keys=False, width=160)


def _brief(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _brief(value) for name, value in part.items() if name not in ("state", "outputs")}
    return [_brief(each) for each in part] if isinstance(part, list) else part


def counts(evidence: Mapping[str, Any] | None, signal: str) -> dict[str, int]:
    """What a signal has counted: `candidateAttempts=12 …` in its entry."""
    entries = (evidence or {}).get("signals", [])
    line = next((each.get("counts", "") for each in entries if each["name"] == signal), "")
    return {name: int(float(number)) for name, number in (part.split("=") for part in line.split())}
