"""Many rollouts at once through the functions that decide real ones.

Every scrape: traffic at the weights of the moment, the evidence of each signal after it, the verdict, the next weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.core import exposure, judge
from headgate.core.signals import SIGNALS
from headgate.core.signals.evidence import log_total, weights
from headgate.core.statistics.difference import Floats
from headgate.core.statistics.rates import Counts
from headgate.simulate.policy import Policy
from headgate.simulate.signals import Simulated, SimulatedErrors, SimulatedShadow, simulated
from headgate.simulate.world import Version, World, stable_history, without_restarted

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
    carrier: NDArray[np.str_]
    """The signal that carried most of the evidence when it ended; empty while it is undecided."""
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
    for step in range(1, math.ceil(longest / world.scrape) + 1):
        run.scrape(step * world.scrape, weight_every)
        if progress and step % 20 == 0:
            progress(step * world.scrape, len(run.alive))
        if not len(run.alive):
            break
    return run.outcome()


class _Run:
    """The rollouts that are still undecided, and what became of the others."""

    def __init__(self, world: World, policy: Policy, runs: int, rng: np.random.Generator) -> None:
        self.world, self.policy, self.rng = world, policy, rng
        self.phase = rng.random(runs)
        history = stable_history(world, rng, runs, self.phase)
        kinds = {signal.name: kind for signal in SIGNALS if (kind := simulated(signal))}
        compared = {name: kind for name, kind in kinds.items() if kind.is_compared(name, world, policy)}
        self.weights_of_signals = weights(compared)
        self.signals: list[Simulated] = [
            kind(name, world, policy, self.weights_of_signals[name], history, rng) for name, kind in compared.items()
        ]
        self.errors = next(signal for signal in self.signals if type(signal) is SimulatedErrors)
        self.shadow = next((signal for signal in self.signals if isinstance(signal, SimulatedShadow)), None)
        self.candidate = Version(world, world.candidate_pods, runs)
        self.stable = Version(world, world.stable_pods, runs)
        self.alive = np.arange(runs)
        self.first_weight = self._first_weight(history.trials)
        self.weight = self.first_weight if self.shadow is None else np.zeros(runs)
        self.opened = np.zeros(runs)
        self.unread = Counts.none(runs)
        self.heard = np.ones(runs, bool)
        self.decision = np.full(runs, UNDECIDED)
        self.carrier = np.full(runs, "", dtype="<U32")
        self.seconds, self.requests, self.bad = np.zeros(runs), np.zeros(runs), np.zeros(runs)
        self.courses = [Course() for _ in range(min(SHOWN, runs))]

    def scrape(self, now: float, weight_every: float | None) -> None:
        """One scrape later."""
        exposed = ~self.shadow.compares if self.shadow else np.ones(len(self.alive), bool)
        block = self._traffic(now).where(exposed)
        read = self.rng.random(len(self.alive)) >= self.world.missed_scrapes
        unread = self.unread.plus(block)
        counted, self.unread = unread.where(read), unread.where(~read)
        self.heard = counted.trials > 0
        for signal in self.signals:
            signal.fold(counted)
        log_harm = {signal.name: signal.log_harm for signal in self.signals}
        total = log_total(log_harm, self.weights_of_signals)
        self._remember(now, total)
        exposed = self._decide(now, total, log_harm, exposed)
        self._move(now, weight_every, exposed)
        self._open_canaries(now)

    def outcome(self) -> Outcome:
        """What became of all."""
        return Outcome(self.decision, self.carrier, self.seconds, self.requests, self.bad, self.courses)

    def _first_weight(self, trials: Floats) -> Floats:
        if not self.policy.ramps:
            return np.full(len(trials), self.policy.weight_at(0.0))
        scrapes = self.world.history / max(self.world.scrape, 1.0)
        return exposure.first_weight(trials / max(scrapes, 1.0), self.policy.risk_budget or 0.0, self.policy.max_weight)

    def _traffic(self, now: float) -> Counts:
        """Requests of one interval. Users are counted here, before anything is lost."""
        p_c, p_s = self.world.rates(now, self.phase)
        requests = self.world.rps * self.world.scrape
        n_c, y_c = self.candidate.serve(self.rng, requests * self.weight / 100, p_c)
        n_s, y_s = self.stable.serve(self.rng, requests * (1 - self.weight / 100), p_s)
        block = Counts(*(part.sum(axis=1) for part in (n_c, y_c, n_s, y_s)))
        self.requests[self.alive] += block.n_c
        refuses = self.world.candidate_refusals if now >= self.world.late_onset else 0.0
        refused = self.rng.binomial((block.n_c - block.y_c).astype(np.int64), refuses).astype(np.float64)
        if self.policy.retry_on_stable:
            block = block._replace(y_c=block.y_c + refused)
            self.bad[self.alive] += self.rng.binomial(block.y_c.astype(np.int64), p_s)
        else:
            self.bad[self.alive] += block.y_c + refused
            block = block._replace(n_c=block.n_c - refused)
        self.seconds[self.alive] = now
        return without_restarted(self.rng, block, self.world)

    def _remember(self, now: float, total: Floats) -> None:
        for place, run in enumerate(self.alive):
            if run >= len(self.courses):
                break
            course = self.courses[run]
            course.times.append(now)
            course.weights.append(float(self.weight[place]))
            course.evidence.append(float(total[place]) / math.log(10))

    def _decide(
        self, now: float, total: Floats, log_harm: dict[str, Floats], exposed: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Ends the rollouts that are decided; which of the others are exposed."""
        policy = self.policy
        harmful = judge.harmful(total, policy.alpha)
        passed = judge.passed([signal.log_safe for signal in self.signals if signal is not self.shadow]) & exposed
        spent = np.zeros(len(self.alive), bool)
        if policy.risk_budget is not None:
            rates = self.errors.state
            fine = judge.passed([rates.log_safe])
            spent = judge.budget_spent(rates.excess, policy.risk_budget, rates.log_worse, fine, policy.alpha)
        promoted = passed & (now - self.opened >= policy.earliest_promotion)
        decision = np.select([harmful, spent, promoted], [HARMFUL, BUDGET_SPENT, PROMOTED], UNDECIDED)
        ended = np.flatnonzero(decision != UNDECIDED)
        if not len(ended):
            return exposed
        self.decision[self.alive[ended]] = decision[ended]
        weighed = np.stack([logs + math.log(self.weights_of_signals[name]) for name, logs in log_harm.items()])
        self.carrier[self.alive[ended]] = np.array(list(log_harm))[np.argmax(weighed, axis=0)][ended]
        for run in self.alive[ended]:
            if run < len(self.courses):
                self.courses[run].outcome = int(self.decision[run])
        rows = np.flatnonzero(decision == UNDECIDED)
        self._go_on_with(rows)
        return exposed[rows]

    def _go_on_with(self, rows: NDArray[np.intp]) -> None:
        self.alive, self.weight, self.phase = self.alive[rows], self.weight[rows], self.phase[rows]
        self.heard, self.opened, self.first_weight = self.heard[rows], self.opened[rows], self.first_weight[rows]
        for signal in self.signals:
            signal.take(rows)
        self.unread = Counts(*(part[rows] for part in self.unread))
        self.candidate.take(rows)
        self.stable.take(rows)

    def _move(self, now: float, weight_every: float | None, exposed: NDArray[np.bool_]) -> None:
        policy = self.policy
        if weight_every is not None:
            if now % weight_every < self.world.scrape:
                self.weight = np.exp(self.rng.uniform(0.0, math.log(50.0), len(self.alive)))
        elif not policy.ramps:
            due = np.array([policy.weight_at(seconds) for seconds in now - self.opened])
            self.weight = np.where(exposed, due, self.weight)
        else:
            settled = self.errors.state.settled
            upper = exposure.upper_rate(settled.counts.y_c, settled.counts.n_c, policy.alpha)
            open_for = np.maximum(now - self.opened, self.world.scrape)
            requests = self.errors.state.seen.trials / open_for * max(self.world.scrape, 1.0)
            left = (policy.risk_budget or 0.0) - settled.excess
            allowed = exposure.next_weight(self.weight, upper, settled.stable_rate, left, requests, policy.max_weight)
            self.weight = np.where(self.heard & exposed, allowed, self.weight)

    def _open_canaries(self, now: float) -> None:
        """The first traffic for the candidates whose answers agree."""
        if self.shadow is None or self.policy.shadow is None:
            return
        enough = self.shadow.state.pairs >= self.policy.shadow.min_pairs
        opens = self.shadow.compares & enough & judge.passed([self.shadow.log_safe])
        self.shadow.compares &= ~opens
        self.opened = np.where(opens, now, self.opened)
        self.weight = np.where(opens, self.first_weight, self.weight)
