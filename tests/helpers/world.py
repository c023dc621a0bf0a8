"""A small simulated world around `decide`: users who send requests, pods that start, a Prometheus that counts.

    world = World()
    world.ask("v1")            # the user applies a spec
    world.until(phase="Stable")
    world.ask("v2", Behaviour(failing=0.05))
    world.until(phase="RolledBack")

Each look observes, decides, checks what has to hold in every world, and applies the plan as the API server would
store it. Time moves by what `look` is told, and by nothing else.
"""

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np

from headgate.api.preflight import Report
from headgate.api.revision import RevisionStatus
from headgate.api.spec import Spec
from headgate.api.status import Budget, RevisionRef, Rollout, Status
from headgate.api.stored import as_manifest
from headgate.core import phases
from headgate.core.commands import commands_of
from headgate.core.decide import decide
from headgate.core.model import (
    BaselineRate,
    Command,
    Defaults,
    Drift,
    Metrics,
    MetricsUnavailable,
    NewSamples,
    NoNewSamples,
    Observation,
    Plan,
    Problem,
    Reading,
    RevisionView,
    Workload,
)
from headgate.core.revisions import DECISIONS_KEPT
from headgate.core.signals import rate, user_signals
from headgate.core.signals.errors import ERRORS
from headgate.core.signals.predictions import PredictionBlock
from headgate.core.signals.signal import PairBlock, SlowAnswers
from headgate.core.statistics.rates import AttemptBlock
from headgate.core.user_queries import Asked
from told import compared, opening, paired

START = 1_800_000_000.0
DEFAULTS = Defaults("registry.example/serving:1", "registry.example/envoy:1")
DIGEST = "sha256:" + "ab" * 32
LAYOUT = "0123456789ab"
BLIND = "Prometheus can't be asked."


@dataclass(frozen=True)
class Behaviour:
    """What a version does once its pods run."""

    failing: float = 0.0
    refusing: float = 0.0
    """Share of the requests that it refuses, or answers invalidly, where the other version answers."""
    slow: float = 0.0
    """Share of its answers that are slow."""
    agreeing: float = 1.0
    """Share of the copies that it answers as stable does."""
    silent: float = 0.0
    """Share of the copies that it does not answer."""
    positive: float | None = 0.1
    """Share of the answers that are positive; None: the artifact has no profile."""
    cancelled: float = 0.01
    """Share of its answers of which the user's own counters say that they were bad."""
    backlog: float = 0.5
    """The user's own gauge."""
    starts_in: float | None = 3.0
    """Seconds until its pods are ready; None: never."""
    problem: Problem | None = None
    """What its pods say while they are not ready."""


@dataclass
class World:
    """One ModelDeployment `fraud` and everything around it."""

    requests: float = 500.0
    """Per second."""
    seed: int = 1
    rollout: dict[str, Any] = field(default_factory=dict)
    """`spec.rollout` of every version that is asked for."""
    spec: dict[str, Any] = field(default_factory=dict)
    status: Status = field(default_factory=Status)
    revisions: dict[str, RevisionView] = field(default_factory=dict)
    now: float = START
    blind: bool = False
    quiet: bool = False
    unread: bool = False
    """Whether Prometheus has more than what is read at a time, as after an outage."""
    passed_over: bool = False
    """Whether a part of it was too much to be read."""
    crashed: frozenset[str] = frozenset()
    some_ready: bool = False
    """Whether of each version's two pods one is ready."""
    preflight: bool = False
    """Whether a version is looked at before it gets traffic; `report` is what is found then."""
    report: Report | Problem | None = field(default_factory=Report)
    drift: Drift | None = None
    trouble: str = ""
    """Why the user's own queries have no answer, if so."""
    anew: bool = False
    """Whether the user's own counters begin anew at each look."""
    edge: float | None = 200.0
    """Milliseconds: the routers' edge nearest to the threshold of slow answers."""
    before: BaselineRate = field(default_factory=BaselineRate)
    """What is known of stable when a canary opens."""
    interval: float = 1.0
    """Seconds between two scrapes."""
    router: Workload = field(default_factory=lambda: Workload(2, 2, True, available=2))
    routers_follow: bool = True
    """Whether the routers say that they have left the revisions that retire."""
    commands: tuple[Command, ...] = ()
    """What people ask for besides the spec."""
    generation: int = 0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._started: dict[str, float] = {}

    def ask(self, version: str, behaviour: Behaviour | None = None, **spec: Any) -> Self:
        """The user asks for a version; keywords are further parts of the spec."""
        self.behaviours[version] = behaviour or self.behaviours.get(version, Behaviour())
        model = {"version": version, "uri": f"pvc://models/fraud/{version}"}
        rollout = {"preflight": {"enabled": self.preflight}, **self.rollout}
        self.spec = {"model": model, "rollout": rollout, **spec}
        self.generation += 1
        return self

    def look(self, seconds: float = 1.0) -> Plan:
        """One look of the operator, `seconds` after the one before."""
        self.now += seconds
        o = self.observe()
        plan = decide(o, self.now)
        check(o, plan)
        if len(self.plans) % 5 == 0:
            assert decide(o, self.now) == plan, "the same look gives the same plan"
        self._apply(plan)
        return plan

    def looks(self, count: int, seconds: float = 1.0) -> list[Any]:
        """Some looks; their plans."""
        return [self.look(seconds) for _ in range(count)]

    def until(self, phase: str, limit: int = 900, seconds: float = 1.0) -> Plan:
        """Look until the rollout is in `phase`; the last plan."""
        for _ in range(limit):
            plan = self.look(seconds)
            if plan.status.phase == phase:
                return plan
        raise AssertionError(f"never {phase}: {self.status.phase}, {self.status.rollout}")

    def settled(self, phase: str, **more: Any) -> Self:
        """Look until `phase`, and on until nobody has to finish anything."""
        self.until(phase, **more)
        while self.status.retiring:
            self.look(2.0)
        return self

    def observe(self) -> Observation:
        """What the operator sees now."""
        spec = self._parsed
        return Observation(
            namespace="models",
            name="fraud",
            uid="0d9fe0e5-0000-4000-8000-000000000000",
            generation=self.generation,
            spec=spec,
            status=self.status,
            defaults=DEFAULTS,
            commands=(*self.commands, *commands_of("fraud", spec)),
            revisions=dict(self.revisions),
            workloads={name: self._workload(name) for name in self._started},
            router=self.router,
            preflight=self.report,
            metrics=self._metrics(),
            drift=self.drift,
            released=frozenset(r.revision for r in self.status.retiring) if self.routers_follow else frozenset(),
        )

    @property
    def _parsed(self) -> Spec:
        return _parsed(json.dumps(self.spec))

    @property
    def weight(self) -> float | None:
        """The candidate's weight."""
        return self.status.candidateWeight

    @property
    def conditions(self) -> dict[str, Any]:
        """Conditions by type."""
        return {c.type: c for c in self.status.conditions}

    def version_of(self, revision: str) -> str:
        """The version that a revision serves."""
        return self.revisions[revision].spec.model.version

    def routed(self) -> dict[str, Any]:
        """Version -> weight."""
        return {self.version_of(t.revision): t.weight for t in self.status.traffic}

    def running(self) -> set[Any]:
        """Versions that have pods."""
        return {self.version_of(name) for name in self._started}

    def _apply(self, plan: Plan) -> None:
        self.plans.append(plan)
        self.status = stored(plan.status)
        self.revisions = {name: self._stored(v) for name, v in plan.revisions.items() if name not in plan.forget}
        self._started = {name: self._started.get(name, self.now) for name in plan.replicas if name in self.revisions}

    def _stored(self, view: RevisionView) -> RevisionView:
        status = RevisionStatus.read(as_manifest(view.status))
        return replace(view, status=status, created=view.created or f"{self.now:.0f}")

    def _workload(self, name: str) -> Workload:
        behaviour = self.behaviours[self.version_of(name)]
        up = behaviour.starts_in is not None and self.now - self._started[name] >= behaviour.starts_in
        if name in self.crashed:
            return Workload(1, 0, False, Problem("CrashLoopBackOff", "Container runtime ended with Error.", ends=2))
        if up and self.some_ready:
            return Workload(2, 1, False, None, DIGEST)
        return Workload(1, int(up), up, None if up else behaviour.problem, DIGEST if up else None)

    def _metrics(self) -> Metrics:
        rollout, stable = self.status.rollout, self.status.stable
        starts = rollout and rollout.revision in self._started
        workload = self._workload(rollout.revision) if rollout and starts else Workload()
        reading = phases.needed_reading(self._parsed, self.status, workload)
        if rollout is None or stable is None or reading is Reading.NOTHING:
            return NoNewSamples()
        if self.blind:
            return MetricsUnavailable(BLIND)
        if self.quiet or self.now < (rollout.cursor or self.now):
            return NoNewSamples()
        gap = self.now - 1 if self.passed_over else None
        samples = self._new(reading, rollout, stable)
        if reading is not Reading.PAIRS:
            asked = {each.name: self._asked(each, rollout, stable, samples) for each in user_signals(self._parsed)}
            samples = replace(samples, blocks={**samples.blocks, **asked})
        return replace(samples, caught_up=not (self.unread or self.passed_over), uncounted_since=gap)

    def _new(self, reading: Reading, rollout: Rollout, stable: RevisionRef) -> NewSamples:
        """What there is to learn in this phase."""
        since = rollout.cursor or self.now
        if reading is Reading.PAIRS:
            return paired(self.now, self._pairs(rollout.revision, self.now - since))
        if reading is Reading.OPENING:
            edge = self.edge if "latency" in self.spec["rollout"] else None
            expected = self._profiled(stable.revision)
            return opening(self.now, self.before, self.before, edge, expected, self.interval)
        return self._counted(rollout.revision, stable.revision, self.now - since)

    def _asked(self, signal: Any, rollout: Rollout, stable: RevisionRef, samples: NewSamples) -> Asked:
        """What the user's own queries give: their counters go on from where they are counted."""
        if self.trouble:
            return Asked(self.now, trouble=self.trouble)
        revisions = (rollout.revision, stable.revision)
        behaviours = [self.behaviours[self.version_of(each)] for each in revisions]
        if not signal.about_stable:
            return Asked(self.now, (behaviours[0].backlog,))
        random = np.random.default_rng([self.seed, int(self.now * 10), 2])
        block = samples.blocks["errors"]
        state = signal.state_in(rollout.evidence)
        before = [0.0] * 4 if self.anew or state is None or not state.counters else state.counters
        now = list[float]()
        for n, behaviour in zip((block.candidate_attempts, block.stable_attempts), behaviours, strict=True):
            now += [float(random.binomial(n, behaviour.cancelled)), float(n)]
        total = [a + b for a, b in zip(before, now, strict=True)]
        return Asked(self.now, (total[0], total[1]), (total[2], total[3]))

    def _slow(self, answers: AttemptBlock) -> SlowAnswers | None:
        """Slow answers, where the spec asks for them and the routers have timed any."""
        return SlowAnswers(self.edge, answers) if "latency" in self.spec["rollout"] and self.edge else None

    def _pairs(self, candidate: str, seconds: float) -> PairBlock:
        """Copies of as many requests as the routers were told."""
        random = np.random.default_rng([self.seed, int(self.now * 10), 1])
        behaviour = self.behaviours[self.version_of(candidate)]
        pairs = int(random.poisson(self.requests * seconds * (self.status.traffic[-1].shadow or 0) / 100))
        failed = int(random.binomial(pairs, behaviour.silent))
        return PairBlock(pairs, int(random.binomial(pairs - failed, behaviour.agreeing)), failed)

    def _profiled(self, revision: str) -> bool:
        return self.behaviours[self.version_of(revision)].positive is not None

    def _counted(self, candidate: str, stable: str, seconds: float) -> NewSamples:
        """A block of traffic, split as the routers were told."""
        random = np.random.default_rng([self.seed, int(self.now * 10)])
        shares = {t.role: t.weight / 100 for t in self.status.traffic}
        total = int(random.poisson(self.requests * seconds))
        n_c = int(random.binomial(total, shares.get("candidate", 0.0)))
        attempts, answers, refused, timed = {}, {}, dict[str, int](), []
        for name, n in ((candidate, n_c), (stable, total - n_c)):
            behaviour = self.behaviours[self.version_of(name)]
            refused[name] = int(random.binomial(n, behaviour.refusing))
            failed = refused[name] + int(random.binomial(n - refused[name], behaviour.failing))
            positive = int(random.binomial(n - failed, behaviour.positive or 0.0))
            attempts[name] = (n, failed)
            timed += [n - failed, int(random.binomial(n - failed, behaviour.slow))]
            answers[name] = {"c00 no": n - failed - positive, "c01 yes": positive}
        blocks: tuple[PredictionBlock, ...] = ()
        if self._profiled(candidate) and self._profiled(stable):
            blocks = (PredictionBlock("label", LAYOUT, answers[candidate], answers[stable]),)
        block = AttemptBlock(*attempts[candidate], *attempts[stable], refused[candidate])
        slow = self._slow(AttemptBlock(*timed))
        return compared(self.now, block, blocks, self._profiled(stable), slow)


@lru_cache(maxsize=64)
def _parsed(spec: str) -> Spec:
    return Spec.model_validate_json(spec)


def rollout_of(status: Status) -> Rollout:
    """The rollout that there has to be."""
    assert status.rollout is not None
    return status.rollout


def stable_of(status: Status) -> RevisionRef:
    """The stable version that there has to be."""
    assert status.stable is not None
    return status.stable


def candidate_of(status: Status) -> RevisionRef:
    """The candidate that there has to be."""
    assert status.candidate is not None
    return status.candidate


def budget_of(status: Status) -> Budget:
    """The risk budget that there has to be."""
    budget = rollout_of(status).budget
    assert budget is not None
    return budget


def stored(status: Status) -> Status:
    """The status after a round trip through an API server, which sorts the keys of maps."""
    return Status.read(json.loads(json.dumps(as_manifest(status), sort_keys=True)))


def check(o: Observation, plan: Plan) -> None:
    """What holds for every plan in every world."""
    status = plan.status
    check_traffic(status, plan)
    if status.rollout is not None and isinstance(o.metrics, MetricsUnavailable):
        check_blind(o, status)
    assert {c.type for c in status.conditions} == {
        "Ready",
        "Reconciling",
        "Stalled",
        "RolloutHealthy",
        "DriftDetected",
        "PodsReleased",
        "ForeignMetrics",
    }
    assert all(c.reason for c in status.conditions)
    check_conditions(status)
    assert set(o.revisions) <= set(plan.revisions), "a record is never dropped, only forgotten"
    for name, before in o.revisions.items():
        after = plan.revisions[name]
        assert after.spec == before.spec, "a revision is immutable"
        gone = after.status.earlierDecisions - before.status.earlierDecisions
        assert not gone or len(after.status.decisions) == DECISIONS_KEPT, "the oldest make room for new ones"
        kept = before.status.decisions[gone:]
        assert after.status.decisions[: len(kept)] == kept
    assert not set(plan.forget) & set(plan.replicas)
    for entry in status.history:
        if entry not in o.status.history and entry.decision == "Promoted" and entry.reason == "EvidencePassed":
            errors = rollout_of(status).evidence.of("errors")
            assert errors
            assert errors.verdict == "Pass", "nothing is promoted without evidence"
    check_user_signals(o, status)
    assert plan.requeue_after


def check_user_signals(o: Observation, status: Status) -> None:
    """What a required query can't say holds: it promotes nobody, rolls back nobody, and no weight grows by the rest."""
    if not isinstance(o.metrics, NewSamples) or o.status.phase != "Canary" or o.status.rollout is None:
        return
    known = {each.name for each in o.status.rollout.evidence.signals if each.state}
    blocks = {each.name: each.block_in(o.metrics) for each in user_signals(o.spec) if each.name in known}
    required = {each.name for each in user_signals(o.spec) if not each.advisory}
    decided = [h for h in status.history if h not in o.status.history]
    errors = ERRORS.state_in(status.rollout.evidence) if status.rollout else None
    if errors is not None and rate.answers_nothing(errors):  # then nothing waits for stable
        return
    if any(block is not None and block.trouble for name, block in blocks.items() if name in required):
        assert all(h.decision != "Promoted" for h in decided), "a signal that can't be read passes nobody"
        assert all(not h.reason.startswith("Signal") for h in decided), "and ends nothing by itself"
        same = status.rollout is not None and status.rollout.revision == o.status.rollout.revision
        assert not same or (status.candidateWeight or 0) <= (o.status.candidateWeight or 0), "no weight grows"
    elif status.rollout and any(h.reason == "EvidencePassed" for h in decided):
        entries = [status.rollout.evidence.of(name) for name in required & known]
        assert all(entry and entry.verdict == "Pass" for entry in entries), "each that is required has passed"


def check_conditions(status: Status) -> None:
    """What tools that know only the conventions conclude from: kstatus, `kubectl wait`."""
    told = {c.type: c for c in status.conditions}
    assert (told["Stalled"].status, told["Reconciling"].status) != ("True", "True"), "which of them comes first, counts"
    if status.phase == "RolledBack":
        assert told["Stalled"].status == "True"
        assert told["Stalled"].reason == rollout_of(status).reason
    if status.phase == "Stable":
        assert status.stable


def check_traffic(status: Status, plan: Plan) -> None:
    """The weights add up, and nobody is routed to pods that may go."""
    traffic = status.traffic
    if traffic:
        assert round(sum(t.weight for t in traffic), 6) == 100
        assert all(round(t.weight, 1) == t.weight for t in traffic)
    assert all(t.weight == 0 and 0.1 <= t.shadow <= 100 for t in traffic if t.shadow is not None)
    assert [t.shadow is not None for t in traffic] == [
        t.role == "candidate" and status.phase == "Shadow" for t in traffic
    ]
    engines = {t.revision: plan.revisions[t.revision].spec.runtime.engine for t in traffic}
    assert all((t.sample is None) == (engines[t.revision] == "onnxruntime") for t in traffic)
    assert [t.role for t in traffic] in ([], ["stable"], ["stable", "candidate"])
    assert len({t.revision for t in traffic}) == len(traffic)
    assert {t.revision for t in traffic} <= set(plan.replicas) <= set(plan.revisions)
    assert {r.revision for r in (status.stable, status.candidate) if r} <= set(plan.replicas)
    assert not {r.revision for r in status.retiring} & {t.revision for t in traffic}
    if status.stable:
        assert traffic, "a stable version is always routed to"


def check_blind(o: Observation, status: Status) -> None:
    """Without metrics nothing is opened, promoted or rolled back, but for pods that crash and what a preflight says."""
    decided = [h for h in status.history if h not in o.status.history]
    assert all(h.decision not in ("Promoted", "Live") for h in decided)
    needs_none = ("CandidateCrashing", "NeverReady", "PreflightFailed", "PreflightUnknown", "DeadlineExceeded")
    assert all(h.reason in needs_none for h in decided if h.decision == "RolledBack")
    if not decided:
        assert status.traffic == o.status.traffic or rollout_of(status).revision != rollout_of(o.status).revision
