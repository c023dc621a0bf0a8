"""What users write as text: durations (`1m30s`), percentages (`0.5%`), sizes (`64Mi`) and Kubernetes' own.

Used by the spec models to check them and by everything behind to compute with them.
"""

import re
from decimal import Decimal

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
SIZE_PATTERN = r"^[1-9][0-9]{0,8}(Ki|Mi|Gi)?$"
QUANTITY_PATTERN = r"^\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{1,2})?$"
PERCENT_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,4})?%$"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BYTES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_NANOSECONDS = {unit: round(seconds * 1e9) for unit, seconds in _SECONDS.items()}


def seconds(duration: str) -> float:
    """`1m30s` -> 90.0. Raises ValueError for anything that the pattern doesn't allow."""
    if not re.fullmatch(DURATION_PATTERN[1:-1], duration):
        raise ValueError(f"{duration!r} is no duration such as 200ms, 90s, 1h30m")
    return sum(float(n) * _SECONDS[unit] for n, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", duration))


def nanoseconds(duration: str) -> int:
    """`1.5ms` -> 1500000: exact, each part cut off to whole nanoseconds, as Go and so the API server count them."""
    if not re.fullmatch(DURATION_PATTERN[1:-1], duration):
        raise ValueError(f"{duration!r} is no duration such as 200ms, 90s, 1h30m")
    return sum(int(Decimal(n) * _NANOSECONDS[unit]) for n, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", duration))


def quantity(amount: object) -> Decimal:
    """An amount as Kubernetes writes it, not below 0: `500m` -> 0.5, `1Gi` -> 1073741824, 2 -> 2, `1e3` -> 1000.

    Raises ValueError for anything else.
    """
    found = re.fullmatch(QUANTITY_PATTERN[1:-1], str(amount)) if isinstance(amount, int | str) else None
    if not found or isinstance(amount, bool) or len(str(amount)) > 32:
        raise ValueError(f"must be a quantity such as 500m, 2, '0.5' or 1Gi, with fractions in quotes: not {amount!r}")
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei":
        return number.scaleb(int(suffix[1:]))
    if suffix.endswith("i"):
        return number * Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    return number.scaleb(_POWERS[suffix])


def size_bytes(size: str) -> int:
    """`64Mi` -> 67108864. Raises ValueError for anything that the pattern doesn't allow."""
    found = re.fullmatch(SIZE_PATTERN[1:-1], size)
    if not found:
        raise ValueError(f"{size!r} is no size such as 1000, 64Ki or 10Mi")
    unit = found[1] or ""
    return int(size.removesuffix(unit)) * _BYTES[unit]


def routed_percent(share: str) -> float:
    """A part of the requests as the routers take it: in percent, to a tenth, and never none. `0.01%` -> 0.1."""
    return max(0.1, round(100 * fraction(share), 1))


def fraction(percent: str) -> float:
    """`0.5%` -> 0.005. Raises ValueError for anything that the pattern doesn't allow."""
    if not re.fullmatch(PERCENT_PATTERN[1:-1], percent):
        raise ValueError(f"{percent!r} is no percentage such as 0.5%")
    return float(percent[:-1]) / 100.0
