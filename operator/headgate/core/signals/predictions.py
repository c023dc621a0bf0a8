"""Do the candidate's predictions differ from stable's by more than the user's margin?

Each output is cut into events: "the label is c" for
every category, "the score is at most this edge" for every cut between bins of a number. The margin is on the share
of each event, so for a score it bounds the Kolmogorov-Smirnov distance, for labels the shift of each class.

Harm is the mean over all events and both directions of e-values against "moved by at most the margin": valid under
any dependence. Safe is the smallest e-value against "moved by at least the margin": all of them have to pass, so
none needs a correction. A better model *should* predict differently, so a difference alone (`logDiffers`, section 2
of Turner, Ly and Grünwald, arXiv 2106.02693, over the events' outputs) is shown and decides nothing.

Answers of one version alone wait, bin by bin, for the other's: see `waiting`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import field, fields, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, PlainSerializer
from pydantic.dataclasses import dataclass

from headgate.api.contract import PREDICTIONS, REVISION
from headgate.api.quantities import fraction
from headgate.api.spec import Spec
from headgate.api.stored import CONFIG
from headgate.core.model import Capabilities
from headgate.core.signals.signal import Samples, Signal
from headgate.core.statistics import shares, waiting
from headgate.core.statistics.difference import Floats, log_mean
from headgate.core.statistics.shares import Answers, Shares

NOT_ANSWERS = frozenset({"missing"})

MOST_EVENTS = 160
"""Of all outputs together: the evidence is kept in the status, which has to stay small."""

LONGEST_NAME = 120
"""Characters of an output or a bin. The monitor's own names of bins are half as long."""

MOST_WAITING = 64
"""Bins that wait, at most; no layout that Headgate makes has as many. What is more is let go, so the status stays
small whatever a pod counts."""


@plain_dataclass(frozen=True)
class PredictionBlock:
    """Answers by bin of one output between two reconciliations, for both versions, in one layout."""

    output: str
    layout: str
    candidate: Mapping[str, int]
    stable: Mapping[str, int]


@plain_dataclass(frozen=True)
class Predictions:
    """New answers by bin, and whether stable counts its answers at all."""

    expected: bool = False
    """Whether the candidate must be compared: stable counts."""
    outputs: tuple[PredictionBlock, ...] = ()
    unread: bool = False
    """They were too much to be read."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class EventState:
    """What is known about one event of the predictions, such as "the label is 1" or "the score is at most 0.3"."""

    event: str
    candidate: int = 0
    """Candidate's answers with the event."""
    stable: int = 0
    """Stable's answers with the event."""
    up: float = 0.0
    """ln of the e-value against "the share rose by no more than the margin"."""
    down: float = 0.0
    """ln of the e-value against "the share fell by no more than the margin"."""
    notUp: float = 0.0  # noqa: N815
    """ln of the e-value against "the share rose by at least the margin"."""
    notDown: float = 0.0  # noqa: N815
    """ln of the e-value against "the share fell by at least the margin"."""


def _events(value: Any) -> Any:
    """`{"is 1": "46 475 -3.658 4.03 20.64 -2.81"}` -> fields of `EventState`."""
    if not isinstance(value, dict):
        return value
    return [{"event": event, **dict(zip(_NUMBERS, text.split(), strict=False))} for event, text in value.items()]


def _event_lines(events: list[EventState]) -> dict[str, str]:
    return {e.event: " ".join(str(getattr(e, name)) for name in _NUMBERS) for e in events}


_NUMBERS = tuple(f.name for f in fields(EventState) if f.name != "event")
EventLines = Annotated[list[EventState], BeforeValidator(_events), PlainSerializer(_event_lines, when_used="json")]
"""In the status one line for each event: its numbers in their order."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class OutputState:
    """What is known about the predictions of one output, in one layout of bins."""

    output: str
    layout: str
    candidateAnswers: int = 0  # noqa: N815
    """Answers that the events below are of; those that wait come on top."""
    stableAnswers: int = 0  # noqa: N815
    events: EventLines = field(default_factory=list)
    candidateWaiting: dict[str, int] = field(default_factory=dict)  # noqa: N815
    """The candidate's answers by bin that wait for some of stable, to be compared together."""
    stableWaiting: dict[str, int] = field(default_factory=dict)  # noqa: N815
    """Stable's answers by bin that wait for some of the candidate."""
    waited: float = 0.0
    """Seconds since the first of those that wait."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class PredictionState:
    """What is known about the predictions' distribution."""

    logHarm: float = 0.0  # noqa: N815
    """ln of the e-value against "no share moved by more than the margin"."""
    logSafe: float = 0.0  # noqa: N815
    """ln of the smallest e-value against "this share moved by at least the margin"."""
    logDiffers: float = 0.0  # noqa: N815
    """ln of the e-value against "the same distribution", for people: a better model should differ."""
    largestShift: float = 0.0  # noqa: N815
    """The largest observed movement of a share, in percentage points; it may be positive or negative."""
    largestEvent: str = ""  # noqa: N815
    """The event whose share moved most."""
    candidateAnswers: int = 0  # noqa: N815
    stableAnswers: int = 0  # noqa: N815
    outputs: list[OutputState] = field(default_factory=list)
    leftOut: list[str] = field(default_factory=list)  # noqa: N815
    """Some of the outputs that have no room: the last ones by name, or with too many bins."""
    expected: bool = False
    """Whether stable counts its answers now, so that the candidate has to be compared with it."""
    unread: bool = False
    """Whether the newest ones were too much to be read."""


def fold(state: PredictionState, blocks: list[PredictionBlock], margin: float, seconds: float = 0.0) -> PredictionState:
    """The evidence after one more block of every output, which took `seconds`.

    `margin` is a difference of shares, such as 0.05.
    """
    earlier = {(o.output, o.layout): o for o in state.outputs}
    blocks, left_out = _with_room(state, blocks)
    outputs, gains = [], []
    for block in blocks:
        before = earlier.pop((block.output, block.layout), None)
        output, complete = _waited(before or OutputState(output=block.output, layout=block.layout), block, seconds)
        if complete:
            output, gain = _fold_output(output, complete, margin)
            gains.append(gain)
        outputs.append(output)
    outputs += earlier.values()
    if not outputs:
        return replace(state, leftOut=left_out)
    events = [(o, e) for o in outputs for e in o.events]
    largest = max(events, key=lambda oe: abs(_shift(*oe)), default=None)
    nothing_yet = [0.0 for o in outputs if not o.events]
    return PredictionState(
        logHarm=round(float(log_mean([v for _, e in events for v in (e.up, e.down)] or [0.0])), 4),
        logSafe=round(min([v for _, e in events for v in (e.notUp, e.notDown)] + nothing_yet), 4),
        logDiffers=round(state.logDiffers + (float(log_mean(gains)) if gains else 0.0), 4),
        largestShift=round(100 * _shift(*largest), 2) if largest else 0.0,
        largestEvent=f"{largest[0].output}: {largest[1].event}" if largest else "",
        candidateAnswers=outputs[0].candidateAnswers + _answers(outputs[0].candidateWaiting),
        stableAnswers=outputs[0].stableAnswers + _answers(outputs[0].stableWaiting),
        outputs=outputs,
        leftOut=left_out,
    )


def _with_room(state: PredictionState, blocks: list[PredictionBlock]) -> tuple[list[PredictionBlock], list[str]]:
    """The blocks that are compared, and some names of outputs that are not.

    What an output can add is known from its bins, whatever was counted in them, so who is compared does not depend on
    the evidence. An output that has its place keeps it; one whose bins become more than there is room for goes no
    further, and so passes nothing.
    """
    used = {(o.output, o.layout): _size(o.events, o.candidateWaiting, o.stableWaiting) for o in state.outputs}
    room = max(0, MOST_EVENTS - sum(used.values()))  # evidence from before there was a bound may have more
    kept, left_out = [], list[str]()
    for block in sorted(blocks, key=lambda b: (b.output, b.layout)):
        before = used.get((block.output, block.layout), 0)
        bins = {*block.candidate, *block.stable}
        known = next((o for o in state.outputs if (o.output, o.layout) == (block.output, block.layout)), None)
        named = {e.event for e in known.events} if known else set[str]()
        waits = {*known.candidateWaiting, *known.stableWaiting} if known else set[str]()
        grows = max(before, len(named | set(events_of(sorted(bins | waits))))) - before
        if grows <= room and all(len(name) <= LONGEST_NAME for name in (block.output, *bins)):
            room -= grows
            kept.append(block)
        else:
            left_out.append(block.output[:LONGEST_NAME])
    return kept, sorted(left_out)[:3]


def _size(events: list[EventState], candidate: Mapping[str, int], stable: Mapping[str, int]) -> int:
    return max(len(events), len(events_of(sorted({*candidate, *stable}))))


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
    named: dict[str, list[str]] = {}
    for name, bin_, bins in events:
        named[f"{name} ({bin_.split(' ', 1)[0]})" if name in named else name] = bins
    return named


def _readable(bin_: str) -> str:
    return f"is {bin_.split(' ', 1)[1]}" if " " in bin_ else bin_


def _up_to(bin_: str) -> str:
    """`n01 (2,5]` -> `at most 5`; `n01 (2,5)`, before a bin of 5 alone, -> `below 5`."""
    edge = bin_.rsplit(",", 1)[-1].rstrip("])") if "," in bin_ else bin_
    return f"below {edge}" if bin_.endswith(")") else f"at most {edge}"


def _shift(output: OutputState, event: EventState) -> float:
    if not output.candidateAnswers or not output.stableAnswers:
        return 0.0
    return event.candidate / output.candidateAnswers - event.stable / output.stableAnswers


def _waited(before: OutputState, block: PredictionBlock, seconds: float) -> tuple[OutputState, PredictionBlock | None]:
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
        output = replace(before, candidateWaiting={}, stableWaiting={}, waited=0.0)
        return output, PredictionBlock(block.output, block.layout, candidate, stable)
    kept = replace(before, candidateWaiting=_counted(candidate), stableWaiting=_counted(stable))
    return replace(kept, waited=round(float(waited[0]), 3)), None


def _together(waiting: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    return {b: waiting.get(b, 0) + new.get(b, 0) for b in {**waiting, **new}}


def _counted(bins: Mapping[str, int]) -> dict[str, int]:
    """Only what says something."""
    return {b: count for b, count in sorted(bins.items()) if count and b not in NOT_ANSWERS}


def _answers(bins: Mapping[str, int]) -> int:
    return sum(count for b, count in bins.items() if b not in NOT_ANSWERS)


def _fold_output(before: OutputState, block: PredictionBlock, margin: float) -> tuple[OutputState, float]:
    events = events_of(sorted({*block.candidate, *block.stable}))
    earlier = {e.event: e for e in before.events}
    priors = [earlier.get(name, EventState(event=name)) for name in events]
    n_c, n_s = _answers(block.candidate), _answers(block.stable)
    y_c = np.array([[sum(block.candidate.get(b, 0) for b in bins) for bins in events.values()]], dtype=np.float64)
    y_s = np.array([[sum(block.stable.get(b, 0) for b in bins) for bins in events.values()]], dtype=np.float64)
    state = replace(
        Shares.start(1, len(events)),
        candidate=_row(e.candidate for e in priors),
        stable=_row(e.stable for e in priors),
        candidate_answers=_row([before.candidateAnswers]),
        stable_answers=_row([before.stableAnswers]),
        up=_row(e.up for e in priors),
        down=_row(e.down for e in priors),
        not_up=_row(e.notUp for e in priors),
        not_down=_row(e.notDown for e in priors),
    )
    new = shares.bet(state, Answers(y_c, _row([n_c]), y_s, _row([n_s])), margin)
    after = [
        EventState(
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
    after += [e for name, e in earlier.items() if name not in events]
    counted = replace(
        before,
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
    return counted, float(shares.log_e_same(*bins)[0])


def _row(values: Iterable[float]) -> Floats:
    return np.array([list(values)], dtype=np.float64)


def _bins(counts: Floats, answers: Floats, events: Mapping[str, list[str]]) -> Floats:
    """Counts of bins that exclude each other, from those of the events: cuts of a number are sums of bins."""
    cuts = [i for i, bins in enumerate(events.values()) if len(bins) > 1 or bins[0].startswith("n")]
    others = [i for i in range(len(events)) if i not in cuts]
    apart = np.maximum(np.diff(counts[:, cuts], prepend=0.0), 0.0)  # a cut that came later has counted less
    rest = np.maximum(answers - apart.sum(axis=1, keepdims=True) - counts[:, others].sum(axis=1, keepdims=True), 0.0)
    return np.concatenate([apart, counts[:, others], rest], axis=1)


class PredictionShift(Signal[PredictionState, Predictions]):
    """Shares of answers."""

    name = "predictions"
    capital = 0.25
    series: ClassVar = (PREDICTIONS,)
    state = PredictionState

    def block(self, samples: Samples) -> Predictions:
        """Answers of every output in a layout that both versions count in."""
        compared = samples.compared
        layouts: dict[str, set[str]] = defaultdict(set)
        for s in samples.series:
            if s.labels.get("__name__") == PREDICTIONS:
                layouts[s.labels.get(REVISION, "")].add(s.labels.get("layout", ""))
        shared = sorted(layouts[compared.stable] & layouts[compared.candidate])
        expected = bool(layouts[compared.stable])
        if not shared:
            return Predictions(expected)
        layout = shared[0]
        bins: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for i in samples.increments:
            if i.labels.get("__name__") == PREDICTIONS and i.labels.get("layout") == layout:
                bins[i.labels.get("output", ""), i.labels.get(REVISION, "")][i.labels.get("bin", "")] += i.gained
        outputs = sorted({output for output, _ in bins})
        blocks = tuple(
            PredictionBlock(output, layout, dict(bins[output, compared.candidate]), dict(bins[output, compared.stable]))
            for output in outputs
        )
        return Predictions(expected, blocks)

    def unread(self) -> Predictions:
        """Nobody knows whether stable counts, so the candidate does not pass unseen."""
        return Predictions(expected=True, unread=True)

    def wanted(self, spec: Spec, block: Predictions | None, can: Capabilities) -> bool:
        return block is not None and block.expected

    def fold(
        self, state: PredictionState, block: Predictions | None, spec: Spec, seconds: float, ceiling: float
    ) -> PredictionState:
        outputs = list(block.outputs) if block else []
        folded = fold(state, outputs, fraction(spec.rollout.margins.predictions), seconds)
        return replace(folded, expected=bool(block and block.expected), unread=bool(block and block.unread))

    def note(self, state: PredictionState, spec: Spec) -> str:
        """That not all outputs are compared, or that none could be read."""
        if state.unread:
            return (
                " TooManyPredictions: Prometheus has more series of predictions than can be read at once; they are not "
                "compared, and the rollout is judged by the rest and does not end well without them. Have fewer pods "
                "while a version is rolled out, or fewer outputs and bins in profile.json."
            )
        if not state.leftOut:
            return ""
        return (
            f" TooManyBins: there is room for {MOST_EVENTS} events of predictions, and some outputs are not compared: "
            f"{', '.join(state.leftOut)}."
        )

    def is_due(self, state: PredictionState, spec: Spec) -> bool:
        """Not before both versions count in the same layout; while only stable counts the candidate can't pass."""
        return bool(state.outputs) or state.expected

    def counts(self, state: PredictionState) -> Mapping[str, float]:
        names = ("candidateAnswers", "stableAnswers", "largestShift", "logDiffers")
        return {name: getattr(state, name) for name in names}

    def summary(self, state: PredictionState, stable: str) -> str:
        if not state.largestEvent:
            return ""
        return (
            f"the share of answers where {state.largestEvent} moved by {state.largestShift:+.1f} points "
            f"({state.candidateAnswers} answers of the candidate, {state.stableAnswers} of {stable})"
        )

    def harm(self, state: PredictionState, spec: Spec, stable: str, strength: str) -> tuple[str, str]:
        return (
            "PredictionsShifted",
            f"The predictions differ from those of {stable} on the same traffic by more than "
            f"{spec.rollout.margins.predictions}: {self.summary(state, 'stable')}. {strength} If this is intended, "
            "raise spec.rollout.margins.predictions.",
        )

    def passed(self, state: PredictionState, spec: Spec) -> str:
        if not state.outputs:
            return "Predictions were not compared: stable has no profile."
        return (
            f"No share of its predictions moved by {spec.rollout.margins.predictions} "
            f"(largest: {state.largestEvent}, {state.largestShift:+.1f} points)."
        )


PREDICTION_SHIFT = PredictionShift()
