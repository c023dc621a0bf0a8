"""What the ModelDeployment asks of its router, read from the raw object.

The agent calls `parse_deployment` with what the API server sent; `config` gets the `Intent`. The operator
is the only writer of `status.traffic`, but two versions of it may run during an upgrade, so everything is
checked and a doubtful split is `InvalidTraffic`: the agent then keeps the last good one.

The spec is read part by part. The API server has checked it; an operator and an agent of two versions may disagree all
the same. A part that can't be read is said, and stays as it last was: no rollback waits for it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias, TypeVar

from headgate_serving.router.errors import InvalidTraffic
from headgate_serving.router.fallback.wishes import NO_FALLBACK, Fallback, parse_fallback
from headgate_serving.router.limits import NO_WISHES, Limits, parse_max_body, parse_rate
from headgate_serving.router.matching import Match, Role, Selector, parse_affinity, parse_matches
from headgate_serving.router.shadow.rules import DEFAULT_RULES, Rules, parse_rules

TOTAL_WEIGHT = 1000
"""Weights are whole tenths of a percent, as Envoy wants integers."""

DEFAULT_TIMEOUT_MS = 1000
SHORTEST_MS, LONGEST_MS = 1, 3_600_000
"""Of the time for an answer, and the time from which one is slow: as the CRD has them. Envoy refuses to wait for some
hundred years."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_TEXT = 20
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9.]+)(ms|s|m|h)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


LastGood: TypeAlias = dict[str, Any]
"""The value of each part of the spec when it could last be read, by its name. `parse_deployment` adds to it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of `status.traffic`. Parts are in tenths of a percent."""

    revision: str
    role: Role
    weight: int
    shadow: int = 0
    """Of stable's requests, the part of which it gets copies."""
    sample: int = 0
    """Of its own answered requests, the part of which its monitor gets copies."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What the router has to do: the split, who is not split, the latency budget, and who stands in for whom."""

    targets: tuple[Target, ...] = ()
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    retry_on_stable: bool = True
    slow_ms: int | None = None
    """Answers that take longer are slow ones for the operator."""
    matches: tuple[Match, ...] = ()
    affinity: Selector | None = None
    limits: Limits = NO_WISHES
    shadow_rules: Rules = DEFAULT_RULES
    fallback: Fallback = NO_FALLBACK
    ignored: tuple[str, ...] = ()
    """What could not be read. It is not done; a part of the spec that could be read before stays as it was."""
    stable: Target | None = field(init=False)
    candidate: Target | None = field(init=False)

    def __post_init__(self) -> None:
        _check_targets(self.targets)
        if self.timeout_ms < 1:
            raise InvalidTraffic(f"the timeout has to be at least 1 ms, not {self.timeout_ms} ms")
        by_role = {target.role: target for target in self.targets}
        object.__setattr__(self, "stable", by_role.get("stable"))
        object.__setattr__(self, "candidate", by_role.get("candidate"))

    @property
    def wishes(self) -> "Intent":
        """What the spec asks for, without the split."""
        return replace(self, targets=(), ignored=())

    @property
    def shadowed(self) -> bool:
        """Whether the candidate gets copies, and nobody's requests."""
        return self.candidate is not None and self.candidate.shadow > 0 and self.candidate.weight == 0

    @property
    def copied(self) -> int:
        """The part of the requests that is copied for whoever looks at them, in tenths of a percent."""
        shadow = self.candidate.shadow if self.candidate and self.shadowed else 0
        return max(shadow, *(target.sample for target in self.targets), 0)


def parse_deployment(deployment: Mapping[str, Any], last_good: LastGood | None = None) -> Intent:
    """Read `status.traffic` and `spec` of a raw ModelDeployment; InvalidTraffic when the split can't be right.

    A part of the spec that can't be read has its value of `last_good`; without one, that of what can be read of it.
    """
    traffic = _section(_section(deployment, "status"), "traffic", list)
    targets = tuple(_parse_target(entry) for entry in traffic)
    parts = _Parts({} if last_good is None else last_good)

    def spec(name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = _section(_section(deployment, "spec"), name)
        return found

    def matches() -> tuple[tuple[Match, ...], tuple[str, ...]]:
        return parse_matches(_section(spec("traffic"), "match", list))

    def fallback() -> tuple[Fallback, tuple[str, ...]]:
        return parse_fallback(spec("traffic"), _section(deployment, "metadata").get("name"))

    limits = Limits(
        parts.read("maxBody", lambda: parse_max_body(spec("traffic")), NO_WISHES.max_body),
        parts.read("rateLimit", lambda: parse_rate(spec("traffic")), NO_WISHES.rate),
    )
    return Intent(
        targets=targets,
        timeout_ms=parts.read("timeout", lambda: _timeout(spec("traffic")), DEFAULT_TIMEOUT_MS),
        retry_on_stable=parts.read("retryOnStable", lambda: _retry(spec("traffic")), True),
        slow_ms=parts.read("threshold", lambda: _slow_ms(spec("rollout")), None),
        matches=parts.read("match", matches, ()),
        affinity=parts.read("affinity", lambda: parse_affinity(spec("traffic").get("affinity")), None),
        limits=limits,
        shadow_rules=parts.read("shadow", lambda: parse_rules(spec("rollout")), DEFAULT_RULES),
        fallback=parts.read("fallback", fallback, NO_FALLBACK),
        ignored=(*dict.fromkeys(parts.wrong), *_wrong_parts(traffic)),
    )


class _Parts:
    """Reads the parts of a spec one by one."""

    def __init__(self, last_good: LastGood) -> None:
        self._last_good = last_good
        self.wrong = list[str]()

    def read(self, name: str, read: Callable[[], tuple[T, tuple[str, ...]]], default: T) -> T:
        """A part's value. `read` says what is wrong with it, or raises."""
        try:
            value, wrong = read()
        except InvalidTraffic as error:
            value, wrong = default, (f"spec: {error}",)
        except Exception as error:  # whatever it is, no rollback waits for it
            value, wrong = default, (f"spec: {name} can't be read: {error!r}",)
        if not wrong:
            self._last_good[name] = value
            return value
        self.wrong += wrong
        found: T = self._last_good.get(name, value)
        return found


def _timeout(wishes: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    text = wishes.get("timeout")
    return DEFAULT_TIMEOUT_MS if text is None else _answer_time("traffic.timeout", text), ()


def _slow_ms(rollout: Mapping[str, Any]) -> tuple[int | None, tuple[str, ...]]:
    """The threshold of slow answers, if there is one."""
    if rollout.get("latency") is None:
        return None, ()
    return _answer_time("rollout.latency.threshold", _section(rollout, "latency").get("threshold")), ()


def _answer_time(name: str, text: object) -> int:
    milliseconds = parse_duration(text)
    if not SHORTEST_MS <= milliseconds <= LONGEST_MS:
        raise InvalidTraffic(f"{name} has to be from {SHORTEST_MS} ms to {LONGEST_MS} ms, not {text}")
    return milliseconds


def _retry(wishes: Mapping[str, Any]) -> tuple[bool, tuple[str, ...]]:
    retry = wishes.get("retryOnStable")
    if retry is not None and not isinstance(retry, bool):
        raise InvalidTraffic(f"traffic.retryOnStable is {retry!r}, not true or false")
    return retry is not False, ()


def parse_duration(text: object) -> int:
    """Milliseconds of a duration such as `200ms`, `1.5s` or `1m30s`."""
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT or not _DURATION.fullmatch(text):
        raise InvalidTraffic(f"{text!r} is no duration: write it like 200ms, 1.5s or 1m30s")
    return int(sum(Decimal(number) * _MILLISECONDS[unit] for number, unit in _DURATION_PART.findall(text)))


def _parse_target(entry: object) -> Target:
    if not isinstance(entry, Mapping):
        raise InvalidTraffic(f"an entry of status.traffic is {entry!r}, not an object")
    revision, role = entry.get("revision"), entry.get("role")
    if not isinstance(revision, str) or not _NAME.fullmatch(revision):
        raise InvalidTraffic(f"revision {revision!r} in status.traffic is no name of a revision")
    if role == "stable" or role == "candidate":  # noqa: PLR1714 (mypy narrows only this form to the Literal)
        return Target(revision, role, _tenths(entry.get("weight")), *_parts(entry))
    raise InvalidTraffic(f"role {role!r} of {revision} is neither stable nor candidate")


def _parts(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Of shadow and sample. No copies where it can't be read how many: no request depends on them."""
    return _part(entry, "shadow"), _part(entry, "sample")


def _part(entry: Mapping[str, Any], of: str) -> int:
    try:
        return _tenths(entry.get(of) or 0)
    except InvalidTraffic:
        return 0


def _wrong_parts(traffic: list[Any]) -> tuple[str, ...]:
    entries = [entry for entry in traffic if isinstance(entry, Mapping)]
    return tuple(
        f"status.traffic: {of} {entry[of]!r} is no percentage with at most one decimal"
        for entry in entries
        for of in ("shadow", "sample")
        if entry.get(of) and not _part(entry, of)
    )


def _tenths(weight: object) -> int:
    if isinstance(weight, bool) or not isinstance(weight, int | float | str):
        raise InvalidTraffic(f"weight {weight!r} is no number")
    try:
        tenths = Decimal(str(weight)) * 10
    except InvalidOperation as error:
        raise InvalidTraffic(f"weight {weight!r} is no number") from error
    if not tenths.is_finite() or tenths != tenths.to_integral_value() or not 0 <= tenths <= TOTAL_WEIGHT:
        raise InvalidTraffic(f"weight {weight!r} is no percentage with at most one decimal")
    return int(tenths)


def _check_targets(targets: tuple[Target, ...]) -> None:
    if not targets:
        return
    for what in ("revision", "role"):
        values = [getattr(target, what) for target in targets]
        if len(set(values)) < len(values):
            raise InvalidTraffic(f"status.traffic names a {what} twice: {', '.join(values)}")
    total = sum(target.weight for target in targets)
    if total != TOTAL_WEIGHT:
        raise InvalidTraffic(f"the weights of status.traffic add up to {total / 10:g} %, not to 100 %")


def _section(holder: Mapping[str, Any], key: str, kind: type[Any] = dict) -> Any:
    """The value at `key`, or an empty one where it is missing."""
    value = holder.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InvalidTraffic(f"{key} is {value!r}, not {'a list' if kind is list else 'an object'}")
    return value
