"""What goes over the wire: one person as an Open Inference Protocol v2 request, and the answer, checked.

`load.py` sends the one and judges the other. An answer counts as good only if it is what a client could use.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class Malformed(Exception):
    """A 200 whose body is not an answer."""


@dataclass(frozen=True)
class Answer:
    """The model's label, 0 or 1, and its probability of 1."""

    label: int
    score: float


def path(model: str) -> str:
    """Where a model's requests go."""
    return f"/v2/models/{model}/infer"


def request(row: Sequence[float]) -> bytes:
    """One row as a body."""
    tensor = {"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": list(row)}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()


def read(body: bytes) -> Answer:
    """The answer in a body; Malformed says what is wrong with it."""
    try:
        outputs = {output["name"]: output for output in json.loads(body)["outputs"]}
        (label,) = _values(outputs["label"], 1)
        below, score = _values(outputs["probabilities"], 2)
    except (ValueError, TypeError, KeyError) as error:
        raise Malformed(f"no answer in {body[:200]!r} ({error!r})") from error
    if label not in (0, 1) or abs(below + score - 1) > 0.01:
        raise Malformed(f"label {label} and probabilities {below}, {score} can't be")
    return Answer(int(label), score)


def _values(output: dict[str, Any], width: int) -> list[float]:
    values = [float(value) for value in output["data"]]
    if len(values) != width or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{output['name']} holds {values}")
    return values
