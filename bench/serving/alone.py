"""`python -m bench.serving.alone`: ours beside ONNX Runtime without a server, with models of 1 to 100 milliseconds.

In each round, for each model: ONNX Runtime's own default session in this process, one run after the other; then ours
with its defaults, with one thread for each run, and with requests that never share a run, by one client and by 16.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import onnxruntime as ort

from bench.document import table

from .answers import check
from .cases import INPUT, Array, Case, answer_of, write_model
from .larger import LARGER
from .load import Target
from .process import Running, end_cleanly, free_ports
from .rounds import say
from .samples import spread
from .servers import OURS, Command, Place

WAYS: Mapping[str, Sequence[str]] = {
    "defaults": (),
    "one thread a run": ("--intra-op-threads=1",),
    "never joined": ("--max-batch=1",),
}
CONNECTIONS = 16


@dataclass(frozen=True)
class Seen:
    """Of one round: milliseconds of a lone request and of ONNX Runtime's run; what 16 clients got; seconds to ready."""

    bare: float
    lone: float
    rate: float
    p99: float
    ready: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("bench.serving.alone", description=__doc__)
    names = [case.name for case in LARGER]
    parser.add_argument("--cases", nargs="*", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=5, help="how often (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timed run (default %(default)s)")
    args = parser.parse_args()
    end_cleanly()
    rows = []
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as scratch:
        for case in (case for case in LARGER if case.name in args.cases):
            model = write_model(case, Path(scratch) / case.name)
            expected = answer_of(model, case.input)
            seen: dict[str, list[Seen]] = {way: [] for way in WAYS}
            for number in range(args.rounds):
                say(f"round {number + 1}/{args.rounds}, {case.name}")
                bare = _bare(model, case, args.seconds)
                for way in _turned(list(WAYS), number):
                    seen[way].append(_visit(case, model, expected, WAYS[way], bare, args.seconds))
            rows += [_row(case, way, seen) for way in WAYS]
    head = ["model", "ours with", "lone request, ms", "× ONNX Runtime's default", "requests/s at 16", "× defaults"]
    print(table([*head, "p99 at 16, ms", "exec to ready, s"], rows))
    return 0


def _turned(ways: list[str], number: int) -> list[str]:
    turn = number % len(ways)
    return [*ways[turn:], *ways[:turn]]


def _bare(model: Path, case: Case, seconds: float) -> float:
    """Milliseconds of a run of a session with ONNX Runtime's defaults, the median."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    given = {INPUT: case.input}
    session.run(None, given)
    took, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        session.run(None, given)
        took.append(time.perf_counter() - began)
    return 1e3 * median(took)


def _visit(case: Case, model: Path, expected: Array, options: Sequence[str], bare: float, seconds: float) -> Seen:
    with tempfile.TemporaryDirectory(prefix="headgate-bench-ours-") as folder:
        place = Place(Path(folder), model, case, *free_ports(3))
        started = OURS.command(place)
        command = Command([*started.argv, *options], started.env)
        with Running(OURS.label, command, place.folder, place.http_port, OURS.ready_path) as running:
            ready = running.wait_ready()
            check(OURS, "binary", case, (running.address, ""), expected)
            target = Target(running.address, OURS.ways["binary"].ask(case), place.folder)
            target.closed_loop(CONNECTIONS, seconds)  # so that it has learnt what pays
            many = target.closed_loop(CONNECTIONS, seconds)
            return Seen(bare, target.closed_loop(1, seconds).p50, many.rate, many.p99, ready)


def _row(case: Case, way: str, seen: Mapping[str, Sequence[Seen]]) -> list[str]:
    found, defaults = seen[way], seen["defaults"]
    ratios = [one.lone / one.bare for one in found]
    rates = [one.rate / other.rate for one, other in zip(found, defaults, strict=True)]
    return [
        case.name,
        way,
        f"{median(one.lone for one in found):.2f}",
        f"{median(ratios):.2f} ±{100 * spread(ratios):.0f} %",
        f"{median(one.rate for one in found):,.0f}",
        "" if way == "defaults" else f"{median(rates):.2f} ±{100 * spread(rates):.0f} %",
        f"{median(one.p99 for one in found):.0f}",
        f"{median(one.ready for one in found):.2f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
