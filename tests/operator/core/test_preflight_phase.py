"""A version is looked at before it gets any traffic: the phase, the Job, and the report of its pod."""

import json
from dataclasses import replace
from typing import Any

import pytest

from headgate.api.preflight import Check, Report
from headgate.api.spec import Spec
from headgate.api.status import Rollout
from headgate.core import phases, preflight
from headgate.core.model import Problem
from headgate.core.preflight import preflight_manifests, reported
from pod_security import violations
from world import Behaviour, World, rollout_of

PASSED = Report(checks=[Check(name="schema", outcome="Passed", message="2 inputs and 1 output as before")])
RENAMED = Report(checks=[Check(name="schema", outcome="Failed", message="the input amount is gone")])
NOISY = Report(checks=[Check(name="robustness", outcome="Failed", message="8 % of the labels flip")])


def looked_at(report: Report | Problem | None = PASSED) -> World:
    """A world in which v1 is live, and versions are looked at from now on."""
    world = World(preflight=True, report=PASSED).ask("v1").settled("Stable")
    world.report = report
    return world


def events(world: World) -> list[Any]:
    return [(e.type, e.reason) for plan in world.plans for e in plan.events]


def test_the_first_version_is_looked_at_before_it_is_live() -> None:
    world = World(preflight=True, report=None).ask("v1")
    world.until("Preflight")
    assert world.routed() == {}
    world.report = PASSED
    world.until("Stable")
    assert world.routed() == {"v1": 100}
    assert events(world) == [
        ("Normal", "RolloutStarted"),
        ("Normal", "PreflightStarted"),
        ("Normal", "PreflightPassed"),
        ("Normal", "Live"),
    ]


def test_a_first_version_that_fails_gets_no_traffic_until_less_is_asked_for() -> None:
    world = World(preflight=True, report=RENAMED).ask("v1")
    world.until("Preflight")
    world.looks(20)
    assert (world.status.phase, world.routed()) == ("Preflight", {})
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "PreflightFailed")
    assert "the input amount is gone" in stalled.message
    assert "the input amount is gone" in world.conditions["Ready"].message
    world.ask("v1", rollout={"preflight": {"enabled": True}, "schemaChange": "Allowed"})
    world.until("Stable")
    assert world.routed() == {"v1": 100}


def test_a_first_version_that_fails_makes_room_for_another_one() -> None:
    world = World(preflight=True, report=RENAMED).ask("v1")
    world.until("Preflight")
    world.report = PASSED
    world.ask("v2").until("Stable")
    assert world.routed() == {"v2": 100}


def test_a_candidate_that_fails_never_has_a_user_nor_a_copy() -> None:
    world = looked_at(RENAMED)
    world.ask("v2").until("RolledBack")
    assert all(t.role == "stable" and t.weight == 100 for plan in world.plans for t in plan.status.traffic)
    rollout = rollout_of(world.status)
    assert rollout.reason == "PreflightFailed"
    assert "the input amount is gone" in rollout.message
    assert rollout.preflight == RENAMED
    (record,) = [view for view in world.revisions.values() if view.spec.model.version == "v2"]
    assert record.status.preflight == RENAMED


def test_a_candidate_that_passes_gets_its_canary_in_the_same_look() -> None:
    world = looked_at(None)
    world.ask("v2").until("Preflight")
    world.report = PASSED
    assert world.look().status.phase == "Canary"


def test_what_is_advisory_is_told_and_keeps_nobody_out() -> None:
    world = looked_at(NOISY)
    world.ask("v2").until("Canary")
    assert ("Warning", "PreflightFound") in events(world)


@pytest.mark.parametrize(
    ("rollout", "report", "holds"),
    [
        ({}, RENAMED, True),
        ({"schemaChange": "Allowed"}, RENAMED, False),
        ({}, NOISY, False),
        ({"preflight": {"robustness": "Required"}}, NOISY, True),
    ],
)
def test_each_check_has_a_switch(rollout: dict[str, Any], report: Report, holds: bool) -> None:
    spec = Spec.model_validate({"model": {"version": "1", "uri": "file:///m"}, "rollout": rollout})
    assert bool(preflight.failed(spec, report)) is holds


def test_without_a_report_the_version_waits_and_says_why() -> None:
    world = looked_at(Problem("ErrImagePull", "The image is not there."))
    world.ask("v2").until("Preflight")
    world.looks(70)
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "ErrImagePull")
    assert "The image is not there." in stalled.message
    assert "enabled to false" in stalled.message
    world.ask("v2", rollout={"preflight": {"enabled": False}})
    world.until("Canary")


def test_without_a_report_until_the_deadline_the_version_is_taken_back() -> None:
    world = looked_at(None)
    world.ask("v2", rollout={"preflight": {"enabled": True}, "deadline": "5m"}).until("Preflight")
    world.until("RolledBack", limit=400)
    assert rollout_of(world.status).reason == "PreflightUnknown"


def test_pods_that_crash_while_they_are_looked_at_end_the_rollout() -> None:
    world = looked_at(None)
    world.ask("v2").until("Preflight")
    world.crashed = frozenset({rollout_of(world.status).revision})
    world.until("RolledBack")
    assert rollout_of(world.status).reason == "CandidateCrashing"


def test_a_new_spec_supersedes_and_is_looked_at_itself() -> None:
    world = looked_at(None)
    world.ask("v2").until("Preflight")
    first = preflight.job_name(rollout_of(world.status))
    world.ask("v3").until("Preflight")
    assert preflight.job_name(rollout_of(world.status)) != first
    world.report = PASSED
    world.until("Canary")
    assert world.routed().keys() == {"v1", "v3"}


def test_the_version_is_looked_at_though_there_are_no_metrics_and_then_waits_for_them() -> None:
    world = looked_at(PASSED)
    world.blind = True
    world.ask("v2")
    world.looks(30)
    assert (world.status.phase, rollout_of(world.status).preflight) == ("Preflight", PASSED)
    assert world.conditions["RolloutHealthy"].reason == "MetricsUnavailable"
    world.blind = False
    world.until("Canary")


# The Job.


def job_of(world: World) -> Any:
    o = world.observe()
    (job,) = preflight_manifests(o, world.status, world.revisions)
    return job


def test_the_job_asks_both_versions_and_is_admitted_where_pods_are_restricted() -> None:
    world = looked_at(None)
    world.ask("v2", Behaviour()).until("Preflight")
    job = job_of(world)
    rollout, pod = rollout_of(world.status), job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    told = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert told["--candidate"] == f"http://{rollout.revision}.models.svc:8000"
    assert told["--stable"].startswith("http://fraud-")
    assert told["--timeout"] == "1"
    (fetch,) = pod["initContainers"]
    assert [b for a, b in zip(fetch["args"], fetch["args"][1:], strict=False) if a == "--only"] == [*preflight.FILES]
    assert violations(pod) == []
    assert len(job["metadata"]["name"]) <= 58, "the names of its pods have five characters more"
    assert "headgate.dev/revision" not in job["spec"]["template"]["metadata"]["labels"], "it serves nobody"


@pytest.mark.parametrize(
    ("rollout", "rate", "budget"),
    [
        ({}, None, None),
        ({"preflight": {"loadRate": 20}}, "20", "1"),
        ({"preflight": {"loadRate": 20}, "latency": {"threshold": "50ms"}}, "20", "0.05"),
        ({"preflight": {"loadRate": 20}, "latency": {"threshold": "50ms", "enabled": False}}, "20", "1"),
    ],
)
def test_the_job_is_told_of_a_load_where_a_rate_is_stated(
    rollout: dict[str, Any], rate: str | None, budget: str | None
) -> None:
    spec = Spec.model_validate({"model": {"version": "1", "uri": "file:///m"}, "rollout": rollout})
    arguments = preflight.load_arguments(spec)
    told = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert (told.get("--load-rate"), told.get("--load-budget")) == (rate, budget)


def test_versions_that_speak_tls_are_asked_over_it_and_shown_what_routers_show() -> None:
    world = looked_at(None)
    tls = {"tls": {"secret": "pods", "routerSecret": "routers"}}
    world.ask("v2", runtime=tls).until("Preflight")
    rollout, pod = rollout_of(world.status), job_of(world)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    told = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert told["--candidate"] == f"https://{rollout.revision}.models.svc:8000"
    assert told["--stable"].startswith("http://fraud-")
    assert told["--server-name"] == "fraud.models.svc"
    assert "--stable-secret" not in told
    (volume,) = (each for each in pod["volumes"] if "secret" in each)
    assert volume["secret"]["secretName"] == "routers"
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == volume["name"])
    assert mount == {"name": volume["name"], "mountPath": told["--candidate-secret"], "readOnly": True}
    assert violations(pod) == []


def test_there_is_no_job_while_nobody_knows_how_stable_is_asked() -> None:
    world = looked_at(None)
    world.ask("v2").until("Preflight")
    known = {name: view for name, view in world.revisions.items() if world.version_of(name) == "v2"}
    assert preflight_manifests(world.observe(), world.status, known) == []


def test_a_stable_without_pods_is_not_asked() -> None:
    world = looked_at(None)
    world.ask("v2", Behaviour()).until("Preflight")
    assert world.status.stable
    world.crashed = frozenset({world.status.stable.revision})
    (container,) = job_of(world)["spec"]["template"]["spec"]["containers"]
    assert "--stable" not in container["args"]
    assert "--baseline" in container["args"], "its samples are there all the same"


def test_there_is_no_job_after_the_report() -> None:
    world = looked_at(None)
    assert not phases.is_looked_at(world.status)
    world.ask("v2").until("Preflight")
    assert phases.is_looked_at(world.status)
    reported_to = replace(world.status, rollout=replace(rollout_of(world.status), preflight=PASSED))
    assert preflight_manifests(world.observe(), reported_to, world.revisions) == []


# Its report.


ROLLOUT = Rollout(
    revision="fraud-11111111",
    version="v2",
    phase="Preflight",
    startedAt="2027-01-15T08:00:00Z",
    since="2027-01-15T08:00:00Z",
)


def pod(message: str, job: str = "", status: int = 0, **owner: Any) -> dict[str, Any]:
    """The pod of a preflight that has ended."""
    of = {"kind": "Job", "name": job or preflight.job_name(ROLLOUT), "controller": True, **owner}
    end = {"terminated": {"exitCode": status, "message": message}}
    return {
        "metadata": {"name": "p", "labels": {"headgate.dev/component": "preflight"}, "ownerReferences": [of]},
        "status": {"containerStatuses": [{"name": "preflight", "state": end}]},
    }


GOOD = json.dumps({"reason": "PreflightDone", **PASSED.manifest()})


def test_the_report_is_read_from_the_pod_of_the_rollouts_own_job() -> None:
    assert reported(ROLLOUT, [pod(GOOD)]) == PASSED
    assert reported(ROLLOUT, []) is None
    assert reported(None, [pod(GOOD)]) is None


@pytest.mark.parametrize(
    "forged",
    [pod(GOOD, job="fraud-11111111-00000"), pod(GOOD, kind="ReplicaSet"), pod(GOOD, controller=False)],
    ids=["another rollout's", "no Job's", "not its controller"],
)
def test_what_other_pods_say_is_no_report(forged: dict[str, Any]) -> None:
    assert reported(ROLLOUT, [forged]) is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (pod('{"reason": "PreflightDone", "checks": [{"name": "luck", "outcome": "Passed"}]}'), "ReportUnreadable"),
        (pod('{"reason": "PreflightDone", "checks": 7}'), "ReportUnreadable"),
        (pod('{"reason": "CandidateUnreachable", "message": "connection refused"}', status=3), "CandidateUnreachable"),
    ],
)
def test_what_is_no_report_says_why(found: dict[str, Any], reason: str) -> None:
    problem = reported(ROLLOUT, [found])
    assert isinstance(problem, Problem)
    assert problem.reason == reason


def test_a_try_that_failed_does_not_hide_the_report_of_the_next() -> None:
    first = pod('{"reason": "CandidateUnreachable", "message": "connection refused"}', status=3)
    assert reported(ROLLOUT, [first, pod(GOOD)]) == PASSED
