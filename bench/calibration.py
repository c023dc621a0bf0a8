"""`make calibration`: is alpha kept, and how far from the best possible test are we? Writes docs/evidence.md's tables.

Every row is a simulation through the functions that decide real rollouts (`headgate simulate` runs the same), with its
own fixed seed: who runs it again gets the same tables.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.signals.evidence import threshold
from headgate.core.statistics.difference import bet_at_most
from headgate.simulate.policy import Policy
from headgate.simulate.rollout import BUDGET_SPENT, HARMFUL, PROMOTED, Outcome, simulate
from headgate.simulate.summary import wald_bound
from headgate.simulate.world import World

DOCUMENT = Path(__file__).parent.parent / "docs" / "evidence.md"
BEGIN, END = "<!-- calibration: begin -->", "<!-- calibration: end -->"

HALF_AN_HOUR = 1800.0
SIX_HOURS = 21600.0
AB_RUNS, BOUND_RUNS, KNOWN_RUNS, BUDGET_RUNS, PREDICTION_RUNS, FEW_RUNS = 1000, 400, 1000, 1000, 300, 500

EQUAL = World(0.005, 0.005)
FIXED = Policy(fixed_weight=10.0, margin=0.0, risk_budget=None)

REGIMES: dict[str, tuple[World, float | None]] = {
    "independent failures": (EQUAL, None),
    "bursts of 5 on one pod": (replace(EQUAL, burst=5), None),
    "bursts of 50 on one pod": (replace(EQUAL, burst=50), None),
    "bursts of 5, one pod of stable": (replace(EQUAL, burst=5, stable_pods=1), None),
    "daily season, ± 80 %": (replace(EQUAL, season=True), None),
    "common outage after 5 minutes, ten times the failures": (replace(EQUAL, outage_at=300.0), None),
    "weight drawn anew every minute, 1 to 50 %": (EQUAL, 60.0),
    "a fifth of the scrapes missed": (replace(EQUAL, missed_scrapes=0.2), None),
    "a pod of each version restarts every minute": (replace(EQUAL, restart_every=60.0), None),
    "nothing known of stable before": (replace(EQUAL, history=0.0), None),
    "scrapes every 15 s": (replace(EQUAL, scrape=15.0), None),
}

FEW = World(0.05, 0.05, scrape=5.0)
"""5 % failures: with few requests rarer ones are hardly ever seen, and could never be taken for harm."""

FEW_REGIMES: dict[str, tuple[World, float]] = {
    "0.05 a second": (replace(FEW, rps=0.05), 6.0),
    "0.05 a second, failures 0.5 %": (replace(FEW, rps=0.05, stable_errors=0.005, candidate_errors=0.005), 6.0),
    "0.05 a second, daily season, ± 80 %": (replace(FEW, rps=0.05, season=True), 6.0),
    "0.05 a second, nothing known of stable before": (replace(FEW, rps=0.05, history=0.0), 6.0),
    "0.5 a second": (replace(FEW, rps=0.5), 2.0),
    "0.5 a second, common outage after an hour": (replace(FEW, rps=0.5, outage_at=3600.0), 2.0),
    "5 a second": (replace(FEW, rps=5.0), 1.0),
}
"""With the hours that the rollouts take."""


@dataclass(frozen=True)
class Row:
    """One line of one table: computed in a process of its own."""

    table: str
    cells: Callable[[], list[str]]


def _share(chosen: NDArray[np.bool_]) -> str:
    return f"{100 * float(np.mean(chosen)):.1f} %"


def _points(rate: float) -> str:
    return f"{100 * rate:g}"


def _rolled_back(outcome: Outcome) -> NDArray[np.bool_]:
    return np.asarray((outcome.decision == HARMFUL) | (outcome.decision == BUDGET_SPENT))


@dataclass(frozen=True)
class Regime:
    """An equal candidate under one regime: how often is it rolled back?"""

    name: str
    world: World
    weight_every: float | None
    seed: int

    def __call__(self) -> list[str]:
        fixed = simulate(self.world, FIXED, AB_RUNS, self.seed, HALF_AN_HOUR, self.weight_every)
        if self.weight_every:
            return [self.name, _share(_rolled_back(fixed)), "", ""]
        ramp = simulate(self.world, Policy(), AB_RUNS, self.seed, HALF_AN_HOUR)
        return [self.name, _share(_rolled_back(fixed)), _share(_rolled_back(ramp)), _share(ramp.decision == PROMOTED)]


@dataclass(frozen=True)
class FewEqual:
    """An equal candidate with few requests."""

    name: str
    world: World
    hours: float
    seed: int

    def __call__(self) -> list[str]:
        found, longest = [self.name, f"{self.hours:g}"], self.hours * 3600
        for weight in (1.0, 10.0, 50.0):
            fixed = simulate(self.world, replace(FIXED, fixed_weight=weight), AB_RUNS, self.seed, longest)
            found.append(_share(_rolled_back(fixed)))
        ramp = simulate(self.world, Policy(), AB_RUNS, self.seed, longest)
        return [*found, _share(_rolled_back(ramp)), _share(ramp.decision == PROMOTED)]


@dataclass(frozen=True)
class FewBad:
    """A bad candidate with few requests, on the ramp."""

    rps: float
    candidate: float
    seed: int

    def __call__(self) -> list[str]:
        world = World(0.002, self.candidate, rps=self.rps, scrape=5.0)
        outcome = simulate(world, Policy(), FEW_RUNS, self.seed, SIX_HOURS)
        return [
            f"{self.rps:g}",
            f"0.2 → {_points(self.candidate)} %",
            _share(_rolled_back(outcome)),
            f"{np.median(outcome.requests):,.0f} ({np.percentile(outcome.requests, 95):,.0f})",
            f"{np.median(outcome.seconds) / 60:,.1f} ({np.percentile(outcome.seconds, 95) / 60:,.1f})",
        ]


@dataclass(frozen=True)
class Margin:
    """A candidate near the margin, at 10 %."""

    candidate: float
    longest: float
    seed: int

    def __call__(self) -> list[str]:
        policy = replace(FIXED, margin=0.005)
        outcome = simulate(replace(EQUAL, candidate_errors=self.candidate), policy, AB_RUNS, self.seed, self.longest)
        return [
            f"0.5 → {_points(self.candidate)} %",
            f"{self.longest / 3600:g} h",
            _share(_rolled_back(outcome)),
            _share(outcome.decision == PROMOTED),
        ]


@dataclass(frozen=True)
class Bound:
    """A fixed weight, a bad candidate: requests to the rollback, against the bound."""

    stable: float
    candidate: float
    weight: float
    seed: int

    def __call__(self) -> list[str]:
        bound = wald_bound(self.stable, self.candidate, self.weight, FIXED.alpha)
        if bound is None:
            raise ValueError(f"no bound for {self}")
        longest = 20 * bound / (self.weight / 100 * 50.0) + 60
        world = World(self.stable, self.candidate)
        outcome = simulate(world, replace(FIXED, fixed_weight=self.weight), BOUND_RUNS, self.seed, longest)
        found = _rolled_back(outcome)
        mean = float(np.mean(outcome.requests))
        error = float(np.std(outcome.requests)) / math.sqrt(BOUND_RUNS)
        known = self._known_rates(np.random.default_rng(self.seed), longest)
        limit = 1.6 * bound if bound > 50 else bound + 10
        return [
            f"{_points(self.stable)} → {_points(self.candidate)} %",
            f"{self.weight:g} %",
            f"{bound:,.1f}",
            f"{mean:,.1f} ± {error:,.1f}",
            f"{mean / bound:.2f}",
            f"{known:,.1f}",
            ("" if mean <= limit else "above") + ("" if found.all() else f" {_share(~found)} not found"),
        ]

    def _known_rates(self, rng: np.random.Generator, longest: float) -> float:
        """Mean requests of the likelihood ratio test of just these two rates, with the same blocks and threshold."""
        log_e, requests, ended = np.zeros(KNOWN_RUNS), np.zeros(KNOWN_RUNS), np.zeros(KNOWN_RUNS, bool)
        w = self.weight / 100
        for _ in range(math.ceil(longest)):
            n_c, n_s = rng.poisson(50 * w, KNOWN_RUNS), rng.poisson(50 * (1 - w), KNOWN_RUNS)
            y_c, y_s = rng.binomial(n_c, self.candidate), rng.binomial(n_s, self.stable)
            gain = bet_at_most(n_c, n_s, self.candidate, self.stable, 0.0).log_e(y_c, y_s)
            log_e += np.where(ended, 0.0, gain)
            requests += np.where(ended, 0, n_c)
            ended |= log_e >= threshold(FIXED.alpha)
            if ended.all():
                break
        return float(np.mean(requests))


@dataclass(frozen=True)
class Budget:
    """The ramp: what a candidate costs until it is decided about."""

    candidate: float
    retry: bool
    seed: int

    def __call__(self) -> list[str]:
        world, policy = replace(EQUAL, candidate_errors=self.candidate), Policy(retry_on_stable=self.retry)
        outcome = simulate(world, policy, BUDGET_RUNS, self.seed, HALF_AN_HOUR)
        bad = outcome.bad_answers
        return [
            f"0.5 → {_points(self.candidate)} %",
            "yes" if self.retry else "no",
            _share(outcome.decision == PROMOTED),
            _share(outcome.decision == HARMFUL),
            _share(outcome.decision == BUDGET_SPENT),
            f"{np.median(outcome.requests):,.0f} ({np.percentile(outcome.requests, 95):,.0f})",
            f"{np.median(outcome.seconds):.0f} ({np.percentile(outcome.seconds, 95):.0f})",
            f"{np.median(bad):.0f} ({np.percentile(bad, 95):.0f})",
            _share(bad <= 20),
        ]


@dataclass(frozen=True)
class Predictions:
    """Scores that move, at 20 %."""

    shift: float
    margin: float
    seed: int

    def __call__(self) -> list[str]:
        policy = Policy(fixed_weight=20.0, margin=0.005, prediction_margin=self.margin, risk_budget=None)
        world = replace(EQUAL, prediction_shift=self.shift)
        outcome = simulate(world, policy, PREDICTION_RUNS, self.seed, HALF_AN_HOUR)
        return [
            f"{_points(self.shift)}, {_points(self.margin)} points",
            _share(outcome.decision == PROMOTED),
            _share(_rolled_back(outcome)),
            f"{np.median(outcome.requests):,.0f} ({np.percentile(outcome.requests, 95):,.0f})",
            f"{np.median(outcome.seconds):.0f}",
        ]


TABLES = {
    "regimes": (
        f"False rollbacks: stable and candidate both fail 0.5 % of 50 requests a second, alpha 1 %, {AB_RUNS:,} "
        f"rollouts of half an hour in each line. If alpha is kept exactly, a line shows up to "
        f"{100 * (0.01 + 2.58 * math.sqrt(0.01 * 0.99 / AB_RUNS)):.1f} % in 99 of 100 cases.",
        ["regime", "weight 10 %, margin 0: rolled back", "risk budget 20: rolled back", "promoted"],
    ),
    "few": (
        "Few requests, equal candidate: a scrape every 5 s, 5 % of stable's and of the candidate's requests fail, "
        f"alpha 1 %, {AB_RUNS:,} rollouts in each line. Most scrapes bring requests of one version alone, or none. In "
        "the outage half of all fail for five minutes.",
        [
            "requests",
            "hours",
            "weight 1 %, margin 0: rolled back",
            "10 %",
            "50 %",
            "risk budget 20: rolled back",
            "promoted",
        ],
    ),
    "few_bad": (
        f"Few requests, bad candidate: a scrape every 5 s, risk budget 20, margin 0.5 points, at most 6 hours, "
        f"{FEW_RUNS:,} rollouts a line; medians, in brackets the 95th percentile.",
        ["requests a second", "failures, stable → candidate", "rolled back", "candidate's requests", "minutes"],
    ),
    "margin": (
        f"The margin: 0.5 points, weight 10 %, {AB_RUNS:,} rollouts a line. At 1 % the candidate is worse by just the "
        "margin.",
        ["failures, stable → candidate", "at most", "rolled back", "promoted"],
    ),
    "bound": (
        f"Candidate requests to a rollback at a fixed weight, margin 0, one block a second, {BOUND_RUNS} rollouts a "
        "line. The bound is Wald's, for any test that misses 5 %; ours misses none. The next to last column is the "
        "likelihood ratio test that knows both rates beforehand, on blocks of the same size: at 50 % a block holds 25 "
        "candidate requests, and less than one block nobody can use. “Above”: more than 1.6 times the bound, or more "
        "than 10 requests above a bound of less than 50.",
        ["failures, stable → candidate", "weight", "bound", "mean", "ratio", "known rates", ""],
    ),
    "budget": (
        f"The ramp: risk budget 20, margin 0.5 points, {BUDGET_RUNS:,} rollouts a line; medians, in brackets the 95th "
        "percentile.",
        [
            "failures, stable → candidate",
            "retry on stable",
            "promoted",
            "rolled back on evidence",
            "on a spent budget",
            "candidate's requests",
            "seconds",
            "bad answers that users saw",
            "at most 20",
        ],
    ),
    "predictions": (
        f"Predictions: a score in ten bins, weight 20 %, {PREDICTION_RUNS} rollouts a line.",
        ["shift, margin", "promoted", "rolled back", "candidate's requests", "seconds"],
    ),
}


def rows() -> Iterator[Row]:
    """Every line of every table."""
    for seed, (name, (world, weight_every)) in enumerate(REGIMES.items(), start=1):
        yield Row("regimes", Regime(name, world, weight_every, seed))
    for seed, (name, (world, hours)) in enumerate(FEW_REGIMES.items(), start=600):
        yield Row("few", FewEqual(name, world, hours, seed))
    for seed, (rps, candidate) in enumerate(product((0.02, 0.05, 0.5, 5.0), (1.0, 0.5, 0.2, 0.05)), start=700):
        yield Row("few_bad", FewBad(rps, candidate, seed))
    for seed, (candidate, longest) in enumerate(((0.005, 3600.0), (0.008, 3600.0), (0.01, 3600.0), (0.015, 14400.0))):
        yield Row("margin", Margin(candidate, longest, 100 + seed))
    seed = 200
    for stable in (0.001, 0.005, 0.02, 0.05):
        for factor in (2, 3, 5, 10, 30, 100):
            for weight in (1.0, 10.0, 50.0):
                seed += 1
                if stable * factor <= 1:
                    yield Row("bound", Bound(stable, round(stable * factor, 6), weight, seed))
    for seed, candidate in enumerate((0.005, 0.02, 0.05, 0.2, 1.0), start=400):
        for retry in (True, False):
            yield Row("budget", Budget(candidate, retry, seed))
    for seed, (shift, margin) in enumerate(
        ((0, 0.1), (0.05, 0.1), (0.2, 0.1), (0.4, 0.1), (0, 0.05), (0.1, 0.05)), 500
    ):
        yield Row("predictions", Predictions(shift, margin, seed))


def document(cells: dict[str, list[list[str]]]) -> str:
    """The tables as Markdown."""
    parts = []
    for table, (intro, head) in TABLES.items():
        lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        lines += [f"| {' | '.join(row)} |" for row in cells[table]]
        parts.append(intro + "\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def main() -> int:
    """Compute all rows, in as many processes as there are cores, and write them between the marks."""
    text = DOCUMENT.read_text()
    if BEGIN not in text or END not in text:
        print(f"{DOCUMENT} has no place for the tables: {BEGIN} … {END}", file=sys.stderr)
        return 1
    todo, started = list(rows()), time.monotonic()
    cells: dict[str, list[list[str]]] = {table: [] for table in TABLES}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, (row, found) in enumerate(zip(todo, pool.map(_compute, todo), strict=True), start=1):
            cells[row.table].append(found)
            seconds = time.monotonic() - started
            print(f"{done}/{len(todo)} {seconds:4.0f} s  {row.table}: {', '.join(found)}", file=sys.stderr, flush=True)
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{document(cells)}\n\n{END}{after}")
    return 0


def _compute(row: Row) -> list[str]:
    return row.cells()


if __name__ == "__main__":
    sys.exit(main())
