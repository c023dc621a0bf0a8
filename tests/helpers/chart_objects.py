"""Rendered objects and how the tests pick from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

CHART = Path(__file__).resolve().parents[2] / "charts" / "headgate"
NAMESPACE = "somewhere"

Objects = list[dict[str, Any]]
Render = Callable[..., Objects]


def of_kind(objects: Objects, kind: str) -> Objects:
    return [each for each in objects if each["kind"] == kind]
