"""`python -m bench.router`: our router beside none, nginx and HAProxy. `--write` puts it into docs/benchmarks.md."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import date
from statistics import median

from bench.document import put, table
from bench.serving.load import Load, LoadFailed
from bench.serving.process import ServerFailed, end_cleanly
from bench.serving.samples import spread
from tools.setup.errors import SetupError

from .measuring import DIRECT, OPEN_SHARES, Plan, Samples, measure, say
from .ways import HEADGATE, WAYS

MARK = "make bench-router"
CONNECTIONS = (1, 16, 64)
LEAST_ROUNDS = 5
LABELS = {DIRECT: "no router", **{way.name: way.label for way in WAYS}}


def main() -> int:
    """Measure, print, and write where asked to; 1 if a single request failed."""
    parser = argparse.ArgumentParser("bench.router", description=__doc__)
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help="how often (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timed run (default %(default)s)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    if args.write and args.rounds < LEAST_ROUNDS:
        parser.error(f"the document takes medians of {LEAST_ROUNDS} rounds or more")
    end_cleanly()
    plan = Plan(CONNECTIONS, args.rounds, args.seconds)
    try:
        samples = measure(plan)
    except (LoadFailed, ServerFailed, SetupError) as error:
        say(str(error))
        return 1
    text = document(plan, samples)
    print(text)
    if args.write:
        put(text, MARK)
    return 0


def document(plan: Plan, samples: Samples) -> str:
    """The tables as Markdown."""
    about = (
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores, shared machine. Medians of {plan.rounds} interleaved rounds "
        f"of {plan.seconds:g} s; ± is half of the range over the rounds. Generator, router and pods share the cores."
    )
    return "\n\n".join([about, _throughput(plan, samples), _latency(plan, samples)])


def _throughput(plan: Plan, samples: Samples) -> str:
    head = ["", *(cell for n in plan.connections for cell in (f"requests/s at {n}", "ours is", "p50 / p99 ms"))]
    rows = []
    for name, label in LABELS.items():
        cells = [label]
        for connections in plan.connections:
            runs = samples.runs[name, connections]
            rates = [run.rate for run in runs]
            cells += [
                f"{median(rates):,.0f} ±{100 * spread(rates):.0f} %",
                "" if name == HEADGATE.name else f"{_ratio(samples.runs[HEADGATE.name, connections], runs):.2f} ×",
                _times(runs),
            ]
        rows.append(cells)
    return f"### As fast as they go\n\n{table(head, rows)}"


def _latency(plan: Plan, samples: Samples) -> str:
    head = ["", *(cell for s in OPEN_SHARES for cell in (f"p50 / p99 ms at {100 * s:.0f} %", "added p50 / p99 ms"))]
    rows = []
    for name, label in LABELS.items():
        cells = [label]
        for share in OPEN_SHARES:
            runs, direct = samples.runs[name, share], samples.runs[DIRECT, share]
            p50, p99 = (
                median(getattr(run, which) - getattr(without, which) for run, without in zip(runs, direct, strict=True))
                for which in ("p50", "p99")
            )
            cells += [_times(runs), "" if name == DIRECT else f"{p50:.2f} / {p99:.2f}"]
        rows.append(cells)
    return (
        "### At a part of the capacity\n\n"
        "An open loop over 64 connections: requests at the random times of a Poisson process, and a time counts from "
        f"when a request was due. The shares are of what the slowest router did at {plan.connections[-1]} connections "
        f"in the same round, so all get the same.\n\n{table(head, rows)}"
    )


def _ratio(ours: Sequence[Load], theirs: Sequence[Load]) -> float:
    return median(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))


def _times(runs: Sequence[Load]) -> str:
    return f"{median(run.p50 for run in runs):.2f} / {median(run.p99 for run in runs):.2f}"


if __name__ == "__main__":
    sys.exit(main())
