"""Several signals, one alpha: the rollout's e-value is a weighted mean of the signals' (valid under any dependence).

Called by `core.phases`: `opened` when the candidate is about to get requests or copies of them, `updated` for every
block. Evidence becomes a verdict here and in `judge`, whose functions the simulator uses too.

Where blocks of several scrapes are merged (`statistics.waiting`), those of the signals end at different times. The
mean is then valid if what one signal has seen does not depend on how the open block of another one will end.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from headgate.api.spec import Spec
from headgate.api.status import Evidence, SignalEvidence, Verdict
from headgate.core.model import BaselineRate, Capabilities, NewSamples, Reading
from headgate.core.signals import SIGNALS, signals_of
from headgate.core.signals.signal import PASS, Signal
from headgate.core.statistics.difference import Floats

_ROUNDING = 1e-3
"""Accumulators are stored with a few decimals: no signal stops just below what decides."""

AnySignal = Signal[Any, Any]


def threshold(alpha: float) -> float:
    """ln(1/alpha): where the combined evidence rolls back."""
    return -math.log(alpha)


def weights(compared: Iterable[str], signals: Iterable[AnySignal] = SIGNALS) -> dict[str, float]:
    """The share of alpha of each of the `signals` that a rollout compares: they add up to 1."""
    names = set(compared)
    present = [signal for signal in signals if signal.name in names]
    total = sum(signal.capital for signal in present)
    return {signal.name: round(signal.capital / total, 6) for signal in present}


def ceiling(weight: float, alpha: float) -> float:
    """ln of the e-value at which a signal of this weight decides alone; infinite for one that may not decide."""
    return threshold(alpha) - math.log(weight) + _ROUNDING if weight else math.inf


def log_total(log_harm: Mapping[str, Floats], shares: Mapping[str, float]) -> Floats:
    """ln of the combined e-value. Signals without a share are only there to pass."""
    parts = [math.log(shares[name]) + logs for name, logs in log_harm.items() if shares.get(name)]
    return np.asarray(np.logaddexp.reduce(parts), dtype=np.float64)


def opened(spec: Spec, reading: Reading, samples: NewSamples, before: Evidence, can: Capabilities) -> Evidence:
    """The evidence of a rollout whose candidate is about to get its first requests (`reading` COMPARISON), or copies.

    The shares of alpha stay what they were if there are any: alpha is for the whole rollout, and so is what an earlier
    phase has shown.
    """
    signals = signals_of(spec)
    wanted = [signal.name for signal in signals if signal.wanted(spec, signal.block_in(samples), can)]
    shares = {each.name: each.weight for each in before.signals} or weights(wanted, signals)
    entries = []
    for signal in signals:
        entry = before.of(signal.name) or SignalEvidence(name=signal.name, weight=shares.get(signal.name, 0.0))
        if signal.reading is reading and not entry.state:
            state = signal.begin(spec, samples.baselines.get(signal.name, BaselineRate()), signal.block_in(samples))
            entry = signal.entry(entry, state) if state is not None else entry
        if entry.weight or entry.state:
            entries.append(entry)
    return combined(Evidence(signals=entries), spec.rollout.alpha)


def updated(
    spec: Spec, evidence: Evidence, samples: NewSamples, seconds: float, stable_rate: float | None = None
) -> Evidence:
    """The evidence after one more block, which took `seconds`.

    `stable_rate` is stable's rate of failures while both served, where only the candidate does now.
    """
    entries = []
    for signal, entry, state in _entries(spec, evidence):
        if signal.dropped(spec):
            entries.append(_without_state(entry))
            continue
        # One that is required no more keeps what it has shown, and that decides nothing.
        before = replace(entry, weight=0.0) if signal.advisory else entry
        if state is None:
            entries.append(before)
            continue
        block = signal.block_in(samples)
        if signal.reading is not samples.reading:
            after = state
        elif stable_rate is None:
            after = signal.fold(state, block, spec, seconds, ceiling(before.weight, spec.rollout.alpha))
        else:
            after = signal.alone(state, block, spec, stable_rate)
        entries.append(signal.entry(before, after))
    known = {entry.name for entry in entries}
    gone = [_without_state(entry) for entry in evidence.signals if entry.name not in known]
    return combined(replace(evidence, signals=[*entries, *gone]), spec.rollout.alpha)


def _without_state(entry: SignalEvidence) -> SignalEvidence:
    """Of a signal that the spec asks for no more. Its share of alpha stays: alpha is for the whole rollout."""
    return SignalEvidence(name=entry.name, weight=entry.weight)


def combined(evidence: Evidence, alpha: float) -> Evidence:
    """The evidence with its combined e-value, and every signal's verdict, brought up to date."""
    shares = {each.name: each.weight for each in evidence.signals}
    logs = {each.name: np.asarray(each.logHarm) for each in evidence.signals}
    entries = [
        replace(each, verdict=_verdict(each, ceiling(each.weight, alpha) - _ROUNDING)) for each in evidence.signals
    ]
    return Evidence(
        signals=entries,
        logHarm=round(float(log_total(logs, shares)), 4) if any(shares.values()) else 0.0,
        threshold=round(threshold(alpha), 4),
    )


def carrier(spec: Spec, evidence: Evidence) -> AnySignal:
    """The signal that carries most of the combined evidence."""
    weighed = [(signal, entry) for signal, entry, _ in _entries(spec, evidence) if entry.weight]
    return max(weighed, key=lambda each: math.log(each[1].weight) + each[1].logHarm)[0]


def compared(spec: Spec, evidence: Evidence) -> Iterator[tuple[AnySignal, SignalEvidence, Any]]:
    """Every signal that has something to compare, with its entry and its state."""
    return ((signal, entry, state) for signal, entry, state in _entries(spec, evidence) if state is not None)


def unread(spec: Spec, evidence: Evidence, alone: bool = False) -> list[str]:
    """Why the rollout can't go on without a user's signal that it needs, a sentence for each without its full stop.

    `alone`: nothing can be compared with stable, which serves no more, or answers nothing.
    """
    return [
        f"The signal {signal.name} can't be read: {trouble}"
        for signal, _, state in compared(spec, evidence)
        if not signal.advisory and not (alone and signal.about_stable) and (trouble := signal.trouble(state))
    ]


def _entries(spec: Spec, evidence: Evidence) -> Iterator[tuple[AnySignal, SignalEvidence, Any]]:
    """Signals that are known, in their order, with their entry, and their state where they have begun."""
    for signal in signals_of(spec):
        if entry := evidence.of(signal.name):
            yield signal, entry, signal.decoded(entry)


def _verdict(entry: SignalEvidence, limit: float) -> Verdict:
    """Fail when harm is shown, Pass when it is shown that there is none."""
    if entry.logHarm >= limit:
        return "Fail"
    return "Pass" if entry.logSafe >= PASS else "Inconclusive"
