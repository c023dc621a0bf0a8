"""From samples to the tables of docs/benchmarks.md."""

import os
import platform
from datetime import date
from statistics import median

from bench.document import table

from .cases import Case
from .rounds import OPEN_LOOP_SHARE, Plan
from .samples import OPEN, Key, Samples, ratio, spread
from .servers import OURS, OURS_MONITORED, Server

_COSTS_AT = "16"
_ABOUT = {"json": "JSON over REST", "binary": "binary tensors over REST", "grpc": "gRPC"}


def document(plan: Plan, samples: Samples, device: str) -> str:
    """All tables as Markdown."""
    parts = [_introduction(plan, device), _servers(plan), *_measured(plan, samples), _starts(plan, samples)]
    return "\n\n".join([*parts, *_left_out(plan, samples)])


def _introduction(plan: Plan, device: str) -> str:
    return (
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores, {device}, Python {platform.python_version()}. Medians of "
        f"{plan.rounds} interleaved rounds of {plan.seconds:g} s; ± is half of the range over the rounds. The load "
        "generator runs on the same cores."
    )


def _servers(plan: Plan) -> str:
    rows = [[server.label, server.version, server.settings] for server in plan.servers]
    return table(["server", "version", "settings"], rows)


def _measured(plan: Plan, samples: Samples) -> list[str]:
    parts = []
    for case in plan.cases:
        for transport in plan.transports:
            rows = [
                row
                for server in plan.servers
                if (row := _row(plan, samples, server, case, transport))
            ]  # fmt: skip
            if rows:
                parts.append(f"### {case.name}, {_ABOUT[transport]}\n\n{case.about}.\n\n{table(_head(plan), rows)}")
    return parts


def _head(plan: Plan) -> list[str]:
    head = ["server"]
    for loop in plan.loops:
        if loop != OPEN:
            head += [f"requests/s at {loop}", "ours is", "p50 / p99 ms"]
    if OPEN in plan.loops:
        head.append(f"p50 / p99 ms at {100 * OPEN_LOOP_SHARE:.0f} % of its capacity")
    return [*head, f"CPU s per 1,000 at {_COSTS_AT}"]


def _row(plan: Plan, samples: Samples, server: Server, case: Case, transport: str) -> list[str] | None:
    """Nothing if nothing was measured."""
    cells = [server.label]
    for loop in plan.loops:
        runs = samples.of(Key(server.name, case.name, transport, loop))
        if not runs:
            return None
        times = f"{median(run.p50 for run in runs.values()):.2f} / {median(run.p99 for run in runs.values()):.2f}"
        if loop == OPEN:
            cells.append(times)
            continue
        rates = [run.rate for run in runs.values()]
        ours = next((one for one in plan.servers if one in (OURS, OURS_MONITORED)), OURS)
        times_as_fast = ratio(samples.of(Key(ours.name, case.name, transport, loop)), runs)
        shown = f"{times_as_fast:.2f} ×" if times_as_fast and server is not ours else ""
        cells += [f"{median(rates):,.0f} ±{100 * spread(rates):.0f} %", shown, times]
    costs = samples.of(Key(server.name, case.name, transport, _COSTS_AT))
    return [*cells, f"{median(run.cpu for run in costs.values()):.3f}" if costs else ""]


def _starts(plan: Plan, samples: Samples) -> str:
    rows = []
    for server in plan.servers:
        for case in plan.cases:
            if found := samples.starts.get((server.name, case.name)):
                seconds = [start.seconds for start in found]
                rss, pss = (median(sizes) / 1e6 for sizes in zip(*((one.rss, one.pss) for one in found), strict=True))
                shown = f"{median(seconds):.2f} ±{100 * spread(seconds):.0f} %"
                rows.append([server.label, case.name, shown, f"{rss:.0f}", f"{pss:.0f}"])
    head = ["server", "case", "exec to ready, s", "RSS after start, MB", "of which shared pages count once (PSS), MB"]
    return f"### Start and memory\n\nAll processes of each server.\n\n{table(head, rows)}"


def _left_out(plan: Plan, samples: Samples) -> list[str]:
    labels = {server.name: server.label for server in plan.servers}
    lines = []
    for server in plan.servers:
        for transport in plan.transports:
            lacks = [case.name for case in plan.cases if not server.offers(transport, case)]
            if lacks:
                which = "" if len(lacks) == len(plan.cases) else f" ({', '.join(lacks)})"
                lines.append(f"- {server.label} takes no {_ABOUT[transport]}{which}.")
    lines += [
        f"- {labels[server]}, {case}{f', {transport}' if transport else ''}: {' '.join(why.split())[:300]}"
        for (server, case, transport), why in samples.problems.items()
    ]
    return ["### Left out\n\nNothing is reported of what failed even once.\n\n" + "\n".join(lines)] if lines else []
