"""`python -m bench.router.shadow`: what copies for a candidate cost the users, with the real Envoy and the real agent.

In each round every part of the requests that is copied has its turn, at the same router, pods and rate; nothing else is
changed in between. Copies are answered by the candidate's pod and compared, as they are in a rollout. Where cores are
short, the agent has the part of them that it has beside Envoy in a router's pod.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any

from prometheus_client import CollectorRegistry

from bench.document import table
from bench.serving.load import Load, LoadFailed
from bench.serving.process import Running, ServerFailed, end_cleanly, free_ports
from headgate.api.policy import Policy
from headgate_serving.router.envoy.admin import Admin
from headgate_serving.router.envoy.config import Layout, bootstrap_document
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.files import XdsFolder
from headgate_serving.router.envoy.step import Memory, step
from headgate_serving.router.mirror.controller import MirrorController
from headgate_serving.router.policy.protection import UNPROTECTED
from headgate_serving.router.policy.traffic import Intent, Target
from loopback import discovering
from tools.setup.errors import SetupError

from .measuring import OPEN_CONNECTIONS, running_pods, say, target_at
from .ways import CANDIDATE, STABLE, TIMEOUT_MS, Pods, endpoints_of, envoy_command

PERCENTS = (0, 10)
RATES = (200, 1000)
_WARM_UP_SECONDS = 1.0
_NICE = 7
"""Weighs against 0 as 20m of CPU against Envoy's 100m: what the two containers ask for."""


@dataclass(frozen=True)
class Run:
    """What users saw, and what it took: seconds of CPU."""

    load: Load
    pairs: float
    envoy: float
    agent: float


Runs = dict[tuple[float, float], list[Run]]
"""By rate and percent."""


@dataclass
class Router:
    """Envoy and, in place of the agent's loop, `copy`."""

    xds: XdsFolder
    pods: Pods
    loop: asyncio.AbstractEventLoop
    envoy: Running
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    memory: Memory = field(default_factory=lambda: Memory({}, {}))

    def __post_init__(self) -> None:
        self.shadow = MirrorController("bench", "fraud", self.xds.layout.copies_socket, self.registry)
        self.admin = Admin(Path(self.xds.layout.admin_socket))

    def copy(self, percent: float) -> None:
        """From now on so many percent of the requests are copied."""
        self.do(self._copy(percent))

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """On the agent's loop."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def pairs(self) -> float:
        """Compared so far."""
        found = [sample for family in self.registry.collect() for sample in family.samples]
        return sum(each.value for each in found if each.name == "headgate_shadow_pairs_total")

    async def _copy(self, percent: float) -> None:
        targets = (Target(STABLE, "stable", 1000), Target(CANDIDATE, "candidate", 0, round(10 * percent)))
        intent, endpoints = Intent(targets, Policy(TIMEOUT_MS)), endpoints_of(self.pods)
        self.shadow.follow(intent, endpoints)
        documents, self.memory = step(self.memory, intent, endpoints, self.loop.time())
        await self.xds.apply(documents, self.admin)
        await asyncio.sleep(_WARM_UP_SECONDS)


def main() -> int:
    """Measure and print; 1 if a single request failed."""
    parser = argparse.ArgumentParser("bench.router.shadow", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each timed run (default %(default)s)")
    args = parser.parse_args()
    end_cleanly()
    runs: Runs = {}
    try:
        with tempfile.TemporaryDirectory(prefix="headgate-bench-") as scratch, running_router(Path(scratch)) as router:
            for number in range(args.rounds):
                say(f"round {number + 1} of {args.rounds}")
                _round(router, PERCENTS[:: -1 if number % 2 else 1], args.seconds, Path(scratch), runs)
    except (LoadFailed, ServerFailed, SetupError) as error:
        say(str(error))
        return 1
    print(document(runs))
    return 0


def document(runs: Runs) -> str:
    """A row for each rate: medians, and the median of what changed within a round."""
    head = ["requests/s", *(f"p50 / p99 ms, {percent} % copied" for percent in PERCENTS), "p50 / p99 change"]
    head += [*(f"Envoy's CPU, µs a request, {percent} %" for percent in PERCENTS), "the agent's, µs a copy"]
    rows = []
    for rate in RATES:
        without, copied = (runs[rate, percent] for percent in PERCENTS)
        cells = [_times([run.load for run in found]) for found in (without, copied)]
        changes = [
            median(getattr(b.load, which) / getattr(a.load, which) - 1 for a, b in zip(without, copied, strict=True))
            for which in ("p50", "p99")
        ]
        cells.append(" / ".join(f"{100 * change:+.1f} %" for change in changes))
        cells += [f"{1e6 * median(run.envoy / run.load.requests for run in found):.0f}" for found in (without, copied)]
        # What the agent's process does without copies is the benchmark's own.
        own = median(run.agent for run in without)
        cells.append(f"{1e6 * median((run.agent - own) / run.pairs for run in copied):.0f}")
        rows.append([f"{rate:,}", *cells])
    return table(head, rows)


def _times(runs: Sequence[Load]) -> str:
    return f"{median(run.p50 for run in runs):.2f} / {median(run.p99 for run in runs):.2f}"


def _round(
    router: Router,
    percents: tuple[int, ...],
    seconds: float,
    scratch: Path,
    runs: Runs,
) -> None:
    target = target_at(f"127.0.0.1:{router.xds.layout.inference_port}", scratch)
    for rate in RATES:
        for percent in percents:
            router.copy(percent)
            before, envoy, agent = router.pairs(), router.envoy.cpu_seconds(), time.process_time()
            load = target.open_loop(rate, OPEN_CONNECTIONS, seconds)
            if load.failures:
                raise LoadFailed(f"requests failed: {dict(load.failures)}")
            run = Run(load, router.pairs() - before, router.envoy.cpu_seconds() - envoy, time.process_time() - agent)
            if percent and not run.pairs:
                raise LoadFailed("nothing was compared")
            runs.setdefault((rate, percent), []).append(run)
            say(
                f"  {rate} requests/s, {percent} %: p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms, {run.pairs:.0f} pairs"
            )


@contextmanager
def running_router(scratch: Path) -> Iterator[Router]:
    folder = scratch / "router"
    layout = Layout(PurePosixPath(folder), "127.0.0.1", *free_ports(2))
    xds = XdsFolder(layout)
    xds.prepare()
    xds.start_with(bootstrap_document("bench", "fraud", layout, Intent(), UNPROTECTED))
    xds.put(layout.clusters, discovery_response()[0])
    xds.put(layout.routes, discovery_response(step(Memory({}, {}), Intent(), {}, 0.0)[0].routes)[0])
    with running_pods(scratch) as pods, discovering(xds) as loop:
        envoy = Running("envoy", envoy_command(layout), folder, layout.inference_port, "/healthz")
        with envoy:
            envoy.wait_ready()
            router = Router(xds, pods, loop, envoy)
            # Of the calling thread, and those that it starts.
            loop.call_soon_threadsafe(os.setpriority, os.PRIO_PROCESS, 0, _NICE)
            try:
                yield router
            finally:
                router.do(router.shadow.close())


if __name__ == "__main__":
    sys.exit(main())
