"""Waiting for what a story says: looks often, ends at a deadline, and then tells what was there instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from demo.api import Unreadable

T = TypeVar("T")

EVERY = 0.25
PATIENCE = 3
"""Stories say how many seconds an idle machine has for something. One that does other things has so many times more:
what comes is not waited for any longer, and what doesn't is told later."""


class TooLate(AssertionError):
    """What a story waited for did not come."""


def until(
    look: Callable[[], T], done: Callable[[T], object], seconds: float, what: str, show: Callable[[T], object] = repr
) -> T:
    """Look until `done` is content, and return what it saw. An API server that is busy for a moment is no failure."""
    deadline = time.monotonic() + PATIENCE * seconds
    shown: object = "nothing could be read"
    while True:
        try:
            seen = look()
            if done(seen):
                return seen
            shown = show(seen)
        except Unreadable as error:
            shown = error
        if time.monotonic() > deadline:
            raise TooLate(f"not within {PATIENCE * seconds:g} s: {what}. Instead:\n{shown}")
        time.sleep(EVERY)


def throughout(look: Callable[[], T], holds: Callable[[T], object], seconds: float, what: str) -> T:
    """Look again and again for a while: it has to hold every time."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        assert holds(seen), f"{what} did not hold: {seen!r}"
        if time.monotonic() > deadline:
            return seen
        time.sleep(EVERY)
