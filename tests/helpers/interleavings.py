"""Rollouts in which anything may happen at any time: specs, faults, lost writes, records that go, clocks that jump.

    walk = Walk(seed)
    for _ in range(1000):
        walk.step()
    walk.ends()

Each step does something at random, and then the operator looks. `world.check` holds for every plan by itself; what has
to hold over time is here.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from headgate.api.preflight import Check, Report
from headgate.core.decide import decide
from headgate.core.model import BaselineRate, NewSamples, Observation, Plan, Problem, Workload
from headgate.core.signals.errors import ERRORS
from world import Behaviour, World, check

VERSIONS = ("v1", "v2", "v3", "v4")
GOOD = Behaviour()
BEHAVIOURS = (
    *(GOOD,) * 4,
    Behaviour(failing=0.1),
    Behaviour(failing=1.0),
    Behaviour(refusing=0.3),
    Behaviour(slow=0.5),
    Behaviour(positive=0.6),
    Behaviour(positive=None),
    Behaviour(agreeing=0.3),
    Behaviour(silent=0.5),
    Behaviour(cancelled=0.2),
    Behaviour(backlog=9.0),
    Behaviour(starts_in=None),
    Behaviour(starts_in=None, problem=Problem("ModelInvalid", "It is no model.")),
    Behaviour(starts_in=100.0),
)
CANCELLED = {"name": "cancelled", "events": "cancelled_total", "trials": "bookings_total", "margin": "5%"}
BACKLOG = {"name": "backlog", "query": "backlog", "max": 1, "for": "10s"}
ROLLOUTS: tuple[dict[str, Any], ...] = (
    *({},) * 4,
    {"shadow": {"enabled": False}},
    {"shadow": {"minAgreement": "95%", "minPairs": 100}},
    {"latency": {"threshold": "200ms"}},
    {"steps": [{"weight": 10, "hold": "20s"}, {"weight": 50, "hold": "20s"}]},
    {"riskBudget": 2},
    {"soak": "0s", "preflight": {"enabled": False}},
    {"deadline": "5m", "margins": {"errors": "2%"}},
    {"deadline": "5m", "onDeadline": "RollBack"},
    {"deadline": "5m", "onDeadline": "Promote"},
    {"signals": [CANCELLED, BACKLOG]},
    {"signals": [CANCELLED | {"required": False}, BACKLOG | {"required": False}], "shadow": {"enabled": False}},
)
PASSED = Report(checks=[Check(name="schema", outcome="Passed")])
REFUSED = Report(checks=[Check(name="schema", outcome="Failed", message="The input x is gone.")])
PROBLEM = Problem("PreflightUnknown", "Its pod does not start.")
REPORTS = (PASSED, PASSED, PASSED, REFUSED, PROBLEM, None)
WAITS = (0.0, 0.3, 1.0, 1.0, 1.0, 1.0, 2.0, 5.0, 30.0, 700.0, 8000.0, -45.0, -4000.0)
FAULTS = ("blind", "quiet", "unread", "passed_over")
ROUTERS = Workload(2, 2, True, available=2)

HARM_ACTED_ON_WITHIN = 2
"""Looks until a candidate whose pods are seen to crash has no traffic any more."""


@dataclass
class Walk:
    """One world, and what is remembered of it."""

    seed: int
    steps: int = 0
    told: list[str] = field(default_factory=list)
    """What was done, for whoever has to find out."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.world = World(
            requests=self._random.choice((0.05, 5.0, 500.0)), seed=self.seed, preflight=True, report=PASSED
        )
        self.world.before = BaselineRate(5000, 20, 1.0, 1800.0) if self._random.random() < 0.7 else BaselineRate()
        self._rejected: dict[str, int] = {}
        self._given: dict[tuple[str, str], int] = {}
        self._crashing = 0
        self._ask("v1", GOOD)

    def step(self) -> None:
        """Something happens, time passes, and the operator looks."""
        idle = self.world.status.phase in ("Stable", "RolledBack")
        if idle and self._random.random() < 0.1:
            self._ask_for_any()
        elif self._random.random() < 0.15:
            self._random.choice((self._ask_for_any, self._break, self._break, self._mend, self._lose, self._change))()
        self._look(self._random.choice(WAITS))

    def ends(self) -> None:
        """With everything mended, a good version that is asked for gets through, wherever the world has come to."""
        self._mend()
        world = self.world
        world.requests, world.report = 500.0, PASSED
        for version, behaviour in world.behaviours.items():
            if behaviour.positive is not None:  # what stable predicts is what a good version is compared with
                world.behaviours[version] = replace(behaviour, positive=GOOD.positive)
        world.rollout = {"soak": "1m"}
        self._ask("v-last", GOOD)
        for _ in range(2000):
            if world.status.phase == "Stable" and world.routed() == {"v-last": 100}:
                return
            self._look(2.0)
        raise AssertionError(
            f"v-last never got through: {world.status.phase}, {world.status.rollout}; {self.told[-40:]}"
        )

    def _look(self, seconds: float) -> None:
        self.steps += 1
        world = self.world
        world.now += seconds
        o = world.observe()
        try:
            plan = decide(o, world.now)
            check(o, plan)
            self._check(o, plan)
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}, step {self.steps}: {error}\n{self.told[-40:]}") from error
        world._apply(plan)
        world.plans.clear()
        self._remember(o, plan)

    def _check(self, o: Observation, plan: Plan) -> None:
        before, status = o.status, plan.status
        weights = {t.revision: t.weight for t in status.traffic}
        for revision, weight in weights.items():
            had = next((t.weight for t in before.traffic if t.revision == revision), 0.0)
            ready = o.workloads.get(revision, Workload()).rolled_out
            is_stable = status.stable is not None and status.stable.revision == revision
            first = status.stable is None  # there is nobody else to send requests to
            assert weight <= had or ready or is_stable or first, f"more traffic for {revision}, which is not ready"
            asked_again = self._rejected.get(revision, -1) != o.generation
            assert not weight or is_stable or asked_again, f"{revision} was rejected, and gets traffic"
        for entry in status.history:
            if entry not in before.history and entry.decision == "Promoted" and status.rollout:
                verdicts = {each.name: each.verdict for each in status.rollout.evidence.signals}
                assert "Fail" not in verdicts.values(), verdicts
        if status.rollout:
            whose = (status.rollout.revision, status.rollout.startedAt)
            given = self._given.get(whose, 0) + _attempts(o)
            assert status.rollout.candidateRequests <= given, "no request is counted twice"
        candidate = status.candidate.revision if status.candidate else ""
        crashing = candidate in self.world.crashed and weights.get(candidate, 0) > 0
        self._crashing = self._crashing + 1 if crashing else 0
        assert self._crashing < HARM_ACTED_ON_WITHIN, f"{candidate} crashes, and keeps its traffic"
        if not weights:
            assert status.stable is None, "stable has all the traffic where nobody else has it"

    def _remember(self, o: Observation, plan: Plan) -> None:
        status = plan.status
        if status.rollout:
            whose = (status.rollout.revision, status.rollout.startedAt)
            self._given[whose] = self._given.get(whose, 0) + _attempts(o)
            if status.phase in ("RollingBack", "RolledBack"):
                self._rejected[status.rollout.revision] = o.generation

    def _ask(self, version: str, behaviour: Behaviour) -> None:
        self.told.append(f"{self.steps}: asks for {version}, {self.world.rollout}")
        self.world.ask(version, behaviour)

    def _ask_for_any(self) -> None:
        self.world.rollout = dict(self._random.choice(ROLLOUTS))
        self.world.report = self._random.choice(REPORTS)
        self._ask(self._random.choice(VERSIONS), self._random.choice(BEHAVIOURS))

    def _break(self) -> None:
        world, kind = (
            self.world,
            self._random.choice((*FAULTS, "anew", "trouble", "routers_follow", "crashed", "router", "report", "edge")),
        )
        self.told.append(f"{self.steps}: {kind}")
        if kind in FAULTS:
            setattr(world, kind, True)
        elif kind == "routers_follow":
            world.routers_follow = False
        elif kind == "crashed" and world._started:
            world.crashed |= {self._random.choice(sorted(world._started))}
        elif kind == "router":
            world.router = Workload(2, 0, False)
        elif kind == "report":
            world.report = None
        elif kind == "edge":
            world.edge = None
        elif kind == "anew":
            world.anew = True
        elif kind == "trouble":
            world.trouble = "it has no series"

    def _mend(self) -> None:
        world = self.world
        self.told.append(f"{self.steps}: all is mended")
        for kind in FAULTS:
            setattr(world, kind, False)
        world.routers_follow, world.crashed, world.router = True, frozenset(), ROUTERS
        world.edge, world.anew, world.trouble = 200.0, False, ""
        if world.report in (None, PROBLEM):
            world.report = PASSED

    def _lose(self) -> None:
        """The operator decides, and ends before it has written anything, or after half of it."""
        self.told.append(f"{self.steps}: a write is lost")
        world = self.world
        plan = decide(world.observe(), world.now)
        if self._random.random() < 0.5:
            kept = replace(plan, status=world.status, replicas={**plan.replicas, **dict.fromkeys(world._started)})
            world._apply(replace(kept, forget=()))
            world.plans.clear()

    def _change(self) -> None:
        """A version begins to behave otherwise."""
        version = self._random.choice(sorted(self.world.behaviours))
        self.told.append(f"{self.steps}: {version} changes")
        self.world.behaviours[version] = replace(self._random.choice(BEHAVIOURS), starts_in=3.0)


def _attempts(o: Observation) -> int:
    """Of the candidate, in what is observed."""
    block = ERRORS.block_in(o.metrics) if isinstance(o.metrics, NewSamples) else None
    return block.candidate_attempts if block else 0
