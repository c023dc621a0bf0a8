"""What the metrics say, in the words of tests: NewSamples from the parts that a test cares about, and back."""

from dataclasses import dataclass, fields
from types import SimpleNamespace

from headgate.api.stored import adapter
from headgate.core.model import BaselineRate, NewSamples, Reading
from headgate.core.signals import SIGNALS
from headgate.core.signals.predictions import Predictions
from headgate.core.signals.signal import PASS, PairBlock, SlowAnswers
from headgate.core.statistics.rates import AttemptBlock


def opening(cursor, before=None, slow_before=None, slow_edge=None, predictions_expected=False, interval=1.0):
    """What is known when the candidate is about to get its first requests."""
    blocks = {
        "errors": AttemptBlock(),
        "latency": SlowAnswers(slow_edge) if slow_edge else None,
        "predictions": Predictions(predictions_expected),
    }
    baselines = {"errors": before or BaselineRate(), "latency": slow_before or BaselineRate()}
    return NewSamples(cursor, blocks, baselines, interval, reading=Reading.OPENING)


def compared(cursor, attempts=None, predictions=(), predictions_expected=False, slow=None, interval=1.0, behind=()):
    """A block of traffic."""
    blocks = {
        "errors": attempts or AttemptBlock(),
        "latency": slow,
        "predictions": Predictions(predictions_expected, tuple(predictions)),
    }
    return NewSamples(cursor, blocks, {}, interval, behind)


def paired(cursor, pairs):
    """Copies of requests."""
    return NewSamples(cursor, {"shadow": pairs}, reading=Reading.PAIRS)


@dataclass(frozen=True)
class Seen:
    """What signals read in samples of a data plane."""

    cursor: float
    attempts: AttemptBlock
    slow: SlowAnswers | None
    predictions: tuple
    predictions_expected: bool
    pairs: PairBlock | None
    before: BaselineRate
    slow_before: BaselineRate
    interval: float
    behind: tuple


def seen_in(samples):
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


def signals(evidence):
    """What evidence holds, signal by signal: the fields of its state, its verdict and weight; None for one without."""
    found = {signal.name: None for signal in SIGNALS}
    for signal in SIGNALS:
        entry = evidence.of(signal.name)
        if entry and (state := signal.decoded(entry)) is not None:
            parts = {f.name: getattr(state, f.name) for f in fields(state)}
            found[signal.name] = SimpleNamespace(**parts, verdict=entry.verdict)
    weights = {each.name: each.weight for each in evidence.signals if each.weight}
    return SimpleNamespace(**found, weights=weights)


def counts(evidence, name):
    """What a signal has counted: `candidateAttempts=12 …` in its entry."""
    return {name: float(number) for name, number in (part.split("=") for part in evidence.of(name).counts.split())}


def as_json(state):
    """A signal's state as the status holds it."""
    return adapter(type(state)).dump_json(state, exclude_defaults=True).decode()


def through_json(state):
    """A signal's state after a round trip."""
    return adapter(type(state)).validate_json(as_json(state))


def verdict(seen, limit):
    """What a signal with this state says where `limit` is the ln e-value that decides."""
    if seen.logHarm >= limit:
        return "Fail"
    return "Pass" if seen.logSafe >= PASS else "Inconclusive"
