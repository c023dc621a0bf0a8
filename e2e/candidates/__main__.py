"""`make faults`: every kind of candidate on the embedded cluster, with the default spec. `--write` puts the table into
docs/evidence.md. Exits with 1 where a bad candidate got further than it may, or a good one was not promoted."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date

from candidates.kinds import BAD, GOOD, Bad, Good
from candidates.trial import Result, Scene, bad, good
from stories.installation import Headgate
from stories.world import World, clear, delete_namespace
from tools.cluster import Cluster
from tools.setup.cache import REPOSITORY

PLACE = REPOSITORY / "docs" / "evidence.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
ORDER = ("start", "preflight", "shadow", "canary", "promoting", "soaking")
LANES = 2
"""Models that have a rollout at the same time."""


@dataclass
class Run:
    """The results so far, in no order."""

    results: dict[str, Result] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, name: str, make: Callable[[], Result]) -> None:
        """Keep what `make` gives, and say it."""
        try:
            result = make()
        except Exception as error:  # the other candidates go on
            with self._lock:
                self.broken[name] = str(error)
                print(f"{name}: {type(error).__name__}: {str(error)[:2000]}", flush=True)
            return
        with self._lock:
            self.results[name] = result
            print(result, flush=True)


def within(kind: Bad, result: Result) -> bool:
    """Whether it was found in time."""
    return result.phase in ORDER[: ORDER.index(kind.by) + 1]


def table(run: Run) -> str:
    """Both tables, as docs/evidence.md has them."""
    lines = [
        f"Measured {date.today().isoformat()}, with two rollouts at a time on two cores.",
        "",
        "| bad candidate | | found in | reason | tried for | its answers to users | failed for users | seconds |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(kind, run.results[kind.name]) for kind in BAD if kind.name in run.results),
        "",
        "| good candidate | | outcome | its answers to users | failed for users | seconds until promotion |",
        "|---|---|---|---|---|---|",
        *(_good_row(kind, run.results[kind.name]) for kind in GOOD if kind.name in run.results),
    ]
    return "\n".join(lines)


def _row(kind: Bad, it: Result) -> str:
    figures = f"{it.asked} | {it.answered} | {it.failed} | {it.seconds:.0f}"
    return f"| {kind.name} | {kind.what} | {it.phase} | {it.reason} | {figures} |"


def _good_row(kind: Good, it: Result) -> str:
    outcome = it.found if it.found == "promoted" else f"{it.phase}: {it.reason}"
    return f"| {kind.name} | {kind.what} | {outcome} | {it.answered} | {it.failed} | {it.seconds:.0f} |"


def wrongs(run: Run, bads: Sequence[Bad], goods: Sequence[Good]) -> list[str]:
    """What did not come out as it has to."""
    found = [f"{name}: {text[:200]}" for name, text in run.broken.items()]
    for kind in bads:
        result = run.results.get(kind.name)
        if result and not within(kind, result):
            found.append(f"{kind.name}: found in {result.phase}, and has to be by {kind.by}")
        if result and result.phase in ("start", "preflight", "shadow") and (result.asked or result.failed):
            found.append(f"{kind.name}: users were asked to try it, or saw failures: {result}")
    promoted = [(kind.name, run.results[kind.name]) for kind in goods if kind.name in run.results]
    return found + [f"{name}: {it.phase}: {it.reason}" for name, it in promoted if it.found != "promoted"]


def main(argv: Sequence[str] | None = None) -> int:
    """Print each result as it comes, and the tables at the end."""
    parser = argparse.ArgumentParser("candidates", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/evidence.md")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="part of a name; may be repeated")
    args = parser.parse_args(argv)

    def asked(name: str) -> bool:
        return not args.only or any(part in name for part in args.only)

    bads = [kind for kind in BAD if asked(kind.name)]
    goods = [kind for kind in GOOD if asked(kind.name)]
    cluster = Cluster.ensure()
    cluster.enter()
    clear(cluster)
    world = World.on(cluster)
    headgate, run = Headgate.install(world), Run()

    def lane(kinds: Sequence[Bad]) -> None:
        if not kinds:
            return
        with Scene.of(headgate, "stable") as scene:
            for kind in kinds:
                run.tell(kind.name, lambda kind=kind: bad(headgate, scene, kind))  # type: ignore[misc]

    def lone(kind: Good) -> None:
        run.tell(kind.name, lambda: good(headgate, kind))

    with ThreadPoolExecutor(LANES) as pool:
        jobs = [pool.submit(lane, bads[number::LANES]) for number in range(LANES)]
        jobs += [pool.submit(lone, kind) for kind in goods]
    delete_namespace(cluster, world.place)
    for job in jobs:
        job.result()
    print(table(run))
    if args.write:
        text = PLACE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PLACE.write_text(f"{before}{BEGIN}\n\n{table(run)}\n\n{END}{after}", encoding="utf-8")
    for wrong in (found := wrongs(run, bads, goods)):
        print(wrong, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
