"""Many rollouts at once through the functions that decide real ones.

Every scrape: traffic at the weights of the moment, the evidence after it, the verdict, the next weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.core import exposure, judge
from headgate.core.signals import evidence as combine
from headgate.core.statistics import rates, shares
from headgate.core.statistics.difference import Floats, log_mean
from headgate.core.statistics.rates import Counts, Rates
from headgate.core.statistics.shares import Answers, Shares
from headgate.simulate.policy import Policy
from headgate.simulate.world import SCORE_BINS, Version, World, past, scores, without_restarted

UNDECIDED, PROMOTED, HARMFUL, BUDGET_SPENT = range(4)
SHOWN = 12
"""Rollouts whose course is kept for a plot."""

Progress = Callable[[float, int], None]
"""Called with the simulated seconds and the number of rollouts that are still undecided."""


@dataclass
class Course:
    """Weight in percent and evidence (log10 of the combined e-value) of one rollout over time in seconds."""

    times: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    evidence: list[float] = field(default_factory=list)
    outcome: int = UNDECIDED


@dataclass(frozen=True)
class Outcome:
    """What became of each rollout; arrays of one length."""

    decision: NDArray[np.int64]
    by_predictions: NDArray[np.bool_]
    """Whether the predictions carried the evidence of a rollback."""
    seconds: Floats
    requests: Floats
    """Of the candidate."""
    bad_answers: Floats
    """Failed answers that users got on requests assigned to the candidate."""
    courses: list[Course]


def simulate(
    world: World,
    policy: Policy,
    runs: int,
    seed: int,
    longest: float,
    weight_every: float | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Simulate `runs` rollouts for at most `longest` seconds each.

    With `weight_every`, the weight is drawn anew between 1 and 50 % each time so many seconds have passed.
    """
    rng = np.random.default_rng(seed)
    run = _Run(world, policy, runs, rng)
    for look in range(1, math.ceil(longest / world.scrape) + 1):
        run.look(look * world.scrape, weight_every)
        if progress and look % 20 == 0:
            progress(look * world.scrape, len(run.alive))
        if not len(run.alive):
            break
    return run.outcome()


class _Run:
    """The rollouts that are still undecided, and what became of the others."""

    def __init__(self, world: World, policy: Policy, runs: int, rng: np.random.Generator) -> None:
        self.world, self.policy, self.rng = world, policy, rng
        self.phase = rng.random(runs)
        history = past(world, rng, runs, self.phase)
        self.rates = Rates.start(history)
        self.shares = Shares.start(runs, SCORE_BINS - 1) if world.prediction_shift is not None else None
        signals = ["errors"] + (["predictions"] if self.shares else [])
        self.weights_of_signals = combine.weights(signals)
        self.ceiling = combine.ceiling(self.weights_of_signals["errors"], policy.alpha)
        self.candidate = Version(world, world.candidate_pods, runs)
        self.stable = Version(world, world.stable_pods, runs)
        self.alive = np.arange(runs)
        self.weight = self._first_weight(history.trials)
        self.unread = Counts.none(runs)
        self.heard = np.ones(runs, bool)
        self.decision = np.full(runs, UNDECIDED)
        self.by_predictions = np.zeros(runs, bool)
        self.seconds, self.requests, self.bad = np.zeros(runs), np.zeros(runs), np.zeros(runs)
        self.courses = [Course() for _ in range(min(SHOWN, runs))]

    def look(self, now: float, weight_every: float | None) -> None:
        """One scrape later."""
        block = self._traffic(now)
        read = self.rng.random(len(self.alive)) >= self.world.missed_scrapes
        unread = self.unread.plus(block)
        counted, self.unread = unread.where(read), unread.where(~read)
        self.heard = counted.trials > 0
        self.rates = rates.fold(self.rates, counted, self.policy.margin, self.ceiling, self.world.scrape)
        log_harm, log_safe = {"errors": self.rates.log_harm}, [self.rates.log_safe]
        if self.shares and self.world.prediction_shift is not None:
            self.shares = self._predictions(self.shares, counted, self.world.prediction_shift)
            log_harm["predictions"] = log_mean(np.concatenate([self.shares.up, self.shares.down], axis=1))
            log_safe.append(np.minimum(self.shares.not_up, self.shares.not_down).min(axis=1))
        total = combine.log_total(log_harm, self.weights_of_signals)
        self._remember(now, total)
        self._decide(now, total, log_harm, log_safe)
        self._move(now, weight_every)

    def outcome(self) -> Outcome:
        """What became of all."""
        return Outcome(self.decision, self.by_predictions, self.seconds, self.requests, self.bad, self.courses)

    def _first_weight(self, trials: Floats) -> Floats:
        if not self.policy.ramps:
            return np.full(len(trials), self.policy.weight_at(0.0))
        looks = self.world.history / max(self.world.scrape, 1.0)
        return exposure.first_weight(trials / max(looks, 1.0), self.policy.risk_budget or 0.0, self.policy.max_weight)

    def _traffic(self, now: float) -> Counts:
        """Requests of one interval. Users are counted here, before anything is lost."""
        p_c, p_s = self.world.rates(now, self.phase)
        requests = self.world.rps * self.world.scrape
        n_c, y_c = self.candidate.serve(self.rng, requests * self.weight / 100, p_c)
        n_s, y_s = self.stable.serve(self.rng, requests * (1 - self.weight / 100), p_s)
        block = Counts(*(part.sum(axis=1) for part in (n_c, y_c, n_s, y_s)))
        bad = block.y_c
        if self.policy.retry_on_stable:
            bad = self.rng.binomial(block.y_c.astype(np.int64), p_s).astype(np.float64)
        self.bad[self.alive] += bad
        self.requests[self.alive] += block.n_c
        self.seconds[self.alive] = now
        return without_restarted(self.rng, block, self.world)

    def _predictions(self, state: Shares, block: Counts, shift: float) -> Shares:
        good_c, good_s = block.n_c - block.y_c, block.n_s - block.y_s
        c, s = scores(self.rng, good_c, shift), scores(self.rng, good_s, 0.0)
        answers = Answers(c, good_c[:, None], s, good_s[:, None])
        return shares.fold(state, answers, self.policy.prediction_margin, self.world.scrape)

    def _remember(self, now: float, total: Floats) -> None:
        for place, run in enumerate(self.alive):
            if run >= len(self.courses):
                break
            course = self.courses[run]
            course.times.append(now)
            course.weights.append(float(self.weight[place]))
            course.evidence.append(float(total[place]) / math.log(10))

    def _decide(self, now: float, total: Floats, log_harm: dict[str, Floats], log_safe: list[Floats]) -> None:
        policy = self.policy
        harmful = judge.harmful(total, policy.alpha)
        passed = judge.passed(log_safe)
        spent = np.zeros(len(self.alive), bool)
        if policy.risk_budget is not None:
            fine = judge.passed([self.rates.log_safe])
            spent = judge.budget_spent(self.rates.excess, policy.risk_budget, self.rates.log_worse, fine, policy.alpha)
        promoted = passed & (now >= policy.earliest_promotion)
        decision = np.select([harmful, spent, promoted], [HARMFUL, BUDGET_SPENT, PROMOTED], UNDECIDED)
        ended = np.flatnonzero(decision != UNDECIDED)
        if not len(ended):
            return
        self.decision[self.alive[ended]] = decision[ended]
        if "predictions" in log_harm:
            shares_of = self.weights_of_signals
            errors, predictions = (log_harm[s] + math.log(shares_of[s]) for s in ("errors", "predictions"))
            self.by_predictions[self.alive[ended]] = (predictions > errors)[ended]
        for run in self.alive[ended]:
            if run < len(self.courses):
                self.courses[run].outcome = int(self.decision[run])
        self._go_on_with(np.flatnonzero(decision == UNDECIDED))

    def _go_on_with(self, rows: NDArray[np.intp]) -> None:
        self.alive, self.weight, self.phase = self.alive[rows], self.weight[rows], self.phase[rows]
        self.heard = self.heard[rows]
        self.rates = self.rates.take(rows)
        self.shares = self.shares.take(rows) if self.shares else None
        self.unread = Counts(*(part[rows] for part in self.unread))
        self.candidate.take(rows)
        self.stable.take(rows)

    def _move(self, now: float, weight_every: float | None) -> None:
        policy = self.policy
        if weight_every is not None:
            if now % weight_every < self.world.scrape:
                self.weight = np.exp(self.rng.uniform(0.0, math.log(50.0), len(self.alive)))
        elif not policy.ramps:
            self.weight = np.full(len(self.alive), policy.weight_at(now))
        else:
            known = self.rates.settled
            upper = exposure.upper_rate(known.counts.y_c, known.counts.n_c, policy.alpha)
            requests = self.rates.seen.trials / now * max(self.world.scrape, 1.0)
            left = (policy.risk_budget or 0.0) - known.excess
            allowed = exposure.next_weight(self.weight, upper, known.stable_rate, left, requests, policy.max_weight)
            self.weight = np.where(self.heard, allowed, self.weight)
