"""What the metrics say, in the words of tests: NewSamples from the parts that a test cares about, and back."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, TypeVar

from headgate.api.status import Evidence
from headgate.api.stored import adapter
from headgate.core.model import BaselineRate, NewSamples, Reading
from headgate.core.signals import SIGNALS
from headgate.core.signals.predictions import PredictionBlock, Predictions
from headgate.core.signals.signal import PASS, EvidenceState, PairBlock, SlowAnswers
from headgate.core.statistics.rates import AttemptBlock

State = TypeVar("State")


def opening(
    cursor: float,
    before: BaselineRate | None = None,
    slow_before: BaselineRate | None = None,
    slow_edge: float | None = None,
    predictions_expected: bool = False,
    interval: float = 1.0,
) -> NewSamples:
    """What is known when the candidate is about to get its first requests."""
    blocks = {
        "errors": AttemptBlock(),
        "latency": SlowAnswers(slow_edge) if slow_edge else None,
        "predictions": Predictions(predictions_expected),
    }
    baselines = {"errors": before or BaselineRate(), "latency": slow_before or BaselineRate()}
    return NewSamples(cursor, blocks, baselines, interval, reading=Reading.OPENING)


def compared(
    cursor: float,
    attempts: AttemptBlock | None = None,
    predictions: Iterable[PredictionBlock] = (),
    predictions_expected: bool = False,
    slow: SlowAnswers | None = None,
    interval: float = 1.0,
    behind: tuple[str, ...] = (),
) -> NewSamples:
    """A block of traffic."""
    blocks = {
        "errors": attempts or AttemptBlock(),
        "latency": slow,
        "predictions": Predictions(predictions_expected, tuple(predictions)),
    }
    return NewSamples(cursor, blocks, {}, interval, behind)


def paired(cursor: float, pairs: PairBlock) -> NewSamples:
    """Copies of requests."""
    return NewSamples(cursor, {"shadow": pairs}, reading=Reading.PAIRS)


@dataclass(frozen=True)
class Seen:
    """What signals read in samples of a data plane."""

    cursor: float
    attempts: AttemptBlock | None
    slow: SlowAnswers | None
    predictions: tuple[PredictionBlock, ...]
    predictions_expected: bool
    pairs: PairBlock | None
    before: BaselineRate
    slow_before: BaselineRate
    interval: float
    behind: tuple[str, ...]


def seen_in(samples: object) -> Any:
    """The parts of NewSamples; anything else as it is."""
    if not isinstance(samples, NewSamples):
        return samples
    predictions = samples.blocks.get("predictions") or Predictions()
    return Seen(
        samples.cursor,
        samples.blocks.get("errors"),
        samples.blocks.get("latency"),
        predictions.outputs,
        predictions.expected,
        samples.blocks.get("shadow"),
        samples.baselines.get("errors", BaselineRate()),
        samples.baselines.get("latency", BaselineRate()),
        samples.interval,
        samples.behind,
    )


def signals(evidence: Evidence) -> SimpleNamespace:
    """What evidence holds, signal by signal: the fields of its state, its verdict and weight; None for one without."""
    found: dict[str, SimpleNamespace | None] = {signal.name: None for signal in SIGNALS}
    for signal in SIGNALS:
        entry = evidence.of(signal.name)
        if entry and (state := signal.decoded(entry)) is not None:
            parts = {f.name: getattr(state, f.name) for f in fields(state)}
            found[signal.name] = SimpleNamespace(**parts, verdict=entry.verdict)
    weights = {each.name: each.weight for each in evidence.signals if each.weight}
    return SimpleNamespace(**found, weights=weights)


def counts(evidence: Evidence, name: str) -> dict[str, float]:
    """What a signal has counted: `candidateAttempts=12 …` in its entry."""
    entry = evidence.of(name)
    assert entry, f"no entry of {name}"
    return {name: float(number) for name, number in (part.split("=") for part in entry.counts.split())}


def as_json(state: object) -> str:
    """A signal's state as the status holds it."""
    return adapter(type(state)).dump_json(state, exclude_defaults=True).decode()


def through_json(state: State) -> State:
    """A signal's state after a round trip."""
    read: State = adapter(type(state)).validate_json(as_json(state))
    return read


def verdict(seen: EvidenceState, limit: float) -> str:
    """What a signal with this state says where `limit` is the ln e-value that decides."""
    if seen.logHarm >= limit:
        return "Fail"
    return "Pass" if seen.logSafe >= PASS else "Inconclusive"
