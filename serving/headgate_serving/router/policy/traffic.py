"""What the operator asks of a router: the split in `status.traffic`, and the policy in `status.policy` beside it.

The agent calls `parse_deployment` with what the API server sent; `config` gets the `Intent`. The operator is the only
writer of both, but two releases of it may run during an upgrade, so everything is checked: a doubtful split is
`InvalidTraffic`, and the agent then keeps the last good one. A part of the policy that can't be read is reported, and
stays as it last was: no rollback waits for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from headgate.api.policy import Policy, Role
from headgate_serving.router.errors import InvalidTraffic

TOTAL_WEIGHT = 1000
"""Weights are whole tenths of a percent, as Envoy wants integers."""

MISSING = "missing: the operator is of another release than this router"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PARTS = {to_camel(part.name): part.name for part in fields(Policy)}
"""Of a policy: each name in the status, and the field."""


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
    """What the router has to do: the split, and the policy for requests."""

    targets: tuple[Target, ...] = ()
    policy: Policy = field(default_factory=Policy)
    ignored: tuple[str, ...] = ()
    """What could not be read. It is not done; a part of the policy that could be read before stays as it was."""
    stable: Target | None = field(init=False)
    candidate: Target | None = field(init=False)

    def __post_init__(self) -> None:
        _check_targets(self.targets)
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


def parse_deployment(deployment: Mapping[str, Any], last_good: Policy | None = None) -> Intent:
    """Read `status` of a raw ModelDeployment; InvalidTraffic when the split can't be right.

    A part of the policy that can't be read has its value of `last_good`, or the default where that is None. Without a
    policy all of it is `last_good`; where that is None too, nothing is known of a model that has traffic, which is
    InvalidTraffic.
    """
    status = _section(deployment, "status")
    traffic = _section(status, "traffic", list)
    targets = tuple(_parse_target(entry) for entry in traffic)
    raw = status.get("policy")
    if raw is None and last_good is None and targets:
        raise InvalidTraffic(f"status.policy is {MISSING}")
    policy, wrong = (last_good or Policy()), tuple[str, ...]()
    if raw is not None:
        policy, wrong = read_policy(raw, policy)
    elif targets:
        wrong = (f"status.policy: it is {MISSING}",)
    return Intent(targets, policy, (*wrong, *_wrong_parts(traffic)))


def read_policy(raw: object, last_good: Policy) -> tuple[Policy, tuple[str, ...]]:
    """The policy as it stands in the status, part by part, and what is wrong with those parts that can't be read."""
    if not isinstance(raw, Mapping):
        return last_good, (f"status.policy: it is {type(raw).__name__}, not an object",)
    found, wrong = dict[str, Any](), list[str]()
    for name in sorted(map(str, raw.keys() - _PARTS.keys())):
        wrong.append(f"status.policy.{name}: this release of the router does not know it")
    for name, part in _PARTS.items():
        try:
            found[part] = getattr(Policy.read({name: raw[name]} if name in raw else {}), part)
        except ValidationError as error:
            found[part] = getattr(last_good, part)
            wrong.append(f"status.policy.{_first(error)}")
    return replace(last_good, **found), tuple(wrong)


def _first(error: ValidationError) -> str:
    """Where the first mistake is, and what it is."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


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
