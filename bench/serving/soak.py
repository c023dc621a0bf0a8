"""`python -m bench.serving.soak --minutes 60 --share 0.7`: one server under load for long, and its end under load.

Measures what the server can do, then asks for that share of it, at random times, and prints its memory each minute.
At the end it gets SIGTERM while the load goes on for as long as routers need to notice; no request may be lost, and
the server must end by itself with status 0. Exit status 1 if any of that fails, or if memory grew too much.
"""

import argparse
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tools.setup.errors import SetupError

from .cases import CASES, Case, write_model
from .load import Load, LoadFailed, Target
from .process import Running, ServerFailed, end_cleanly, free_ports
from .rounds import write_profile
from .servers import OURS_MONITORED, Place

CONNECTIONS, CAPACITY_SECONDS, SLICE_SECONDS = 16, 5.0, 60.0
# Ours goes on serving for two seconds after SIGTERM, until routers have forgotten it.
LOAD_AFTER_SIGTERM, ENDS_WITHIN = 1.0, 30.0


@dataclass(frozen=True)
class Verdict:
    """How it went."""

    requests: int
    failures: dict[str, int]
    drift: float
    status: int | None

    def wrongs(self, most_drift: float) -> list[str]:
        """What must not be."""
        found = [f"{count} requests failed: {reason}" for reason, count in self.failures.items()]
        if self.drift > most_drift:
            found.append(f"memory grew by {self.drift:.1%}, more than {most_drift:.0%}")
        if self.status != 0:
            found.append("it did not end after SIGTERM" if self.status is None else f"it ended with {self.status}")
        return found


def main() -> int:
    """Run it, print what is seen."""
    parser = argparse.ArgumentParser("bench.serving.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default %(default)s)")
    parser.add_argument("--share", type=float, default=0.7, help="of the measured capacity (default %(default)s)")
    parser.add_argument("--case", choices=[case.name for case in CASES], default="tabular", help="what is served")
    parser.add_argument("--transport", choices=("json", "binary"), default="json", help="in which form it is asked")
    parser.add_argument("--most-drift", type=float, default=0.05, help="of the memory (default %(default)s)")
    args = parser.parse_args()
    case = next(case for case in CASES if case.name == args.case)
    end_cleanly()
    try:
        verdict = soak(case, args.transport, args.minutes, args.share)
    except (ServerFailed, LoadFailed, SetupError) as error:
        print(error)
        return 1
    wrongs = verdict.wrongs(args.most_drift)
    print(f"{verdict.requests:,} requests, memory {verdict.drift:+.1%}: {'; '.join(wrongs) or 'as it should be'}")
    return 1 if wrongs else 0


def soak(case: Case, transport: str, minutes: float, share: float) -> Verdict:
    """Ours, monitored where the case has features to count."""
    with tempfile.TemporaryDirectory(prefix="headgate-soak-") as scratch:
        folder = Path(scratch)
        model = write_model(case, folder / "model")
        if case.profiled:
            write_profile(case, model)
        ports = free_ports(3)
        command = OURS_MONITORED.command(Place(folder, model, case, *ports))
        with Running(OURS_MONITORED.label, command, folder, ports[0], OURS_MONITORED.ready_path) as running:
            running.wait_ready()
            target = Target(running.address, OURS_MONITORED.ways[transport].ask(case), folder)
            rate = share * target.closed_loop(CONNECTIONS, CAPACITY_SECONDS).rate
            loads, sizes = _long(running, target, rate, 60 * minutes)
            last, status = _end_under_load(running, target)
    failures: dict[str, int] = {}
    for load in [*loads, last]:
        for reason, count in load.failures.items():
            failures[reason] = failures.get(reason, 0) + count
    return Verdict(sum(load.requests for load in [*loads, last]), failures, drift(sizes), status)


def drift(sizes: list[int]) -> float:
    """How much the last tenth is above the first tenth after the first look, which may still be warming up."""
    settled = sizes[1:] if len(sizes) > 1 else sizes
    width = max(1, len(settled) // 10)
    return median(settled[-width:]) / median(settled[:width]) - 1


def _long(running: Running, target: Target, rate: float, seconds: float) -> tuple[list[Load], list[int]]:
    print(f"{rate:,.0f} requests/s for {seconds / 60:g} min")
    loads: list[Load] = []
    sizes: list[int] = []
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        load = target.open_loop(rate, CONNECTIONS, min(SLICE_SECONDS, max(left, 1.0), seconds / 10))
        loads.append(load)
        sizes.append(running.memory().rss)
        minute = (seconds - until + time.monotonic()) / 60
        said = f"{load.rate:,.0f}/s, p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms, failed {sum(load.failures.values())}"
        print(f"{minute:6.1f} min  RSS {sizes[-1] / 1e6:.1f} MB  {said}", flush=True)
    return loads, sizes


def _end_under_load(running: Running, target: Target) -> tuple[Load, int | None]:
    """SIGTERM under full load, which ends soon after: routers, too, send nothing more when they have noticed."""
    before = 2.0
    timer = threading.Timer(before, running.terminate)
    timer.start()
    load = target.strict_closed_loop(CONNECTIONS, before + LOAD_AFTER_SIGTERM)
    timer.join()
    print(f"SIGTERM under load: {load.requests:,} requests, failed {sum(load.failures.values())}", flush=True)
    return load, running.wait(ENDS_WITHIN)


if __name__ == "__main__":
    sys.exit(main())
