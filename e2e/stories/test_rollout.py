"""Story 1: a good version is promoted, two bad ones are taken out, and clients notice nothing of it."""

from __future__ import annotations

from dataclasses import replace

from stories.clients import Clients
from stories.installation import Headgate
from stories.models import GROUP, Model, identities, merged
from stories.seen import Seen, counts

MOST = {"v3": 150, "v4": 1500}
"""Attempts that a bad version may get."""

MARGINS = {"errors": "0.5%", "predictions": "10%"}

# v3 fails on 6 % of the rows. The errors alone show that after about 80 attempts, and one time in four not after 150:
# what a rollout may cost is what bounds it.
CAREFUL = {"margins": MARGINS, "riskBudget": 2}


def test_a_good_version_is_promoted_and_bad_ones_are_rolled_back(headgate: Headgate, namespace: str) -> None:
    models = headgate.world.artifact
    census = headgate.model(namespace, runtime={"replicas": 2}, rollout={"margins": MARGINS})

    census.ask_for(models("v1"))
    live = census.until_stable("v1")
    assert list(live.weights.values()) == [100.0]
    clients = Clients.of(census)
    routers = identities(census.pods("router"))
    assert len(routers) == 2

    census.ask_for(models("v2"))
    canary = census.until_canary("v2")
    serving = identities(census.pods("runtime", canary.revision_of("v2")))
    promoted = census.until_stable("v2", seconds=240)
    assert promoted.decisions[-1] == ("v2", "Promoted", "EvidencePassed")
    assert len(serving) == 2
    assert identities(census.pods("runtime", promoted.revision_of("v2"))) == serving, "the same pods, never restarted"
    assert identities(census.pods("router")) == routers, "and the routers did not notice"

    replace(census, spec=merged(census.spec, {"rollout": CAREFUL})).ask_for(models("v3"))
    failing = census.until(lambda seen: seen.was_rolled_back("v3"), 300, "v3 is rolled back")
    assert failing.decisions[-1][:2] == ("v3", "RolledBack")
    assert failing.decisions[-1][2] in ("ErrorsHigher", "RiskBudgetSpent")
    assert failing.weights == {promoted.revision_of("v2"): 100.0}
    assert failing.condition("Ready").reason == "RolledBack"

    census.ask_for(models("v4"))
    shifted = census.until(lambda seen: seen.was_rolled_back("v4"), 200, "v4 is rolled back")
    assert shifted.decisions[-1] == ("v4", "RolledBack", "PredictionsShifted")
    assert shifted.weights == {promoted.revision_of("v2"): 100.0}

    assert identities(census.pods("router")) == routers
    attempts = headgate.attempts(census)
    for version, most in MOST.items():
        had = attempts[shifted.revision_of(version)]
        print(f"{version} had {had} attempts")
        assert 0 < had <= most
    clients.saw_no_failure()

    applying_it_again_changes_nothing(census, shifted)
    columns_show_it(census)
    description_tells_it(census)
    revisions_record_it(census)
    spec_was_left_alone(census)


def applying_it_again_changes_nothing(census: Model, before: Seen) -> None:
    """What was rolled back is not tried again."""
    census.ask_for(census.world.artifact("v4"))
    again = census.look()
    assert again.raw["metadata"]["generation"] == before.raw["metadata"]["generation"]
    assert (again.phase, again.weights, again.decisions) == (before.phase, before.weights, before.decisions)


def columns_show_it(census: Model) -> None:
    """`kubectl get modeldeployment`."""
    table = census.world.cluster.kubectl("get", "mdep", f"--namespace={census.namespace}").splitlines()
    titles, row = table[0].split(), table[1].split()
    assert titles == ["NAME", "READY", "PHASE", "STABLE", "CANDIDATE", "WEIGHT", "AGE"]
    assert row[:4] == ["census", "False", "RolledBack", "v2"]


def description_tells_it(census: Model) -> None:
    """`kubectl describe modeldeployment`: conditions and events."""
    text = census.world.cluster.kubectl("describe", "mdep", census.name, f"--namespace={census.namespace}")
    for condition in ("Ready", "Reconciling", "Stalled", "RolloutHealthy", "DriftDetected", "PodsReleased"):
        assert condition in text
    decisions = ["Live", "Promoted", "RolledBack", "RolledBack"]
    events = census.events()
    assert [reason for _, reason in events if reason in decisions] == decisions
    assert [reason for _, reason in events].count("CanaryStarted") == 3
    assert events.count(("Warning", "RolledBack")) == 2
    for told in ("v2: Not worse than stable", "v3: ", "v4: The predictions differ"):
        assert told in text


def revisions_record_it(census: Model) -> None:
    """`kubectl get modelrevisions -o yaml`: each decision with its evidence."""
    states = {"v1": "Retired", "v2": "Stable", "v3": "RolledBack", "v4": "RolledBack"}
    expected = {"v1": "Live", "v2": "Promoted", "v3": "RolledBack", "v4": "RolledBack"}
    for version, decision in expected.items():
        record = census.record_of(version)
        (entry,) = record["status"]["decisions"]
        assert (entry["decision"], record["status"]["state"]) == (decision, states[version])
        assert record["status"]["digest"] == census.world.digests[version]
        if version != "v1":
            evidence = entry["evidence"]
            assert entry["candidateRequests"] == counts(evidence, "errors")["candidateAttempts"] > 0
            shown = evidence["logHarm"] >= evidence["threshold"]
            assert shown == (decision == "RolledBack" and entry["reason"] != "RiskBudgetSpent")


def spec_was_left_alone(census: Model) -> None:
    """Who wrote what: Headgate the status, and nothing else."""
    path = f"{GROUP}/namespaces/{census.namespace}/modeldeployments/{census.name}"
    fields = census.world.api.get(path)["metadata"]["managedFields"]
    assert {entry.get("subresource") for entry in fields if entry["manager"] == "headgate"} == {"status"}
