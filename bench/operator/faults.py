"""`PYTHONPATH=tests/helpers:e2e:. python -m bench.operator.faults`: rollouts through a Prometheus that does all wrong.

A candidate as good as stable must not be rolled back, one that fails a fifth of its requests must not be promoted;
later than on clean answers, or not in time, is fine. The tests do the same with fewer rollouts.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from bench.document import table
from faulty_metrics import FAULTS, Ending, ending

EVERYTHING = "all of them"
CANDIDATES = {"as good as stable": (0.001, "Promoting"), "fails a fifth": (0.2, "RollingBack")}
COLUMNS = ("fault", "candidate", "right", "not decided in time", "wrong", "looks")
Case = tuple[str, str, int]
Row = list[str]


def run(case: Case) -> Ending:
    """One rollout."""
    fault, candidate, seed = case
    faults = FAULTS if fault == EVERYTHING else (fault,)
    return ending(seed, CANDIDATES[candidate][0], faults, 0.1 + 0.08 * (seed % 10))


def row(pool: ProcessPoolExecutor, fault: str, candidate: str, seeds: Iterable[int]) -> Row:
    """What became of the rollouts of one kind."""
    found = list(pool.map(run, [(fault, candidate, seed) for seed in seeds], chunksize=50))
    decisions, right = Counter(each.decision for each in found), CANDIDATES[candidate][1]
    bad = len(found) - decisions[right] - decisions[""]
    looks = sum(each.looks for each in found) / len(found)
    return [fault, candidate, *map(str, (decisions[right], decisions[""], bad)), f"{looks:.0f}"]


def main() -> int:
    """Print what became of the rollouts; 1 where a decision was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.operator.faults", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=100_000, help="how many altogether (hours)")
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed")
    parser.add_argument("--rows", type=Path, help="a file for the rows that are done; a run goes on after those there")
    args = parser.parse_args()
    kinds = list(product([*FAULTS, EVERYTHING], CANDIDATES))
    seeds = range(args.first, args.first + -(-args.rollouts // len(kinds)))
    lines = args.rows.read_text().splitlines() if args.rows and args.rows.exists() else []
    done: dict[str, Row] = dict(json.loads(line) for line in lines)
    rows = []
    with ProcessPoolExecutor() as pool:
        for number, (fault, candidate) in enumerate(kinds, 1):
            name = f"{fault}, {candidate}, {seeds}"
            if name not in done:
                done[name] = row(pool, fault, candidate, seeds)
                if args.rows:
                    with args.rows.open("a") as file:
                        print(json.dumps([name, done[name]]), file=file)
            rows.append(done[name])
            print(f"{number} of {len(kinds)}: {dict(zip(COLUMNS, done[name], strict=True))}", flush=True)
    print(table(COLUMNS, rows))
    return int(any(int(each[COLUMNS.index("wrong")]) for each in rows))


if __name__ == "__main__":
    sys.exit(main())
