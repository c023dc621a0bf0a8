"""What has to be true of a run for the demo to end well. Pure; `story.py` and `report.py` ask for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .recording import Act, Recording

MOST_REQUESTS = {"v3": 150, "v4": 1500}
RATE = 50.0
VERDICTS = {"v1": "Live", "v2": "Promoted", "v3": "RolledBack", "v4": "RolledBack"}
IN_WORDS = {"Live": "goes live", "Promoted": "is promoted", "RolledBack": "is rolled back"}


@dataclass(frozen=True)
class Claim:
    """One sentence, whether it is true of the run, and what was found."""

    text: str
    held: bool
    found: str


def claims(recording: Recording) -> list[Claim]:
    """All of them, in the order of the story."""
    found = [_outcome(recording, version) for version in VERDICTS]
    found.insert(2, _no_restart(recording.act("v2")))
    found += [_few_requests(recording, version) for version in MOST_REQUESTS]
    found += [_carried_by(recording, "v3", "errors"), _carried_by(recording, "v4", "predictions")]
    return [*found, _nothing_failed(recording), _really_sent(recording)]


def came_out_right(recording: Recording) -> bool:
    """Whether the demo may end with exit status 0."""
    return all(claim.held for claim in claims(recording))


def _outcome(recording: Recording, version: str) -> Claim:
    act, wanted = recording.act(version), VERDICTS[version]
    found = act.outcome if act else "never got there"
    return Claim(f"{version} {IN_WORDS[wanted]}", found == wanted, IN_WORDS.get(found, found))


def _no_restart(act: Act | None) -> Claim:
    text = "v2 is promoted without a restart of any serving or router pod"
    if act is None or not act.pods_before:
        return Claim(text, False, "its pods were not seen")
    gone = sorted(set(act.pods_before) - set(act.pods_after))
    if gone:
        return Claim(text, False, f"replaced: {', '.join(act.pods_before[uid] for uid in gone)}")
    found = f"{len(act.pods_before)} pods, the same before and after, {act.restarts} restarts"
    return Claim(text, act.restarts == 0, found)


def _few_requests(recording: Recording, version: str) -> Claim:
    most, exposed = MOST_REQUESTS[version], recording.exposed(version)
    return Claim(f"{version} gets at most {most:,} requests", 0 < exposed <= most, f"{exposed:,}")


def _carried_by(recording: Recording, version: str, test: str) -> Claim:
    """Which test had the stronger evidence at the end of an act."""
    text = f"{version} goes because of its {test}"
    act = recording.act(version)
    ticks = [t for t in recording.ticks if act and act.applied <= t.time <= act.ended and t.errors is not None]
    if not ticks:
        return Claim(text, False, "no evidence was seen")
    found = {"errors": ticks[-1].errors or 0.0, "predictions": ticks[-1].predictions or 0.0}
    words = ", ".join(f"E of the {name} {math.exp(min(value, 700)):.3g}" for name, value in found.items())
    return Claim(text, max(found, key=lambda name: found[name]) == test, words)


def _nothing_failed(recording: Recording) -> Claim:
    text = "clients see 0 failed answers through v2, v3 and v4 together"
    begin = recording.act("v2")
    seen = recording.clients(begin.applied, recording.ended) if begin else {"failed": 0, "ok": 0}
    return Claim(text, seen["failed"] == 0 and seen["ok"] > 0, f"{seen['failed']:,} of {seen['ok'] + seen['failed']:,}")


def _really_sent(recording: Recording) -> Claim:
    text = f"clients really send {RATE:g} requests a second"
    begin = recording.act("v2")
    if begin is None or recording.ended - begin.applied < 1:
        return Claim(text, False, "they did not get to it")
    sent = recording.clients(begin.applied, recording.ended)["sent"] / (recording.ended - begin.applied)
    return Claim(text, sent >= 0.95 * RATE, f"{sent:.1f}")
