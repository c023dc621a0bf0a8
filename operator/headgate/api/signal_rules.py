"""Rules of `spec.rollout.signals`, in the form of `rules`."""

from headgate.api.rules import Rule

_COUNTERS = ("events", "trials", "margin")

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""Without underscores, so that `NAME_safe` in series belongs to one signal."""

MOST_SIGNALS = 8

OURS = ("errors", "latency", "shadow", "predictions", "combined")
"""Names of Headgate's own signals, and of all of them together, in the status and in series."""

NAMES_DIFFER = Rule(
    cel="self.all(one, self.exists_one(other, other.name == one.name))",
    holds=lambda signals: len({signal.name for signal in signals}) == len(signals),
    message="must have different names",
)

NOT_OURS = Rule(
    cel=f"self.all(one, !(one.name in {list(OURS)}))",
    holds=lambda signals: not any(signal.name in OURS for signal in signals),
    message=f"must have other names than Headgate's own signals: {', '.join(OURS)}",
)

COUNTERS_OR_GAUGE = Rule(
    cel="has(self.query) ? (!has(self.events) && !has(self.trials) && !has(self.margin) && has(self.__for__) "
    "&& has(self.max) != has(self.min)) : (has(self.events) && has(self.trials) && has(self.margin) "
    "&& !has(self.__for__) && !has(self.max) && !has(self.min))",
    holds=lambda signal: (
        _given(signal, "query", "for_")
        and _given(signal, "max") != _given(signal, "min")
        and _lacks(signal, *_COUNTERS)
        if signal.query is not None
        else _given(signal, *_COUNTERS) and _lacks(signal, "for_", "max", "min")
    ),
    message="must have events, trials and a margin; or a query, max or min, and for",
)


def _given(signal: object, *names: str) -> bool:
    return all(getattr(signal, name) is not None for name in names)


def _lacks(signal: object, *names: str) -> bool:
    return all(getattr(signal, name) is None for name in names)
