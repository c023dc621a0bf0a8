"""What the ModelDeployment asks of its router, read from the raw object.

The agent calls `parse_deployment` with what the API server sent; `config` gets the `Intent`. The operator
is the only writer of `status.traffic`, but two versions of it may run during an upgrade, so everything is
checked and a doubtful split is `InvalidTraffic`: the agent then keeps the last good one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from headgate_serving.router.errors import InvalidTraffic
from headgate_serving.router.fallback.wishes import NO_FALLBACK, Fallback, parse_fallback
from headgate_serving.router.limits import NO_WISHES, Limits, parse_limits
from headgate_serving.router.matching import Match, Role, Selector, parse_affinity, parse_matches
from headgate_serving.router.shadow.rules import DEFAULT_RULES, Rules, parse_rules

TOTAL_WEIGHT = 1000
"""Weights are whole tenths of a percent, as Envoy wants integers."""

DEFAULT_TIMEOUT_MS = 1000

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_DURATION_PART = re.compile(r"([\d.]+)(ms|s|m|h)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


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
    """What could not be read, and is not done."""
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
    def shadowed(self) -> bool:
        """Whether the candidate gets copies, and nobody's requests."""
        return self.candidate is not None and self.candidate.shadow > 0 and self.candidate.weight == 0

    @property
    def copied(self) -> int:
        """The part of the requests that is copied for whoever looks at them, in tenths of a percent."""
        shadow = self.candidate.shadow if self.candidate and self.shadowed else 0
        return max(shadow, *(target.sample for target in self.targets), 0)


def parse_deployment(deployment: Mapping[str, Any]) -> Intent:
    """Read `status.traffic` and `spec.traffic` of a raw ModelDeployment; InvalidTraffic when they can't be right."""
    traffic = _section(_section(deployment, "status"), "traffic", list)
    wishes = _section(_section(deployment, "spec"), "traffic")
    retry = wishes.get("retryOnStable", True)
    if not isinstance(retry, bool):
        raise InvalidTraffic(f"spec.traffic.retryOnStable is {retry!r}, not true or false")
    timeout = wishes.get("timeout")
    matches, wrong_matches = parse_matches(_section(wishes, "match", list))
    affinity, wrong_affinity = parse_affinity(wishes.get("affinity"))
    limits, wrong_limits = parse_limits(wishes)
    fallback, wrong_fallback = parse_fallback(wishes, _section(deployment, "metadata").get("name"))
    rollout = _section(_section(deployment, "spec"), "rollout")
    shadow_rules, wrong_rules = parse_rules(rollout)
    return Intent(
        targets=tuple(_parse_target(entry) for entry in traffic),
        timeout_ms=DEFAULT_TIMEOUT_MS if timeout is None else parse_duration(timeout),
        retry_on_stable=retry,
        slow_ms=_slow_ms(rollout),
        matches=matches,
        affinity=affinity,
        limits=limits,
        shadow_rules=shadow_rules,
        fallback=fallback,
        ignored=(
            *(wrong_matches + wrong_affinity + wrong_limits + wrong_fallback),
            *(wrong_rules + _wrong_parts(traffic)),
        ),
    )


def _slow_ms(rollout: Mapping[str, Any]) -> int | None:
    """The threshold of slow answers, if there is one that can be read: users' requests don't depend on it."""
    try:
        return parse_duration(_section(rollout, "latency").get("threshold"))
    except InvalidTraffic:
        return None


def parse_duration(text: object) -> int:
    """Milliseconds of a duration such as `200ms`, `1.5s` or `1m30s`."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
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
