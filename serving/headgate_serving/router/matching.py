"""Which requests don't follow the weights alone, read from `spec.traffic` of the raw ModelDeployment.

`traffic.parse_deployment` calls `parse_matches` and `parse_affinity`. The API server has checked what they read; an
operator and an agent of two versions may disagree all the same. What can't be read is left out and said, for a
rollback must not wait for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["header", "cookie"]
How = Literal["exact", "prefix", "present"]
Role = Literal["stable", "candidate"]

HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_NAMES: dict[Kind, re.Pattern[str]] = {
    "header": HEADER_NAME,
    "cookie": re.compile(r"[A-Za-z0-9_-]{1,100}"),
}
_VALUE = re.compile(r"[!-:<-~]{1,256}")


class Unreadable(ValueError):
    """It asks for something that this agent doesn't know."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A header (in lower case, as HTTP/2 has them) or a cookie."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Match:
    """Requests whose header or cookie has a value go to the version in `role`."""

    selector: Selector
    how: How
    value: str
    role: Role


def parse_matches(entries: list[Any]) -> tuple[tuple[Match, ...], tuple[str, ...]]:
    """Those that can be read, and what is wrong with the others."""
    found, wrong = list[Match](), list[str]()
    for number, entry in enumerate(entries):
        try:
            found.append(_match(entry))
        except Unreadable as error:
            wrong.append(f"spec.traffic.match[{number}]: {error}")
    return tuple(found), tuple(wrong)


def parse_affinity(entry: object) -> tuple[Selector | None, tuple[str, ...]]:
    """None where users are not kept with a version; and what is wrong with it."""
    if not entry:
        return None, ()
    try:
        return _selector(entry), ()
    except Unreadable as error:
        return None, (f"spec.traffic.affinity: {error}",)


def _match(entry: object) -> Match:
    selector = _selector(entry)
    assert isinstance(entry, Mapping)
    role = entry.get("role", "candidate")
    if role not in ("stable", "candidate"):
        raise Unreadable(f"role {role!r} is neither stable nor candidate")
    exact, prefix = entry.get("exact"), entry.get("prefix")
    if exact is None and prefix is None:
        return Match(selector, "present", "", role)
    value = exact if prefix is None else prefix
    if (exact is not None and prefix is not None) or not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise Unreadable(f"exact {exact!r} and prefix {prefix!r} are not one value that a header can have")
    return Match(selector, "exact" if prefix is None else "prefix", value, role)


def _selector(entry: object) -> Selector:
    if not isinstance(entry, Mapping):
        raise Unreadable(f"{entry!r} is no object")
    named: dict[Kind, object] = {kind: entry[kind] for kind in _NAMES if entry.get(kind) is not None}
    if len(named) != 1:
        raise Unreadable("it has to name a header or a cookie, and not both")
    ((kind, name),) = named.items()
    if not isinstance(name, str) or not _NAMES[kind].fullmatch(name):
        raise Unreadable(f"{kind} {name!r} is no name of a {kind}")
    return Selector(kind, name.lower() if kind == "header" else name)
