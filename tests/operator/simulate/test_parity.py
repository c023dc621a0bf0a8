"""The simulation and the operator decide alike: `decide` is shown the very blocks that a simulated rollout was given.

The cost so far is stored with two decimals, so a weight may differ by as much as that is of the budget that is left,
and by twice the 0.1 by which the one before did.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from headgate.core.model import BaselineRate, NewSamples, Plan
from headgate.core.signals.predictions import PredictionBlock
from headgate.core.statistics import rates, shares
from headgate.core.statistics.rates import AttemptBlock
from headgate.simulate.policy import policy_of
from headgate.simulate.rollout import BUDGET_SPENT, HARMFUL, PROMOTED, UNDECIDED, simulate
from headgate.simulate.world import SCORE_BINS
from headgate.simulate.world import World as Traffic
from told import compared
from world import LAYOUT, Behaviour, World, rollout_of

BINS = [f"n{i:02d} ({i},{i + 1}]" for i in range(SCORE_BINS)]
PHASES = {UNDECIDED: "Canary", PROMOTED: "Promoting", HARMFUL: "RollingBack", BUDGET_SPENT: "RollingBack"}
REASONS = {
    (HARMFUL, "errors"): "ErrorsHigher",
    (HARMFUL, "predictions"): "PredictionsShifted",
    (BUDGET_SPENT, "errors"): "RiskBudgetSpent",
}


@dataclass
class Replay(World):
    """A world in which the canary's blocks are given."""

    blocks: list[Any] = field(default_factory=list)
    opened: int = 0
    """How many plans there were when the canary opened."""

    def _counted(self, candidate: str, stable: str, seconds: float) -> NewSamples:
        attempts, predictions = self.blocks[len(self.plans) - self.opened]
        return compared(self.now, attempts, predictions, bool(predictions), interval=self.interval)


@pytest.fixture
def recorded(monkeypatch: Any) -> Iterator[dict[str, Any]]:
    """What one simulated rollout was given, scrape by scrape, and what was known before."""
    found: dict[str, Any] = {"blocks": [], "scores": [], "history": None}
    fold, fold_shares = rates.fold, shares.fold

    def with_rates(state: Any, block: Any, margin: Any, ceiling: Any, seconds: Any) -> Any:
        found["history"] = found["history"] or state.history
        found["blocks"].append(AttemptBlock(*(int(part[0]) for part in block)))
        return fold(state, block, margin, ceiling, seconds)

    def with_shares(state: Any, block: Any, margin: Any, seconds: Any) -> Any:
        pairs = (block.y_c, block.n_c), (block.y_s, block.n_s)
        each = (np.diff(np.hstack([np.zeros((1, 1)), y, n]))[0] for y, n in pairs)
        counts = (dict(zip(BINS, map(int, part), strict=True)) for part in each)
        found["scores"].append(PredictionBlock("score", LAYOUT, *counts))
        return fold_shares(state, block, margin, seconds)

    monkeypatch.setattr(rates, "fold", with_rates)
    monkeypatch.setattr(shares, "fold", with_shares)
    yield found
    monkeypatch.undo()


def replay(
    traffic: Any,
    recorded: dict[str, Any],
    rollout: dict[str, Any],
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    longest: float = 200.0,
) -> tuple[Any, ...]:
    """One simulated rollout and the operator's on the same blocks: outcome, course, and the plan after each block."""
    world = Replay(rollout={"shadow": {"enabled": False}, **rollout}, interval=traffic.scrape)
    behaviour = Behaviour(positive=None if traffic.prediction_shift is None else 0.1)
    world.ask("v1", behaviour).settled("Stable")
    world.ask("v2", behaviour)
    outcome = simulate(traffic, policy_of(world.observe().spec), 1, seed, longest)
    monkeypatch.undo()
    (course,) = outcome.courses
    scores: list[tuple[Any, ...]] = [(block,) for block in recorded["scores"]] or [()] * len(recorded["blocks"])
    world.blocks = list(zip(recorded["blocks"], scores, strict=True))
    trials, events, dispersion = (float(part[0]) for part in recorded["history"])
    world.before = BaselineRate(int(trials), int(events), dispersion, traffic.history)
    world.until("Canary")
    world.opened = len(world.plans)
    first = world.status.traffic[-1].weight
    plans = [world.look(traffic.scrape) for _ in course.times]
    return outcome, course, first, plans


WORLDS: dict[str, tuple[Traffic, dict[str, Any]]] = {
    "equal": (Traffic(0.005, 0.005), {}),
    "never fails": (Traffic(0.0, 0.0), {}),
    "5 %": (Traffic(0.005, 0.05), {}),
    "2 %": (Traffic(0.005, 0.02), {}),
    "half": (Traffic(0.005, 0.5), {}),
    "always fails": (Traffic(0.005, 1.0), {}),
    "no history": (Traffic(0.005, 0.05, history=0.0), {}),
    "no history, equal": (Traffic(0.005, 0.005, history=0.0), {}),
    "scrapes every five seconds": (Traffic(0.005, 0.02, scrape=5.0), {}),
    "little traffic": (Traffic(0.01, 0.1, rps=2.0), {}),
    "very little traffic, always fails": (Traffic(0.002, 1.0, rps=0.05, scrape=5.0), {}),
    "very little traffic, half": (Traffic(0.002, 0.5, rps=0.2, scrape=5.0), {}),
    "very little traffic, scores move": (Traffic(0.002, 0.002, rps=0.5, scrape=5.0, prediction_shift=0.5), {}),
    "bursts": (Traffic(0.02, 0.1, burst=5), {}),
    "missed scrapes and restarts": (Traffic(0.005, 0.05, missed_scrapes=0.3, restart_every=30.0), {}),
    "wide margin, small budget": (Traffic(0.005, 0.04), {"margins": {"errors": "5%"}, "riskBudget": 5}),
    "another alpha, another weight": (Traffic(0.01, 0.03), {"alpha": 0.1, "maxWeight": 20, "riskBudget": 100}),
    "scores stay": (Traffic(0.005, 0.005, prediction_shift=0.0), {"margins": {"predictions": "10%"}}),
    "scores move": (Traffic(0.005, 0.005, prediction_shift=0.3), {}),
    "ladder": (
        Traffic(0.0, 0.0),
        {"steps": [{"weight": 5, "hold": "10s"}, {"weight": 20, "hold": "30s"}]},
    ),
}


def left(plan: Plan) -> float:
    """Of the risk budget."""
    budget = rollout_of(plan.status).budget
    assert budget
    return max(budget.total - budget.spent - 0.005, 0.005)


@pytest.mark.parametrize("name", WORLDS)
def test_the_operator_decides_what_the_simulation_decides_on_the_same_blocks(
    name: str, recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic, rollout = WORLDS[name]
    outcome, course, first, plans = replay(traffic, recorded, rollout, 1, monkeypatch, 200.0 * traffic.scrape)
    assert first == pytest.approx(course.weights[0], abs=1e-9)
    expected = [*course.weights[1:], None]
    for plan, weight in zip(plans, expected, strict=True):
        if weight is not None:
            assert plan.status.phase == "Canary"
            assert plan.status.traffic[-1].weight == pytest.approx(weight, abs=0.2001 + weight * 0.005 / left(plan))
    decision = int(outcome.decision[0])
    last = plans[-1].status
    assert last.phase == PHASES[decision]
    if (decision, str(outcome.carrier[0])) in REASONS:
        assert last.rollout.reason == REASONS[decision, str(outcome.carrier[0])]
    evidence = last.rollout.evidence
    error = 1e-4 * len(plans) + 1e-3
    assert evidence.logHarm / np.log(10) == pytest.approx(course.evidence[-1], abs=error)
    assert last.rollout.candidateRequests == sum(block.candidate_attempts for block in recorded["blocks"])


def test_the_worlds_have_all_outcomes() -> None:
    outcomes = set()
    for name in ("equal", "5 %", "2 %", "scores move"):
        traffic, _ = WORLDS[name]
        decided = simulate(traffic, policy_of(World().ask("v1").observe().spec), 8, 1, 200.0)
        outcomes |= set(decided.decision.tolist())
    assert outcomes >= {PROMOTED, HARMFUL, BUDGET_SPENT}
