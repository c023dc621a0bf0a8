"""Do the candidate's predictions differ from stable's by more than the user's margin?

Called by `core.decide` for every new block of prediction bins. Each output is cut into events: "the label is c" for
every category, "the score is at most this edge" for every cut between bins of a number. The margin is on the share
of each event, so for a score it bounds the Kolmogorov-Smirnov distance, for labels the shift of each class.

Harm is the mean over all events and both directions of e-values against "moved by at most the margin": valid under
any dependence. Safe is the smallest e-value against "moved by at least the margin": all of them have to pass, so
none needs a correction. A better model *should* predict differently, so a difference alone (`logDiffers`, section 2
of Turner, Ly and Grünwald, arXiv 2106.02693, over the events' outputs) is shown and decides nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from headgate.api.status import EventEvidence, OutputEvidence, PredictionEvidence, Verdict
from headgate.core.evidence.difference import Floats, log_e_at_least, log_e_at_most, log_mean
from headgate.core.evidence.errors import PASS

STRENGTH = 50.0
"""Pseudo-counts that pull an estimated share towards the pooled one."""

MIN_ALTERNATIVE = 0.02
"""The harm test bets on a movement of at least this much beyond the margin."""

NOT_ANSWERS = frozenset({"missing"})


@dataclass(frozen=True)
class PredictionBlock:
    """Answers by bin of one output between two looks, for both versions, in one layout."""

    output: str
    layout: str
    candidate: Mapping[str, int]
    stable: Mapping[str, int]


def fold(seen: PredictionEvidence, blocks: list[PredictionBlock], margin: float) -> PredictionEvidence:
    """The evidence after one more block of every output. `margin` is a difference of shares, such as 0.05."""
    earlier = {(o.output, o.layout): o for o in seen.outputs}
    outputs, differs = [], seen.logDiffers
    for block in blocks:
        before = earlier.pop((block.output, block.layout), None)
        after, gain = _fold_output(before, block, margin)
        outputs.append(after)
        differs += gain
    outputs += earlier.values()
    events = [(o, e) for o in outputs for e in o.events]
    if not events:
        return seen
    largest = max(events, key=lambda oe: abs(_shift(*oe)))
    return PredictionEvidence(
        logHarm=round(float(log_mean([v for _, e in events for v in (e.up, e.down)])), 4),
        logSafe=round(min(v for _, e in events for v in (e.notUp, e.notDown)), 4),
        logDiffers=round(differs, 4),
        largestShift=round(100 * _shift(*largest), 2),
        largestEvent=f"{largest[0].output}: {largest[1].event}",
        candidateAnswers=outputs[0].candidateAnswers,
        stableAnswers=outputs[0].stableAnswers,
        outputs=outputs,
    )


def verdict(seen: PredictionEvidence, threshold: float) -> Verdict:
    """Fail when a movement beyond the margin is shown at `threshold`, Pass when it is shown that there is none."""
    if seen.logHarm >= threshold:
        return "Fail"
    return "Pass" if seen.outputs and seen.logSafe >= PASS else "Inconclusive"


def events_of(bins: list[str]) -> dict[str, list[str]]:
    """Bins of one output -> event -> the bins that make it up. Bins are ordered and named as in the contract."""
    present = [b for b in bins if b not in NOT_ANSWERS]
    numbers = sorted(b for b in present if b.startswith("n"))
    if not numbers:
        return _named((_readable(b), b, [b]) for b in sorted(present))
    ordered = [b for b in ("below",) if b in present] + numbers
    ends = ordered if "above" in present else ordered[:-1]
    cuts = _named((_up_to(b), b, ordered[: i + 1]) for i, b in enumerate(ends) if b != "below")
    return cuts | {b: [b] for b in present if b == "invalid"}


def _named(events: Iterable[tuple[str, str, list[str]]]) -> dict[str, list[str]]:
    """Names are shortened; where two are equal, the bin's own number tells them apart."""
    found: dict[str, list[str]] = {}
    for name, bin_, bins in events:
        found[f"{name} ({bin_.split(' ', 1)[0]})" if name in found else name] = bins
    return found


def _readable(bin_: str) -> str:
    return f"is {bin_.split(' ', 1)[1]}" if " " in bin_ else bin_


def _up_to(bin_: str) -> str:
    """`n01 (2,5]` -> `at most 5`; `n01 (2,5)`, before a bin of 5 alone, -> `below 5`."""
    edge = bin_.rsplit(",", 1)[-1].rstrip("])") if "," in bin_ else bin_
    return f"below {edge}" if bin_.endswith(")") else f"at most {edge}"


def _shift(output: OutputEvidence, event: EventEvidence) -> float:
    if not output.candidateAnswers or not output.stableAnswers:
        return 0.0
    return event.candidate / output.candidateAnswers - event.stable / output.stableAnswers


def _fold_output(before: OutputEvidence | None, block: PredictionBlock, margin: float) -> tuple[OutputEvidence, float]:
    events = events_of(sorted({*block.candidate, *block.stable}))
    known = {e.event: e for e in before.events} if before else {}
    past = [known.get(name, EventEvidence(event=name)) for name in events]
    past_n = np.array([before.candidateAnswers, before.stableAnswers] if before else [0, 0], dtype=np.float64)
    n_c = sum(v for b, v in block.candidate.items() if b not in NOT_ANSWERS)
    n_s = sum(v for b, v in block.stable.items() if b not in NOT_ANSWERS)
    y_c = np.array([sum(block.candidate.get(b, 0) for b in bins) for bins in events.values()], dtype=np.float64)
    y_s = np.array([sum(block.stable.get(b, 0) for b in bins) for bins in events.values()], dtype=np.float64)
    counts = (y_c, n_c, y_s, n_s)
    p_c, p_s = _estimates(past, past_n)
    logs = _gains(counts, p_c, p_s, margin)
    after = [
        EventEvidence(
            event=e.event,
            candidate=e.candidate + int(y_c[i]),
            stable=e.stable + int(y_s[i]),
            up=round(e.up + float(logs["up"][i]), 4),
            down=round(e.down + float(logs["down"][i]), 4),
            notUp=round(e.notUp + float(logs["notUp"][i]), 4),
            notDown=round(e.notDown + float(logs["notDown"][i]), 4),
        )
        for i, e in enumerate(past)
    ]
    after += [e for name, e in known.items() if name not in events]
    output = OutputEvidence(
        output=block.output,
        layout=block.layout,
        candidateAnswers=int(past_n[0]) + n_c,
        stableAnswers=int(past_n[1]) + n_s,
        events=after,
    )
    return output, _difference_gain(counts, p_c, p_s)


def _estimates(past: list[EventEvidence], past_n: Floats) -> tuple[Floats, Floats]:
    """Shares of each event in each version, from the past only, each pulled towards the pooled share."""
    c = np.array([e.candidate for e in past], dtype=np.float64)
    s = np.array([e.stable for e in past], dtype=np.float64)
    pooled = (c + s + 0.5) / (past_n.sum() + 1.0)
    return (c + STRENGTH * pooled) / (past_n[0] + STRENGTH), (s + STRENGTH * pooled) / (past_n[1] + STRENGTH)


def _gains(counts: tuple[Floats, int, Floats, int], p_c: Floats, p_s: Floats, margin: float) -> dict[str, Floats]:
    """ln E of this block for each event, against each of the four nulls."""
    moved = margin + MIN_ALTERNATIVE
    room = 0.9 * margin
    near = np.clip(p_c, p_s - room, p_s + room)
    return {
        "up": log_e_at_most(*counts, np.maximum(p_c, p_s + moved), p_s, margin),
        "down": log_e_at_least(*counts, np.minimum(p_c, p_s - moved), p_s, -margin),
        "notUp": log_e_at_least(*counts, near, p_s, margin),
        "notDown": log_e_at_most(*counts, near, p_s, -margin),
    }


def _difference_gain(counts: tuple[Floats, int, Floats, int], p_c: Floats, p_s: Floats) -> float:
    """ln E of this block against "the same shares", averaged over the events (each against equality)."""
    up = log_e_at_most(*counts, p_c, p_s, 0.0)
    down = log_e_at_least(*counts, p_c, p_s, 0.0)
    return float(log_mean(up + down)) if len(up) else 0.0
