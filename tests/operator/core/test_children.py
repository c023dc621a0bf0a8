"""What pods say about themselves, and what is made of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from headgate.core.children import is_own_fault, problem_of, workload_of
from headgate.core.model import Address, Problem, Workload

RUNTIME = "registry.example/serving:1"


def told(reason: str, message: str = "", **more: Any) -> str:
    """What fetcher and runtime write to /dev/termination-log."""
    return json.dumps({"reason": reason, "message": message, **more})


def terminated(code: int, reason: str = "Error", message: str = "", **more: Any) -> dict[str, Any]:
    return {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-11-20T12:00:00Z", **more}


def status(
    name: str,
    ready: bool = False,
    waiting: dict[str, Any] | None = None,
    ended: dict[str, Any] | None = None,
    last: dict[str, Any] | None = None,
    running: bool = False,
) -> dict[str, Any]:
    state = {"running": {"startedAt": "2026-11-20T12:00:00Z"}} if running else {}
    state |= {"waiting": waiting} if waiting else {}
    state |= {"terminated": ended} if ended else {}
    return {
        "name": name,
        "image": RUNTIME,
        "ready": ready,
        "restartCount": 1 if last else 0,
        "state": state,
        "lastState": {"terminated": last} if last else {},
    }


def the_problem(pod: Mapping[str, Any]) -> Problem:
    """What there has to be wrong with a pod."""
    problem = problem_of(pod)
    assert problem is not None
    return problem


def pod(*containers: Any, init: Sequence[Any] = (), conditions: Sequence[Any] = (), **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "fraud-1a2b3c4d-x", **meta},
        "status": {
            "phase": "Pending",
            "initContainerStatuses": list(init),
            "containerStatuses": list(containers),
            "conditions": list(conditions),
        },
    }


FETCHED = status("fetch", ready=True, ended=terminated(0, "Completed", told("Fetched", digest="sha256:12")))
SERVING = status("runtime", ready=True, running=True)


def deployment(
    replicas: int = 2,
    ready: int | None = 2,
    updated: int | None = 2,
    generation: int = 3,
    observed: int = 3,
    total: Any = None,
) -> dict[str, Any]:
    return {
        "metadata": {"name": "fraud-1a2b3c4d", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {
            "observedGeneration": observed,
            "replicas": replicas if total is None else total,
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
        },
    }


@pytest.mark.parametrize(
    "reason",
    [
        "ArtifactNotFound",
        "ArtifactTooLarge",
        "ArtifactUnreachable",
        "DigestMismatch",
        "ArtifactInvalid",
        "ProfileInvalid",
    ],
)
def test_the_fetchers_words_are_the_problem(reason: str) -> None:
    ended = terminated(1, message=told(reason, "what, where, what to do"))
    assert problem_of(pod(init=[status("fetch", ended=ended)])) == Problem(reason, "what, where, what to do", 1)


def test_they_stay_the_problem_while_the_kubelet_waits_to_try_again() -> None:
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}
    last = terminated(1, message=told("DigestMismatch", "it is another artifact"))
    again = pod(init=[status("fetch", waiting=waiting, last=last)])
    assert problem_of(again) == Problem("DigestMismatch", "it is another artifact", 2)


def test_they_stay_the_problem_while_it_is_tried_again() -> None:
    last = terminated(1, message=told("ModelInvalid", "opset 99"))
    again = pod(status("runtime", running=True, last=last), init=[FETCHED])
    assert problem_of(again) == Problem("ModelInvalid", "opset 99", 1)


def test_a_container_that_has_recovered_is_no_problem() -> None:
    last = terminated(137, "OOMKilled")
    assert problem_of(pod({**SERVING, "lastState": {"terminated": last}}, init=[FETCHED])) is None


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (terminated(1), "CrashLoopBackOff"),
        (terminated(137, "OOMKilled"), "OOMKilled"),
        (terminated(139, "Error", "Segmentation fault"), "CrashLoopBackOff"),
        (terminated(1, "Error", "[1, 2]"), "CrashLoopBackOff"),
        (terminated(1, "Error", '"text"'), "CrashLoopBackOff"),
        (terminated(1, "Error", '{"reason": "", "message": "x"}'), "CrashLoopBackOff"),
    ],
)
def test_a_container_that_says_nothing_readable_is_described(last: dict[str, Any], reason: str) -> None:
    crashing = status("runtime", waiting={"reason": "CrashLoopBackOff"}, last=last)
    found = the_problem(pod(crashing, init=[FETCHED]))
    assert found.reason == reason
    assert "Container runtime ended" in found.message
    assert str(last["exitCode"]) in found.message


def test_a_crash_loop_without_a_last_state_is_described_as_well() -> None:
    found = the_problem(pod(status("runtime", waiting={"reason": "CrashLoopBackOff"})))
    assert found.reason == "CrashLoopBackOff"


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    ],
)
def test_a_container_that_cannot_start_says_so_with_a_hint(reason: str) -> None:
    waiting = {"reason": reason, "message": 'failed to pull "registry.example/nope:1"'}
    found = the_problem(pod(init=[status("fetch", waiting=waiting)]))
    assert found.reason == reason
    assert waiting["message"] in found.message
    assert "spec.runtime" in found.message


def test_a_pod_that_no_node_can_take_says_why() -> None:
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    found = the_problem(pod(conditions=[condition]))
    assert found.reason == "Unschedulable"
    assert found.message.startswith(message)
    assert "spec.runtime" in found.message


@pytest.mark.parametrize(
    "waiting", [{"reason": "PodInitializing"}, {"reason": "ContainerCreating"}, {"reason": "ContainerCreating"}]
)
def test_to_start_is_no_problem(waiting: dict[str, Any]) -> None:
    assert problem_of(pod(status("runtime", waiting=waiting), init=[FETCHED])) is None


def test_a_pod_without_any_status_is_no_problem() -> None:
    assert problem_of({"metadata": {"name": "x"}}) is None
    assert problem_of({"metadata": {"name": "x"}, "status": {"initContainerStatuses": None}}) is None


def test_a_workload_that_is_rolled_out() -> None:
    pods = [pod(SERVING, init=[FETCHED])] * 2
    assert workload_of(deployment(), pods) == Workload(2, 2, True, None, "sha256:12", available=2)


@pytest.mark.parametrize(
    "found",
    [
        deployment(ready=1),
        deployment(updated=1),
        deployment(generation=4),
        deployment(updated=None),
        deployment(ready=None),
        deployment(replicas=0, ready=0, updated=0),
        {"metadata": {"name": "new", "generation": 1}, "spec": {"replicas": 2}},
        {"metadata": {"name": "new", "generation": 1}},
    ],
)
def test_a_workload_that_is_not_rolled_out(found: dict[str, Any]) -> None:
    assert not workload_of(found, []).rolled_out


def test_no_deployment_is_an_empty_workload() -> None:
    assert workload_of(None, [pod(SERVING)]) == Workload()


def test_the_problem_of_a_workload_is_that_of_its_first_bad_pod() -> None:
    bad = pod(init=[status("fetch", ended=terminated(1, message=told("ArtifactNotFound", "gone")))])
    found = workload_of(deployment(ready=1), [pod(SERVING, init=[FETCHED]), bad])
    assert found.problem == Problem("ArtifactNotFound", "gone", 1)
    assert (found.ready, found.digest) == (1, "sha256:12")


def test_a_pod_that_is_being_deleted_says_nothing() -> None:
    bad = pod(
        init=[status("fetch", ended=terminated(1, message=told("ArtifactNotFound", "gone")))],
        deletionTimestamp="2026-11-20T12:00:00Z",
    )
    assert workload_of(deployment(ready=1), [bad]).problem is None


def test_once_everything_is_ready_an_old_pod_is_no_problem() -> None:
    bad = pod(init=[status("fetch", ended=terminated(1, message=told("ArtifactNotFound", "gone")))])
    assert workload_of(deployment(), [bad]).problem is None


@pytest.mark.parametrize("message", ["", "Fetched", "{}", told("Fetched"), told("Fetched", digest=None)])
def test_without_a_digest_in_the_fetchers_words_there_is_none(message: str) -> None:
    fetched = status("fetch", ready=True, ended=terminated(0, "Completed", message))
    assert workload_of(deployment(), [pod(SERVING, init=[fetched])]).digest is None


def test_only_pods_that_are_ready_have_an_address() -> None:
    def at(name: Any, ip: Any, ready: Any, **meta: Any) -> Any:
        conditions = [{"type": "Ready", "status": ready}]
        return {"metadata": {"name": name, **meta}, "status": {"podIP": ip, "conditions": conditions}}

    pods = [
        at("b", "10.0.0.2", "True"),
        at("a", "10.0.0.1", "True"),
        at("c", "10.0.0.3", "False"),
        at("d", "", "True"),
        at("e", "10.0.0.5", "True", deletionTimestamp="2026-11-20T12:00:00Z"),
    ]
    assert workload_of(deployment(), pods).addresses == (Address("a", "10.0.0.1"), Address("b", "10.0.0.2"))


CRASHED = status("runtime", ended=terminated(137))


@pytest.mark.parametrize(
    "about",
    [
        {"phase": "Failed", "reason": "Evicted"},
        {"phase": "Failed", "reason": "NodeShutdown"},
        {"phase": "Failed", "reason": "Terminated"},
        {"phase": "Failed", "reason": "Preempting"},
        {"phase": "Failed"},
        {"phase": "Succeeded"},
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
    ],
)
def test_a_pod_that_its_node_has_ended_is_no_evidence_against_the_version(about: dict[str, Any]) -> None:
    gone = pod(CRASHED, init=[FETCHED])
    gone["status"] |= about
    starting = pod(status("runtime", waiting={"reason": "ContainerCreating"}), init=[FETCHED])
    assert workload_of(deployment(ready=0), [gone, starting]).problem is None


@pytest.mark.parametrize("reason", ["ContainerStatusUnknown", "Unknown"])
def test_a_container_that_was_lost_with_its_node_is_no_evidence_either(reason: str) -> None:
    for lost in (
        status("runtime", ended=terminated(137, reason)),
        status("runtime", running=True, last=terminated(255, reason)),
    ):
        assert problem_of(pod(lost, init=[FETCHED])) is None


def ended(restarts: int, **more: Any) -> dict[str, Any]:
    return {**status("runtime", **more), "restartCount": restarts}


@pytest.mark.parametrize(
    ("container", "ends"),
    [
        (ended(0, ended=terminated(1)), 1),
        (ended(0, waiting={"reason": "CrashLoopBackOff"}, last=terminated(1)), 1),
        (ended(1, running=True, last=terminated(1)), 1),
        (ended(1, ended=terminated(1), last=terminated(1)), 2),
        (ended(4, waiting={"reason": "CrashLoopBackOff"}, last=terminated(1)), 5),
    ],
)
def test_how_often_a_container_has_ended_is_counted(container: dict[str, Any], ends: int) -> None:
    assert the_problem(pod(container, init=[FETCHED])).ends == ends


def test_the_ends_of_all_pods_that_crashed_are_added_up() -> None:
    once = pod(ended(0, ended=terminated(1)), init=[FETCHED])
    out_of_memory = pod(ended(0, ended=terminated(137, "OOMKilled")), init=[FETCHED])
    found = workload_of(deployment(replicas=3, ready=0), [once, out_of_memory, once]).problem
    assert found
    assert (found.reason, found.ends) == ("CrashLoopBackOff", 3)


def test_an_end_that_the_node_brought_about_is_not_added() -> None:
    rebooted_and_crashed = ended(1, ended=terminated(1), last=terminated(255, "Unknown"))
    assert the_problem(pod(rebooted_and_crashed, init=[FETCHED])).ends == 1


@pytest.mark.parametrize("order", [1, -1])
def test_what_the_version_is_to_blame_for_comes_first(order: int) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}
    waits = pod(conditions=[condition])
    crashes = pod(ended(4, waiting={"reason": "CrashLoopBackOff"}, last=terminated(1)), init=[FETCHED])
    found = workload_of(deployment(ready=0), [waits, crashes][::order]).problem
    assert found
    assert (found.reason, is_own_fault(found)) == ("CrashLoopBackOff", True)
