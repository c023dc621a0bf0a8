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
from headgate.core.evidence import shares
from headgate.core.evidence.difference import Floats, log_mean
from headgate.core.evidence.errors import PASS
from headgate.core.evidence.shares import Shares

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
    outputs, gains = [], []
    for block in blocks:
        before = earlier.pop((block.output, block.layout), None)
        after, gain = _fold_output(before, block, margin)
        outputs.append(after)
        gains.append(gain)
    outputs += earlier.values()
    events = [(o, e) for o in outputs for e in o.events]
    if not events:
        return seen
    largest = max(events, key=lambda oe: abs(_shift(*oe)))
    return PredictionEvidence(
        logHarm=round(float(log_mean([v for _, e in events for v in (e.up, e.down)])), 4),
        logSafe=round(min(v for _, e in events for v in (e.notUp, e.notDown)), 4),
        logDiffers=round(seen.logDiffers + (float(log_mean(gains)) if gains else 0.0), 4),
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
    n_c = sum(v for b, v in block.candidate.items() if b not in NOT_ANSWERS)
    n_s = sum(v for b, v in block.stable.items() if b not in NOT_ANSWERS)
    y_c = np.array([[sum(block.candidate.get(b, 0) for b in bins) for bins in events.values()]], dtype=np.float64)
    y_s = np.array([[sum(block.stable.get(b, 0) for b in bins) for bins in events.values()]], dtype=np.float64)
    state = Shares(
        candidate=_row(e.candidate for e in past),
        stable=_row(e.stable for e in past),
        candidate_answers=_row([before.candidateAnswers if before else 0]),
        stable_answers=_row([before.stableAnswers if before else 0]),
        up=_row(e.up for e in past),
        down=_row(e.down for e in past),
        not_up=_row(e.notUp for e in past),
        not_down=_row(e.notDown for e in past),
    )
    new = shares.fold(state, y_c, _row([n_c]), y_s, _row([n_s]), margin)
    after = [
        EventEvidence(
            event=name,
            candidate=int(new.candidate[0, i]),
            stable=int(new.stable[0, i]),
            up=round(float(new.up[0, i]), 4),
            down=round(float(new.down[0, i]), 4),
            notUp=round(float(new.not_up[0, i]), 4),
            notDown=round(float(new.not_down[0, i]), 4),
        )
        for i, name in enumerate(events)
    ]
    after += [e for name, e in known.items() if name not in events]
    output = OutputEvidence(
        output=block.output,
        layout=block.layout,
        candidateAnswers=int(new.candidate_answers[0, 0]),
        stableAnswers=int(new.stable_answers[0, 0]),
        events=after,
    )
    bins = [
        _bins(counts, answers, events)
        for counts, answers in (
            (state.candidate, state.candidate_answers),
            (state.stable, state.stable_answers),
            (y_c, _row([n_c])),
            (y_s, _row([n_s])),
        )
    ]
    return output, float(shares.log_e_same(*bins)[0])


def _row(values: Iterable[float]) -> Floats:
    return np.array([list(values)], dtype=np.float64)


def _bins(counts: Floats, answers: Floats, events: Mapping[str, list[str]]) -> Floats:
    """Counts of bins that exclude each other, from those of the events: cuts of a number are sums of bins."""
    cuts = [i for i, bins in enumerate(events.values()) if len(bins) > 1 or bins[0].startswith("n")]
    others = [i for i in range(len(events)) if i not in cuts]
    apart = np.diff(counts[:, cuts], prepend=0.0)
    rest = np.maximum(answers - apart.sum(axis=1, keepdims=True) - counts[:, others].sum(axis=1, keepdims=True), 0.0)
    return np.concatenate([apart, counts[:, others], rest], axis=1)
