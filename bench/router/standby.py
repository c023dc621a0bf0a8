"""`python -m bench.router.standby`: what users lose when an Envoy is killed, with and without the agent's listener.

In each round a steady stream of requests meets an Envoy that is killed (SIGKILL), and started again after the time that
the kubelet needs. Both kinds have their turn in each round, at the same pods and rate. Half of the requests come on
kept connections, half on new ones, as through an ingress with several replicas.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from statistics import median

import aiohttp

from bench.document import table
from bench.serving.process import Running, ServerFailed, end_cleanly
from headgate_serving.router.envoy.standby import StandbyListener
from tools.setup.errors import SetupError

from .measuring import say
from .shadow import Router, running_router
from .ways import envoy_command

INFER = "/v2/models/fraud/infer"
RESTART_SECONDS = 1.0
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 3.0
GIVE_UP_SECONDS = 10.0

Outcomes = Counter[str]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("bench.router.standby", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often (default %(default)s)")
    parser.add_argument("--rate", type=int, default=100, help="requests a second (default %(default)s)")
    args = parser.parse_args()
    end_cleanly()
    found: dict[bool, list[Outcomes]] = {True: [], False: []}
    try:
        for number in range(args.rounds):
            for listens in (True, False) if number % 2 else (False, True):
                with tempfile.TemporaryDirectory(prefix="headgate-bench-") as scratch:
                    outcomes = _killed_once(Path(scratch), args.rate, listens=listens)
                found[listens].append(outcomes)
                say(f"round {number + 1}, {'with' if listens else 'without'} the listener: {dict(outcomes)}")
    except (ServerFailed, SetupError) as error:
        say(str(error))
        return 1
    print(document(found))
    return 0


def document(found: dict[bool, list[Outcomes]]) -> str:
    """A row with and one without the listener: requests lost by each kill, and the slowest answer's time."""
    rows = []
    for listens, rounds in found.items():
        lost = [each.total() - each["answered"] for each in rounds]
        kinds = sum(rounds, Outcomes())
        del kinds["answered"]
        why = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common()) or "none"
        rows.append(["with" if listens else "without", f"{median(lost):g}", f"{min(lost)} to {max(lost)}", why])
    return table(["the listener", "lost by each kill, median", "range", "how, over all rounds"], rows)


def _killed_once(scratch: Path, rate: int, *, listens: bool) -> Outcomes:
    with running_router(scratch) as router:
        router.copy(0)
        layout = router.xds.layout
        listener = StandbyListener(Path(layout.admin_socket), layout.bind, layout.inference_port, lambda: False)
        task = asyncio.run_coroutine_threadsafe(listener.run(), router.loop) if listens else None
        try:
            return asyncio.run(_load(router, rate))
        finally:
            if task is not None:
                task.cancel()
                with suppress(CancelledError):
                    task.result(GIVE_UP_SECONDS)


async def _load(router: Router, rate: int) -> Outcomes:
    outcomes, requests = Outcomes(), list[asyncio.Task[None]]()
    timeout = aiohttp.ClientTimeout(total=GIVE_UP_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as kept,
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)) as fresh,
    ):
        restarting = asyncio.create_task(asyncio.to_thread(_kill_and_restart, router))
        began, seconds = time.monotonic(), BEFORE_SECONDS + RESTART_SECONDS + AFTER_SECONDS
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            session = fresh if number % 2 else kept
            requests.append(asyncio.create_task(_ask(session, f"http://{router.envoy.address}{INFER}", outcomes)))
        await asyncio.gather(*requests)
        again = await restarting
        again.stop()
    return outcomes


def _kill_and_restart(router: Router) -> Running:
    time.sleep(BEFORE_SECONDS)
    os.kill(router.envoy.pid, signal.SIGKILL)
    router.envoy.wait(GIVE_UP_SECONDS)
    time.sleep(RESTART_SECONDS)
    layout = router.xds.layout
    folder = Path(layout.root)
    again = Running("envoy", envoy_command(layout), folder, layout.inference_port, "/healthz")
    again.wait_ready()
    return again


async def _ask(session: aiohttp.ClientSession, url: str, outcomes: Outcomes) -> None:
    body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}]}
    try:
        async with session.post(url, json=body) as response:
            await response.read()
            outcomes["answered" if response.status == 200 else f"answered {response.status}"] += 1
    except aiohttp.ClientConnectorError:
        outcomes["refused"] += 1
    except aiohttp.ClientConnectionError:
        outcomes["broken off"] += 1
    except TimeoutError:
        outcomes["without an answer"] += 1


if __name__ == "__main__":
    sys.exit(main())
