"""PURE: what makes two answers agree, read from `spec.rollout.shadow` of the raw ModelDeployment.

`traffic.parse_deployment` calls `parse_rules`. The API server has checked what it reads; what can't be read is left
out and said, for nobody's request depends on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOLERANCE = 0.01
"""Of floating outputs, where the spec names none."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How close floating outputs have to be: |a - b| at most `tolerance` * max(1, |a|, |b|).

    `outputs` names the ones that are compared, each with its own tolerance; empty where the answer itself says which.
    """

    tolerance: float = TOLERANCE
    outputs: tuple[tuple[str, float], ...] = ()


DEFAULT_RULES = Rules()


def parse_rules(rollout: Mapping[str, Any]) -> tuple[Rules, tuple[str, ...]]:
    """The rules in `spec.rollout`, and what is wrong with them."""
    asked = rollout.get("shadow")
    if asked is None:
        return DEFAULT_RULES, ()
    if not isinstance(asked, Mapping):
        return DEFAULT_RULES, (f"spec.rollout.shadow: {asked!r} is no object",)
    try:
        tolerance = _tolerance(asked.get("tolerance"), TOLERANCE)
        return Rules(tolerance, tuple(_output(entry, tolerance) for entry in asked.get("outputs") or ())), ()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return DEFAULT_RULES, (f"spec.rollout.shadow: can't be read: {error}",)


def _output(entry: Mapping[str, Any], default: float) -> tuple[str, float]:
    return str(entry["name"]), _tolerance(entry.get("tolerance"), default)


def _tolerance(value: object, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"tolerance {value!r} is no number from 0")
    return float(value)
