"""The story in four acts. `play` is what `python -m demo` runs; `claims.py` says whether it came out right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .claims import VERDICTS
from .reading import View
from .recording import Act, Recording
from .scene import Scene
from .watch import Watcher, restarts

# Clients ask for a while before anything changes, and after the last decision: an answer may still be on its way.
BEFORE = 8.0
AFTER = 6.0


@dataclass(frozen=True)
class Part:
    """One act as it is planned: what the version is, and how long it may take. In seconds."""

    version: str
    title: str
    deadline: float


PARTS = (
    Part("v1", "a first model, from a pilot of 2,000 people", 120),
    Part("v2", "a better model, from 46,000 people", 240),
    Part("v3", "v2, with a lookup table that lacks a code: fails on 6 % of the rows", 240),
    Part("v4", "v2, with two columns swapped: answers everything, but differently", 240),
)


def play(scene: Scene, watcher: Watcher) -> None:
    """All acts; a bad outcome ends the story early."""
    recording = watcher.recording
    recording.started = watcher.clock()
    for part in PARTS:
        act = _act(part, scene, watcher)
        recording.acts.append(act)
        recording.ended = watcher.clock()
        if act.outcome != act.wanted:
            scene.screen.say(f"{part.version} should have come to {act.wanted}, but: {act.outcome}.")
            break
        if part.version == "v1":
            scene.screen.say("Clients: 50 requests a second, with the census of 2016 to 2018.")
            scene.start_clients()
            watcher.title = "clients arrive"
            watcher.pause(BEFORE)
    watcher.title = "the end"
    watcher.pause(AFTER)
    # Requests of the last two seconds may still be unanswered.
    recording.ended = watcher.clock() - 2


def _act(part: Part, scene: Scene, watcher: Watcher) -> Act:
    wanted = VERDICTS[part.version]
    scene.screen.say(f"{part.version}: {part.title}.")
    watcher.title = f"{part.version}: {part.title}"
    applied = watcher.clock()
    scene.apply(part.version)
    before: list[dict[str, Any]] = []

    def done(view: View) -> str:
        if not before and view.candidate == part.version and view.weights.get(part.version, 0) > 0:
            before.extend(watcher.pods(_revision_of(part.version, watcher.recording)))
        return outcome(part.version, view)

    came = watcher.until(done, part.deadline)
    ended = watcher.clock()
    view = watcher.look()
    decision = view.decision_about(part.version)
    after = watcher.pods(_revision_of(part.version, watcher.recording))
    return Act(
        version=part.version,
        title=part.title,
        wanted=wanted,
        applied=applied,
        ended=ended,
        outcome=came,
        reason=decision.reason if decision else view.reason,
        message=decision.message if decision else view.message,
        decided_after=decision.seconds if decision else 0.0,
        candidate_requests=decision.requests if decision else view.candidate_requests,
        pods_before=_names(before),
        pods_after=_names(after),
        restarts=restarts(after),
    )


def outcome(version: str, view: View) -> str:
    """What came of a version, once it is settled; "" while it is not."""
    decision = view.decision_about(version)
    if view.phase == "RolledBack" and view.rollout_version == version:
        return "RolledBack"
    if view.phase == "Stable" and view.stable == version:
        return decision.decision if decision else "Live"
    if VERDICTS[version] == "RolledBack" and decision and decision.decision == "Promoted":
        return "Promoted"
    return ""


def _revision_of(version: str, recording: Recording) -> str:
    return next((revision for revision, name in recording.versions.items() if name == version), "-")


def _names(pods: list[dict[str, Any]]) -> dict[str, str]:
    return {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in pods}
