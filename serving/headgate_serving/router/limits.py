"""What one client may ask for, read from `spec.traffic` of the raw ModelDeployment.

`traffic.parse_deployment` calls `parse_max_body` and `parse_rate`. What can't be read is said.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headgate_serving.router.matching import HEADER_NAME

Unit = Literal["Second", "Minute", "Hour"]
SECONDS: dict[Unit, int] = {"Second": 1, "Minute": 60, "Hour": 3600}

MOST_REQUESTS = 10_000_000
DEFAULT_MAX_BODY = 64 << 20

_SIZE = re.compile(r"([1-9][0-9]{0,8})(Ki|Mi|Gi)?")
_BYTES = {None: 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in a unit of time from a client, whom a header names, or its address where that is None."""

    requests: int
    unit: Unit = "Second"
    header: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_body` in bytes."""

    max_body: int = DEFAULT_MAX_BODY
    rate: RateLimit | None = None


NO_WISHES = Limits()


def parse_max_body(wishes: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Bytes of the largest body by `spec.traffic`, and what is wrong with it if that can't be read."""
    try:
        return _bytes(wishes.get("maxBody")), ()
    except ValueError as error:
        return DEFAULT_MAX_BODY, (f"spec.traffic.maxBody: {error}",)


def parse_rate(wishes: Mapping[str, Any]) -> tuple[RateLimit | None, tuple[str, ...]]:
    """The limit in `spec.traffic`; None without one, and where it can't be read, which is said."""
    try:
        return _rate(wishes.get("rateLimit")), ()
    except ValueError as error:
        return None, (f"spec.traffic.rateLimit: {error}",)


def _bytes(size: object) -> int:
    if size is None:
        return DEFAULT_MAX_BODY
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if not found:
        raise ValueError(f"{size!r} is no size such as 64Mi")
    return int(found[1]) * _BYTES[found[2]]


def _rate(limit: object) -> RateLimit | None:
    if limit is None:
        return None
    if not isinstance(limit, Mapping):
        raise ValueError(f"{limit!r} is no object")  # noqa: TRY004 - caught with the others
    requests, unit, header = limit.get("requests"), limit.get("unit", "Second"), limit.get("header")
    if isinstance(requests, bool) or not isinstance(requests, int) or not 1 <= requests <= MOST_REQUESTS:
        raise ValueError(f"requests is {requests!r}, not a number from 1 to {MOST_REQUESTS}")
    if not isinstance(unit, str) or unit not in SECONDS:
        raise ValueError(f"unit is {unit!r}, not one of {', '.join(SECONDS)}")
    if header is not None and not (isinstance(header, str) and HEADER_NAME.fullmatch(header)):
        raise ValueError(f"header {header!r} is no name of a header")
    return RateLimit(requests, unit, header)
