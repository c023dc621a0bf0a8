"""How long tests wait for what has to come: so long that no busy machine makes them fail."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE = 120.0
"""Seconds."""
PATIENT_MS = 60_000
"""A time budget that is spent by nobody who does not hang."""


async def eventually(check: Callable[[], Awaitable[object]], what: str = "what has to come") -> None:
    """Return when it is so."""
    deadline = time.monotonic() + PATIENCE
    while not await check():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    """Return when it is so."""

    async def check() -> object:
        return condition()

    await eventually(check)
