"""Measures: in each round every server in its turn, started anew for each case, and nobody else running meanwhile."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .answers import check
from .cases import INPUT, Array, Case, answer_of, write_model
from .load import Load, LoadFailed, Target
from .messages import grpc_frame
from .process import Running, ServerFailed, free_ports
from .samples import OPEN, Key, Sample, Samples, Start
from .servers import OURS, Place, Server, beside_python

OPEN_LOOP_SHARE, OPEN_LOOP_CONNECTIONS = 0.5, 64
_WARM_UP_SECONDS, _PROFILE_ROWS = 1.0, 2000
# A server so slow that it gives fewer answers is given more time, up to this.
_TOO_FEW, _LONGEST_SECONDS = 50, 30.0


@dataclass(frozen=True)
class Plan:
    """What to measure, and how long."""

    servers: Sequence[Server]
    cases: Sequence[Case]
    transports: Sequence[str]
    loops: Sequence[str]
    rounds: int
    seconds: float


def measure(plan: Plan) -> Samples:
    """All rounds. A server that fails is left out of what it failed in, and `problems` says why."""
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as scratch:
        models = {case: _models(case, Path(scratch) / case.name, plan.servers) for case in plan.cases}
        for number in range(plan.rounds):
            # Nobody is always first, or always after the same one.
            turn = number % len(plan.servers)
            for case in plan.cases:
                for server in [*plan.servers[turn:], *plan.servers[:turn]]:
                    say(f"round {number + 1}/{plan.rounds}, {case.name}: {server.label}")
                    try:
                        _visit(plan, server, models[case], number, samples)
                    except ServerFailed as error:
                        samples.give_up(server.name, case.name, "", str(error))
                        say(f"  {error}")
    return samples


@dataclass(frozen=True)
class Models:
    """A case's model on disk, bare and with a profile beside it, and the right answer."""

    case: Case
    bare: Path
    profiled: Path
    expected: Array


def _models(case: Case, folder: Path, servers: Sequence[Server]) -> Models:
    bare = write_model(case, folder / "bare")
    profiled = bare
    if case.profiled and any(server.monitored for server in servers):
        profiled = write_model(case, folder / "profiled")
        write_profile(case, profiled)
    return Models(case, bare, profiled, answer_of(bare, case.input))


def write_profile(case: Case, model: Path) -> None:
    """`profile.json` beside a model, by `headgate profile`, from rows as users send them."""
    rows = case.rows(_PROFILE_ROWS)
    data = model.parent / "rows.parquet"
    pq.write_table(pa.table({f"{INPUT}{column}": values for column, values in enumerate(rows.T)}), data)
    argv = [beside_python("headgate"), "profile", f"--model={model}", f"--data={data}"]
    subprocess.run(argv, check=True, capture_output=True)
    data.unlink()


def _visit(plan: Plan, server: Server, models: Models, number: int, samples: Samples) -> None:
    case = models.case
    transports = [
        transport
        for transport in plan.transports
        if server.offers(transport, case) and not samples.has_failed(server.name, case.name, transport)
    ]
    twice = server.monitored and not case.profiled and OURS in plan.servers
    if not transports or twice:
        return
    with tempfile.TemporaryDirectory(prefix=f"headgate-bench-{server.name}-") as folder:
        http_port, grpc_port, metrics_port = free_ports(3)
        model = models.profiled if server.monitored else models.bare
        place = Place(Path(folder), model, case, http_port, grpc_port, metrics_port)
        with Running(server.label, server.command(place), place.folder, http_port, server.ready_path) as running:
            seconds = running.wait_ready()
            memory = running.memory()
            samples.starts.setdefault((server.name, case.name), []).append(Start(seconds, memory.rss, memory.pss))
            for transport in transports:
                try:
                    check(server, transport, case, (running.address, f"127.0.0.1:{grpc_port}"), models.expected)
                    _drive(plan, running, Visit(server, case, transport, number, grpc_port), samples)
                except (ServerFailed, LoadFailed) as error:
                    samples.give_up(server.name, case.name, transport, str(error))
                    say(f"  {error}")


@dataclass(frozen=True)
class Visit:
    """One way to ask one server, in one round."""

    server: Server
    case: Case
    transport: str
    number: int
    grpc_port: int


def _drive(plan: Plan, running: Running, visit: Visit, samples: Samples) -> None:
    with tempfile.TemporaryDirectory(prefix="headgate-bench-load-") as scratch:
        if visit.transport == "grpc":
            target = Target(f"127.0.0.1:{visit.grpc_port}", grpc_frame(visit.case), Path(scratch))
        else:
            post = visit.server.ways[visit.transport].ask(visit.case)
            target = Target(running.address, post, Path(scratch))
        target.closed_loop(16, _WARM_UP_SECONDS)
        capacity = 0.0
        for loop in plan.loops:
            load, cpu = _timed(running, target, loop, capacity, plan.seconds)
            if loop != OPEN:
                capacity = max(capacity, load.rate)
            sample = Sample(load.rate, load.p50, load.p99, 1e3 * cpu / load.requests)
            key = Key(visit.server.name, visit.case.name, visit.transport, loop)
            samples.add(key, visit.number, sample)
            say(f"  {visit.transport} {loop}: {load.rate:,.0f}/s, p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms")


def _timed(running: Running, target: Target, loop: str, capacity: float, seconds: float) -> tuple[Load, float]:
    """What was counted, and the server's CPU seconds; LoadFailed if anything failed."""
    cpu_before = running.cpu_seconds()
    if loop == OPEN:
        load = target.open_loop(OPEN_LOOP_SHARE * capacity, OPEN_LOOP_CONNECTIONS, seconds)
    else:
        load = target.closed_loop(int(loop), seconds)
    cpu = running.cpu_seconds() - cpu_before
    if load.failures:
        raise LoadFailed(f"of {load.requests} requests failed ({loop}): {dict(load.failures)}")
    if load.requests >= _TOO_FEW:
        return load, cpu
    if seconds >= _LONGEST_SECONDS:
        raise LoadFailed(f"{load.requests} answers in {seconds:g} s are too few to say anything ({loop})")
    return _timed(running, target, loop, capacity, min(_LONGEST_SECONDS, 5 * seconds))


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
