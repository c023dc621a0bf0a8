"""The agent's discovery for an Envoy on loopback, in a process that is no agent. For tests and benchmarks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from headgate_serving.router.envoy.discovery import Discovery
from headgate_serving.router.envoy.files import XdsFolder


@contextmanager
def discovering(folder: XdsFolder) -> Iterator[asyncio.AbstractEventLoop]:
    """On a loop of its own, in a thread, until the end of the block; the folder may be changed from any thread."""
    loop, discovery = asyncio.new_event_loop(), Discovery(folder)

    def changed(path: PurePosixPath) -> None:
        loop.call_soon_threadsafe(discovery.changed, path)

    folder.changed = changed
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(discovery.serve(), loop).result()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
