"""A rollout with the signal that was added."""

import json

from headgate.api.generate import crd_files
from headgate.api.spec import Spec
from headgate.core.dataplane import Read
from headgate.core.dataplane.envoy.samples import EnvoySamples
from headgate.core.model import Reading
from headgate.core.readings import new_samples
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Increment
from headgate.core.statistics.rates import AttemptBlock
from headgate.edges.telemetry import Telemetry
from headgate.simulate.policy import policy_of
from headgate.simulate.rollout import simulate
from headgate.simulate.summary import summarise
from headgate.simulate.world import World
from told import signals
from world import Behaviour
from world import World as AnyWorld

MODEL = {"version": "v1", "uri": "pvc://models/fraud/v1"}


class Refusing(AnyWorld):
    """v3 refuses a fifth of the requests, the others nothing."""

    def _counted(self, candidate, stable, seconds):
        samples = super()._counted(candidate, stable, seconds)
        refused = 0.2 if self.version_of(candidate) == "v3" else 0.0
        counted = samples.blocks["errors"]
        n_c, n_s = counted.candidate_attempts, counted.stable_attempts
        samples.blocks["refusals"] = AttemptBlock(n_c, int(n_c * refused), n_s, 0)
        return samples


def read(codes):
    labels = {"__name__": "headgate_requests_total"}
    increments = [Increment(labels | {"headgate_revision": r, "code": c}, n) for r, c, n in codes]
    return new_samples(Read(1.0, EnvoySamples([], increments, Comparison("a", "b"))), Reading.COMPARISON, None)


block = read([("a", "200", 90), ("a", "400", 10), ("b", "200", 5), ("b", "404", 5)]).blocks["refusals"]
assert block == AttemptBlock(10, 5, 100, 10), block

world = Refusing(rollout={"refusals": "1%"}).ask("v1").settled("Stable")
world.ask("v2").until("Promoting")
assert "Not more refused by 1%" in world.status.history[0].message
world.settled("Stable")
world.ask("v3", Behaviour()).until("RollingBack")
rollout = world.status.rollout
assert rollout.reason == "RefusalsHigher", rollout
assert "requests were refused by the candidate" in rollout.message
assert signals(rollout.evidence).refusals.verdict == "Fail"
assert signals(rollout.evidence).weights["refusals"] > 0
telemetry = Telemetry()
telemetry.show("models", "fraud", world.status)
labels = {"headgate_namespace": "models", "headgate_model": "fraud", "test": "refusals"}
assert telemetry.registry.get_sample_value("headgate_evidence_log_e", labels) > 4
assert "refusals" in crd_files()["modeldeployments.yaml"]
policy = policy_of(Spec.model_validate({"model": MODEL, "rollout": {"refusals": "1%"}}))
outcome = simulate(World(0.001, 0.001, bad={"refusals": (0.01, 0.2)}), policy, 20, 1, 600.0)
summary = summarise(World(0.001, 0.001), policy, outcome)
assert summary["rolled_back_by"]["refusals"] > 0.9, summary
json.dumps(world.status.manifest())
