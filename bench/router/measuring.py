"""Measures: in each round every way in its turn, started anew, at the same pods, and nobody else running meanwhile."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.serving.load import Load, LoadFailed, Target
from bench.serving.messages import Post
from bench.serving.process import Running, free_ports

from .ways import WAYS, Pods, Way, pods_command

DIRECT = "direct"
INFER = "/v2/models/fraud/infer"
_BODY = b'{"inputs": [{"name": "input", "shape": [1, 8], "datatype": "FP32", "data": [0, 1, 2, 3, 4, 5, 6, 7]}]}'
_WARM_UP_SECONDS = 0.5
OPEN_CONNECTIONS = 64
OPEN_SHARES = (0.25, 0.5)
"""Of the capacity that the slowest router has shown in the same round; all get the same requests a second."""


@dataclass(frozen=True)
class Plan:
    """How many connections, how often, and for how many seconds each time."""

    connections: Sequence[int]
    rounds: int
    seconds: float


@dataclass
class Samples:
    """By way and loop (connections, or a share of the capacity), a run of each round."""

    runs: dict[tuple[str, float], list[Load]] = field(default_factory=dict)

    def add(self, way: str, loop: float, load: Load) -> None:
        """Nothing that failed is a result. Raises LoadFailed."""
        if load.failures:
            raise LoadFailed(f"{way} failed requests: {dict(load.failures)}")
        self.runs.setdefault((way, loop), []).append(load)


def measure(plan: Plan) -> Samples:
    """All rounds. Raises LoadFailed if a single request failed."""
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as scratch:
        for number in range(plan.rounds):
            # Nobody is always first, or always after the same one.
            ways = WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]
            say(f"round {number + 1} of {plan.rounds}")
            _round(Path(scratch, str(number)), ways, plan, samples)
    return samples


def _round(scratch: Path, ways: Sequence[Way], plan: Plan, samples: Samples) -> None:
    with running_pods(scratch) as pods:
        direct = target_at(f"127.0.0.1:{pods.stable}", scratch)
        _closed(DIRECT, direct, plan, samples)
        for way in ways:
            with _running(way, scratch, pods) as target:
                _closed(way.name, target, plan, samples)
        most = plan.connections[-1]
        capacity = min(samples.runs[way.name, most][-1].rate for way in ways)
        for share in OPEN_SHARES:
            _open(DIRECT, direct, share, capacity, plan, samples)
        for way in ways:
            with _running(way, scratch, pods) as target:
                for share in OPEN_SHARES:
                    _open(way.name, target, share, capacity, plan, samples)


def _closed(name: str, target: Target, plan: Plan, samples: Samples) -> None:
    for connections in plan.connections:
        target.closed_loop(connections, _WARM_UP_SECONDS)
        samples.add(name, connections, target.closed_loop(connections, plan.seconds))
        say(f"  {name}, {connections} connections: {samples.runs[name, connections][-1].rate:,.0f} requests/s")


def _open(name: str, target: Target, share: float, capacity: float, plan: Plan, samples: Samples) -> None:
    load = target.open_loop(share * capacity, OPEN_CONNECTIONS, plan.seconds)
    samples.add(name, share, load)
    say(f"  {name}, {share * capacity:,.0f} requests/s: p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms")


@contextmanager
def running_pods(scratch: Path) -> Iterator[Pods]:
    """Both versions, until the end of the block."""
    folder = _folder(scratch, "pods")
    pods = Pods(*free_ports(2))
    with Running("pods", pods_command(folder, pods), folder, pods.stable, "/") as running:
        running.wait_ready()
        yield pods


@contextmanager
def _running(way: Way, scratch: Path, pods: Pods) -> Iterator[Target]:
    folder = _folder(scratch, way.name)
    (port,) = free_ports(1)
    command = way.command(folder, pods, port)
    with way.beside(folder), Running(way.name, command, folder, port, way.ready_path) as running:
        running.wait_ready()
        yield target_at(running.address, folder)


def target_at(address: str, folder: Path) -> Target:
    """One request for one row."""
    return Target(address, Post(INFER, _BODY), folder)


def _folder(scratch: Path, name: str) -> Path:
    """An empty one, for each start."""
    scratch.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=scratch))


def say(text: str) -> None:
    """Progress, beside the report."""
    print(text, file=sys.stderr, flush=True)
