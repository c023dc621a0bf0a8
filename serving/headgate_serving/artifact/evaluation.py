"""`evaluation.json`: what an evaluation elsewhere has measured, and what has to hold of it.

    {"format": 1, "metrics": [{"name": "accuracy", "value": 0.95, "min": 0.93, "slice": "age < 30"}, …]}

Each metric has `min`, `max` or both; `slice`, the part of the data that it is of, may be left out.
`authoring/package.py` puts the file into an artifact, the preflight compares.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ..errors import ArtifactInvalid

EVALUATION = "evaluation.json"
MAX_EVALUATION = 1 << 20
"""Bytes of the file."""
MAX_METRICS = 1000
_FORMAT = 1
_KNOWN = frozenset({"name", "value", "min", "max", "slice"})


@dataclass(frozen=True)
class Metric:
    """One number, and its bounds, which may be missing at one side."""

    name: str
    value: float
    slice: str = ""
    low: float = -math.inf
    high: float = math.inf

    @property
    def holds(self) -> bool:
        """Whether it is within its bounds."""
        return self.low <= self.value <= self.high

    def __str__(self) -> str:
        of = f" of {self.slice}" if self.slice else ""
        bound = f"at least {self.low:g}" if self.value < self.low else f"at most {self.high:g}"
        return f"{self.name}{of} is {self.value:g}, and has to be {bound}"


def read_evaluation(raw: bytes) -> tuple[Metric, ...]:
    """The metrics; ArtifactInvalid says where the file is not of the form above."""
    if len(raw) > MAX_EVALUATION:
        raise ArtifactInvalid(f"{EVALUATION} has more than {MAX_EVALUATION} bytes")
    try:
        read = orjson.loads(raw)
    except ValueError as error:
        raise ArtifactInvalid(f"{EVALUATION} is no JSON: {error}") from error
    if not isinstance(read, dict) or read.get("format") != _FORMAT:
        raise ArtifactInvalid(f'{EVALUATION} has to be an object with "format": {_FORMAT}')
    metrics = read.get("metrics")
    if not isinstance(metrics, list) or not 0 < len(metrics) <= MAX_METRICS:
        raise ArtifactInvalid(f"{EVALUATION}: 'metrics' has to be a list of 1 to {MAX_METRICS} metrics")
    return tuple(_metric(f"{EVALUATION}: metrics[{at}]", item) for at, item in enumerate(metrics))


def _metric(where: str, item: Any) -> Metric:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
        raise ArtifactInvalid(f"{where} has to be an object with a 'name'")
    if unknown := sorted(set(item) - _KNOWN):
        raise ArtifactInvalid(f"{where} has an unknown {unknown[0][:60]!r}; known are {', '.join(sorted(_KNOWN))}")
    if "min" not in item and "max" not in item:
        raise ArtifactInvalid(f"{where} has neither 'min' nor 'max'")
    if not isinstance(item.get("slice", ""), str):
        raise ArtifactInvalid(f"{where}: 'slice' has to be text")
    low, high = _number(where, item, "min", -math.inf), _number(where, item, "max", math.inf)
    if low > high:
        raise ArtifactInvalid(f"{where}: 'min' is above 'max'")
    return Metric(item["name"], _number(where, item, "value", None), item.get("slice", ""), low, high)


def _number(where: str, item: Mapping[str, Any], key: str, missing: float | None) -> float:
    value = item.get(key, missing)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArtifactInvalid(f"{where}: {key!r} has to be a number")
    return float(value)
