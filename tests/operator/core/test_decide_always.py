"""What holds in every world, however users, pods and metrics behave. `world.check` looks at every single plan."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from headgate.core.model import Problem
from world import Behaviour, World

VERSIONS = ("v1", "v2", "v3")

behaviours = st.builds(
    Behaviour,
    failing=st.sampled_from([0.0, 0.0, 0.004, 0.05, 1.0]),
    slow=st.sampled_from([0.0, 0.0, 0.3]),
    agreeing=st.sampled_from([1.0, 1.0, 0.98, 0.6]),
    silent=st.sampled_from([0.0, 0.0, 0.5]),
    positive=st.sampled_from([0.1, 0.1, 0.12, 0.5, None]),
    starts_in=st.sampled_from([0.0, 3.0, 3.0, None]),
    problem=st.sampled_from([None, Problem("DigestMismatch", "it is another artifact")]),
)
rollouts = st.fixed_dictionaries(
    {},
    optional={
        "riskBudget": st.sampled_from([1, 20, 1000]),
        "maxWeight": st.sampled_from([0.01, 0.55, 33.33, 50, 100]),
        "steps": st.sampled_from([[], [{"weight": 12.25, "hold": "2s"}, {"weight": 33.35, "hold": "5s"}]]),
        "soak": st.sampled_from(["0s", "10s", "10m"]),
        "deadline": st.sampled_from(["10s", "2h"]),
        "latency": st.just({"threshold": "200ms"}),
        "shadow": st.fixed_dictionaries(
            {}, optional={"fraction": st.sampled_from(["0.01%", "10%", "100%"]), "minPairs": st.sampled_from([1, 500])}
        ),
        "alpha": st.sampled_from([0.001, 0.01, 0.2]),
    },
)


class AnyWorld(RuleBasedStateMachine):
    """Things happen in any order; the operator looks in between."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World().ask("v1")
        self.was_stable: set[Any] = set()

    @rule(version=st.sampled_from(VERSIONS), behaviour=behaviours, rollout=rollouts)
    def ask(self, version: Any, behaviour: Any, rollout: Any) -> None:
        self.world.rollout = rollout
        self.world.ask(version, behaviour)

    @rule(blind=st.booleans(), quiet=st.sampled_from([False, False, True]))
    def measure(self, blind: Any, quiet: Any) -> None:
        self.world.blind, self.world.quiet = blind, quiet

    @rule(crashes=st.booleans())
    def crash(self, crashes: Any) -> None:
        candidate = self.world.status.candidate
        self.world.crashed = frozenset({candidate.revision}) if crashes and candidate else frozenset()

    @rule(requests=st.sampled_from([0.0, 1.0, 50.0, 5000.0]))
    def send(self, requests: Any) -> None:
        self.world.requests = requests

    @rule(count=st.integers(1, 12), seconds=st.sampled_from([0.0, 0.3, 1.0, 1.0, 3.0, 30.0, 700.0]))
    def look(self, count: Any, seconds: Any) -> None:
        self.world.looks(count, seconds)

    @invariant()
    def a_live_model_stays_live(self) -> None:
        """Once a version is stable, all traffic goes to it, to what replaces it, or to both."""
        status = self.world.status
        if status.stable:
            known = {r.revision for r in (status.stable, status.candidate) if r}
            assert {t.revision for t in status.traffic} <= known
            assert status.traffic[0].revision == status.stable.revision

    @invariant()
    def only_what_was_decided_changes_stable(self) -> None:
        status = self.world.status
        if status.stable and status.stable.revision not in self.was_stable:
            kinds = {h.decision for h in status.history if h.revision == status.stable.revision}
            assert kinds & {"Live", "Promoted"}
            self.was_stable.add(status.stable.revision)

    @invariant()
    def whoever_is_routed_to_has_pods(self) -> None:
        assert {t.revision for t in self.world.status.traffic} <= set(self.world._started)

    @invariant()
    def every_decision_is_on_the_record_of_its_revision(self) -> None:
        for entry in self.world.status.history:
            view = self.world.revisions.get(entry.revision)
            if view:
                assert (entry.time, entry.decision) in {(d.time, d.decision) for d in view.status.decisions}


def test_it_holds_in_every_world() -> None:
    many = settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(AnyWorld, settings=many)
