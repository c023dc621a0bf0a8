"""Do the candidate's predictions differ from stable's by more than the user's margin?

Called by `core.decide` for every new block of prediction bins. Each output is cut into events: "the label is c" for
every category, "the score is at most this edge" for every cut between bins of a number. The margin is on the share
of each event, so for a score it bounds the Kolmogorov-Smirnov distance, for labels the shift of each class.

Harm is the mean over all events and both directions of e-values against "moved by at most the margin": valid under
any dependence. Safe is the smallest e-value against "moved by at least the margin": all of them have to pass, so
none needs a correction. A better model *should* predict differently, so a difference alone (`logDiffers`, section 2
of Turner, Ly and Grünwald, arXiv 2106.02693, over the events' outputs) is shown and decides nothing.

Answers of one version alone wait, bin by bin, for the other's: see `waiting`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from headgate.api.status import EventEvidence, OutputEvidence, PredictionEvidence, Verdict
from headgate.core.evidence import shares, waiting
from headgate.core.evidence.difference import Floats, log_mean
from headgate.core.evidence.errors import PASS
from headgate.core.evidence.shares import Answers, Shares

NOT_ANSWERS = frozenset({"missing"})

MOST_WAITING = 64
"""Bins that wait, at most; no layout that Headgate makes has as many. What is more is let go, so the status stays
small whatever a pod counts."""


@dataclass(frozen=True)
class PredictionBlock:
    """Answers by bin of one output between two looks, for both versions, in one layout."""

    output: str
    layout: str
    candidate: Mapping[str, int]
    stable: Mapping[str, int]


def fold(
    seen: PredictionEvidence, blocks: list[PredictionBlock], margin: float, seconds: float = 0.0
) -> PredictionEvidence:
    """The evidence after one more block of every output, which took `seconds`.

    `margin` is a difference of shares, such as 0.05.
    """
    earlier = {(o.output, o.layout): o for o in seen.outputs}
    outputs, gains = [], []
    for block in blocks:
        before = earlier.pop((block.output, block.layout), None)
        output, complete = _waited(before or OutputEvidence(output=block.output, layout=block.layout), block, seconds)
        if complete:
            output, gain = _fold_output(output, complete, margin)
            gains.append(gain)
        outputs.append(output)
    outputs += earlier.values()
    if not outputs:
        return seen
    events = [(o, e) for o in outputs for e in o.events]
    largest = max(events, key=lambda oe: abs(_shift(*oe)), default=None)
    nothing_yet = [0.0 for o in outputs if not o.events]
    return PredictionEvidence(
        logHarm=round(float(log_mean([v for _, e in events for v in (e.up, e.down)] or [0.0])), 4),
        logSafe=round(min([v for _, e in events for v in (e.notUp, e.notDown)] + nothing_yet), 4),
        logDiffers=round(seen.logDiffers + (float(log_mean(gains)) if gains else 0.0), 4),
        largestShift=round(100 * _shift(*largest), 2) if largest else 0.0,
        largestEvent=f"{largest[0].output}: {largest[1].event}" if largest else "",
        candidateAnswers=outputs[0].candidateAnswers + _answers(outputs[0].candidateWaiting),
        stableAnswers=outputs[0].stableAnswers + _answers(outputs[0].stableWaiting),
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


def _waited(
    before: OutputEvidence, block: PredictionBlock, seconds: float
) -> tuple[OutputEvidence, PredictionBlock | None]:
    """The output after a block, and what of it is complete now, together with what waited for it."""
    candidate = _together(before.candidateWaiting, block.candidate)
    stable = _together(before.stableWaiting, block.stable)
    n_c, n_s = (np.array([float(_answers(bins))]) for bins in (candidate, stable))
    waited = waiting.age(
        np.array([_answers(before.candidateWaiting) + _answers(before.stableWaiting)]),
        np.array([before.waited]),
        seconds,
    )
    ripe = waiting.ripe(n_c, n_s, waited)
    if ripe.together[0] or ripe.expired[0] or max(len(candidate), len(stable)) > MOST_WAITING:
        output = before.model_copy(update={"candidateWaiting": {}, "stableWaiting": {}, "waited": 0.0})
        return output, PredictionBlock(block.output, block.layout, candidate, stable)
    kept = {"candidateWaiting": _counted(candidate), "stableWaiting": _counted(stable)}
    return before.model_copy(update={**kept, "waited": round(float(waited[0]), 3)}), None


def _together(waiting: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    return {b: waiting.get(b, 0) + new.get(b, 0) for b in {**waiting, **new}}


def _counted(bins: Mapping[str, int]) -> dict[str, int]:
    """Only what says something."""
    return {b: count for b, count in sorted(bins.items()) if count and b not in NOT_ANSWERS}


def _answers(bins: Mapping[str, int]) -> int:
    return sum(count for b, count in bins.items() if b not in NOT_ANSWERS)


def _fold_output(before: OutputEvidence, block: PredictionBlock, margin: float) -> tuple[OutputEvidence, float]:
    events = events_of(sorted({*block.candidate, *block.stable}))
    known = {e.event: e for e in before.events}
    past = [known.get(name, EventEvidence(event=name)) for name in events]
    n_c, n_s = _answers(block.candidate), _answers(block.stable)
    y_c = np.array([[sum(block.candidate.get(b, 0) for b in bins) for bins in events.values()]], dtype=np.float64)
    y_s = np.array([[sum(block.stable.get(b, 0) for b in bins) for bins in events.values()]], dtype=np.float64)
    state = replace(
        Shares.start(1, len(events)),
        candidate=_row(e.candidate for e in past),
        stable=_row(e.stable for e in past),
        candidate_answers=_row([before.candidateAnswers]),
        stable_answers=_row([before.stableAnswers]),
        up=_row(e.up for e in past),
        down=_row(e.down for e in past),
        not_up=_row(e.notUp for e in past),
        not_down=_row(e.notDown for e in past),
    )
    new = shares.bet(state, Answers(y_c, _row([n_c]), y_s, _row([n_s])), margin)
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
    counted = {
        "candidateAnswers": int(new.candidate_answers[0, 0]),
        "stableAnswers": int(new.stable_answers[0, 0]),
        "events": after,
    }
    bins = [
        _bins(counts, answers, events)
        for counts, answers in (
            (state.candidate, state.candidate_answers),
            (state.stable, state.stable_answers),
            (y_c, _row([n_c])),
            (y_s, _row([n_s])),
        )
    ]
    return before.model_copy(update=counted), float(shares.log_e_same(*bins)[0])


def _row(values: Iterable[float]) -> Floats:
    return np.array([list(values)], dtype=np.float64)


def _bins(counts: Floats, answers: Floats, events: Mapping[str, list[str]]) -> Floats:
    """Counts of bins that exclude each other, from those of the events: cuts of a number are sums of bins."""
    cuts = [i for i, bins in enumerate(events.values()) if len(bins) > 1 or bins[0].startswith("n")]
    others = [i for i in range(len(events)) if i not in cuts]
    apart = np.maximum(np.diff(counts[:, cuts], prepend=0.0), 0.0)  # a cut that came later has counted less
    rest = np.maximum(answers - apart.sum(axis=1, keepdims=True) - counts[:, others].sum(axis=1, keepdims=True), 0.0)
    return np.concatenate([apart, counts[:, others], rest], axis=1)
