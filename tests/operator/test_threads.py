"""A coroutine in a loop and a thread of its own."""

import asyncio
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from headgate.threads import in_thread


async def test_it_runs_elsewhere_and_its_result_comes_back() -> None:
    async def where() -> Any:
        return threading.get_ident()

    assert await in_thread("test", where) != threading.get_ident()


async def test_what_it_raises_comes_back() -> None:
    async def fails() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await in_thread("test", fails)


async def test_it_is_cancelled_with_who_waits_for_it_and_may_tidy_up() -> None:
    began, ended = threading.Event(), []

    async def works() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("tidied up")

    task = asyncio.create_task(in_thread("test", works))
    await asyncio.to_thread(began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["tidied up"]


async def test_nobody_waits_for_what_else_runs_there() -> None:
    let_go = threading.Event()

    async def deaf() -> None:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    async def fails() -> None:
        works = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        assert not works.done()
        raise LookupError("no")

    try:
        with pytest.raises(LookupError, match="no"):
            await asyncio.wait_for(in_thread("test", fails), 30)
    finally:
        let_go.set()


async def test_it_goes_on_while_the_main_loop_is_busy() -> None:
    ticks: list[Any] = []
    enough = threading.Event()

    async def ticking() -> None:
        while len(ticks) < 20:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.001)
        enough.set()

    task = asyncio.create_task(in_thread("test", ticking))
    await asyncio.sleep(0)
    assert enough.wait(60), "the main loop does nothing else meanwhile"
    await task


async def test_it_is_cancelled_even_before_its_loop_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a thread may need a while to begin."""
    let_go, ran, plain = threading.Event(), [], asyncio.run
    monkeypatch.setattr(asyncio, "run", lambda main: let_go.wait(60) and plain(main))

    async def works() -> None:
        ran.append("on")
        await asyncio.Event().wait()

    task = asyncio.create_task(in_thread("late", works))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = next((t for t in threading.enumerate() if t.name == "late"), None)
    if left:
        await asyncio.to_thread(left.join, 60)
        assert not left.is_alive()
    assert ran == []
