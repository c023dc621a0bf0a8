"""A coroutine in an event loop and a thread of its own, awaited from another loop.

`__main__` runs the lease and kopf's watches like this: a main loop that is busy for seconds must not lose the lease,
and kopf, when it ends, cancels every task of its loop.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

ENDS_WITHIN = 8.0
"""Seconds that a cancelled coroutine may take to end; after that its thread is left alone and ends with the process."""


async def in_thread(name: str, main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """What `main()` returns or raises. To cancel this cancels `main()`, and waits for its end."""
    caller = asyncio.get_running_loop()
    ended: asyncio.Future[Result] = caller.create_future()
    inner: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Result]]] = []
    cancelled = threading.Event()

    async def body() -> None:
        task = asyncio.ensure_future(main())
        inner.append((asyncio.get_running_loop(), task))
        if cancelled.is_set():  # before there was a task to cancel
            task.cancel()
        try:
            result = await task
        except asyncio.CancelledError:
            tell(None, RuntimeError(f"{name} was cancelled from inside"))
        except BaseException as error:
            tell(None, error)
        else:
            tell(result, None)
        # Whatever else runs in this loop is cancelled now. Nobody waits for what does not heed that.

    def resolve(result: Result | None, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(result)  # type: ignore[arg-type]
        else:
            ended.set_exception(error)

    def tell(result: Result | None, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the caller's loop may be closed by now
            caller.call_soon_threadsafe(resolve, result, error)

    def run() -> None:
        try:
            asyncio.run(body())
        except BaseException as error:
            tell(None, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        cancelled.set()
        for loop, task in inner:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        await asyncio.wait({ended}, timeout=ENDS_WITHIN)
        if ended.done():
            ended.exception()
        raise
