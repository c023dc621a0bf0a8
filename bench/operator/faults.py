"""`PYTHONPATH=tests/helpers:e2e:. python -m bench.operator.faults`: rollouts through a Prometheus that does all wrong.

A candidate as good as stable must not be rolled back, one that fails a fifth of its requests must not be promoted;
later than on clean answers, or not in time, is fine. The tests do the same with fewer rollouts.
"""

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import product

from bench.document import table
from faulty_metrics import FAULTS, Ending, ending

EVERYTHING = "all of them"
CANDIDATES = {"as good as stable": (0.001, "Promoting"), "fails a fifth": (0.2, "RollingBack")}
Case = tuple[str, str, int]


def run(case: Case) -> Ending:
    """One rollout."""
    fault, candidate, seed = case
    faults = FAULTS if fault == EVERYTHING else (fault,)
    return ending(seed, CANDIDATES[candidate][0], faults, 0.1 + 0.08 * (seed % 10))


def main() -> int:
    """Print what became of the rollouts; 1 where a decision was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.operator.faults", description=__doc__)
    parser.add_argument("--rollouts", type=int, default=100_000, help="how many altogether")
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed")
    args = parser.parse_args()
    kinds = list(product([*FAULTS, EVERYTHING], CANDIDATES))
    seeds = range(args.first, args.first + -(-args.rollouts // len(kinds)))
    wrong, rows = 0, []
    with ProcessPoolExecutor() as pool:
        for fault, candidate in kinds:
            found = list(pool.map(run, [(fault, candidate, seed) for seed in seeds], chunksize=50))
            right = CANDIDATES[candidate][1]
            decisions = Counter(each.decision for each in found)
            bad = len(found) - decisions[right] - decisions[""]
            wrong += bad
            looks = sum(each.looks for each in found) / len(found)
            rows.append([fault, candidate, *map(str, (decisions[right], decisions[""], bad)), f"{looks:.0f}"])
    print(table(("fault", "candidate", "right", "not decided in time", "wrong", "looks"), rows))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
