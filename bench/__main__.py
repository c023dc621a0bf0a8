"""`python -m bench [--runs N] [--seed S]`: what a rollout costs, simulated with the code that decides.

Prints the tables of docs/evidence.md. Every second a block of about 50 requests is drawn and given to `learn` and
`phases`' own functions; the weight that comes out holds from the block after the next, as on a cluster.
"""

import argparse
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from headgate.api.status import ErrorEvidence, PredictionEvidence
from headgate.core import exposure
from headgate.core.evidence import combine, errors, predictions

RATE, ALPHA, BUDGET, MARGIN, MAX_WEIGHT = 50.0, 0.01, 20.0, 0.005, 50.0
LONGEST = 1800


@dataclass(frozen=True)
class Run:
    """How one simulated rollout ended."""

    outcome: str
    seconds: int
    requests: int


def errors_run(rng: np.random.Generator, stable: float, candidate: float) -> Run:
    """One rollout judged by failed answers alone; rates are shares of 1."""
    limit = combine.threshold(ALPHA) - math.log(combine.WEIGHTS["errors"])
    seen = ErrorEvidence()
    weights = [1.0, 1.0]
    for second in range(1, LONGEST + 1):
        total = int(rng.poisson(RATE))
        n_c = int(rng.binomial(total, weights[-2] / 100))
        block = errors.AttemptBlock(
            n_c, int(rng.binomial(n_c, candidate)), total - n_c, int(rng.binomial(total - n_c, stable))
        )
        seen = errors.fold(seen, block, MARGIN)
        left = BUDGET - exposure.excess_failures(seen)
        verdict = errors.verdict(seen, limit)
        if verdict != "Inconclusive" or left <= 0:
            outcome = {"Fail": "rolled back", "Pass": "promoted"}.get(verdict, "budget spent")
            return Run(outcome, second, seen.candidateAttempts)
        allowed = exposure.weight(seen, left, RATE, ALPHA, MAX_WEIGHT)
        weights.append(min(allowed, 2 * weights[-1]))
    return Run("undecided", LONGEST, seen.candidateAttempts)


def predictions_run(rng: np.random.Generator, shift: float, margin: float) -> Run:
    """One rollout judged by a score with ten bins alone; the candidate's lower half gains `shift`, weight 20 %."""
    limit = combine.threshold(ALPHA) - math.log(combine.WEIGHTS["predictions"])
    bins = [f"n{i:02d} ({i},{i + 1}]" for i in range(10)]
    even = np.full(10, 0.1)
    moved = even + np.repeat([shift / 5, -shift / 5], 5)
    seen = PredictionEvidence()
    for second in range(1, LONGEST + 1):
        n_c = int(rng.binomial(int(RATE), 0.2))
        c, s = rng.multinomial(n_c, moved), rng.multinomial(int(RATE) - n_c, even)
        block = predictions.PredictionBlock(
            "score", "layout", dict(zip(bins, c.tolist(), strict=True)), dict(zip(bins, s.tolist(), strict=True))
        )
        seen = predictions.fold(seen, [block], margin)
        verdict = predictions.verdict(seen, limit)
        if verdict != "Inconclusive":
            return Run({"Fail": "rolled back", "Pass": "passed"}[verdict], second, seen.candidateAnswers)
    return Run("undecided", LONGEST, seen.candidateAnswers)


def _row(name: str, runs: list[Run]) -> str:
    outcomes = ", ".join(f"{n} {o}" for o, n in Counter(r.outcome for r in runs).most_common())
    requests = [r.requests for r in runs]
    seconds = np.median([r.seconds for r in runs])
    return f"| {name} | {outcomes} | {np.median(requests):,.0f} ({np.percentile(requests, 95):,.0f}) | {seconds:.0f} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="bench", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=60, help="simulated rollouts of each row")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    head = "| {} | outcome | candidate's requests, median (95th percentile) | seconds, median |\n|---|---|---|---|"
    print(head.format("failures, stable → candidate"), flush=True)
    for stable, candidate in ((0, 0), (0.005, 0.005), (0, 0.05), (0, 1), (0.005, 0.05), (0.005, 0.02)):
        runs = [errors_run(rng, stable, candidate) for _ in range(options.runs)]
        print(_row(f"{100 * stable:g} → {100 * candidate:g} %", runs), flush=True)
    print("\n" + head.format("shift of the score, margin"), flush=True)
    for shift, margin in ((0, 0.1), (0.05, 0.1), (0.2, 0.1), (0.4, 0.1), (0, 0.05), (0.1, 0.05)):
        runs = [predictions_run(rng, shift, margin) for _ in range(max(1, options.runs // 4))]
        print(_row(f"{100 * shift:g}, {100 * margin:g} points", runs), flush=True)


if __name__ == "__main__":
    main()
