"""From Deployments and pods, as the API server gives them, to `Workload`s. Pure; called by `observe`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headgate.api import COMPONENT_LABEL, REVISION_LABEL
from headgate.core.model import Address, Problem, Workload

Object = Mapping[str, Any]

_HINTS = {
    "Unschedulable": "Free or add the resources that the pod asks for, or change spec.runtime.",
    "ErrImagePull": "Check spec.runtime.image and its pull secrets.",
    "ImagePullBackOff": "Check spec.runtime.image and its pull secrets.",
    "ErrImageNeverPull": "The image must be on the node: check spec.runtime.image.",
    "InvalidImageName": "Check spec.runtime.image.",
    "CreateContainerError": "Check spec.runtime.",
    "RunContainerError": "Check spec.runtime.",
    "CreateContainerConfigError": "Check spec.runtime.podTemplate.env.",
}


_OWN_FAULTS = frozenset(
    {
        "ArtifactInvalid",
        "ArtifactNotFound",
        "ArtifactTooLarge",
        "ArtifactTruncated",
        "BucketNotFound",
        "CrashLoopBackOff",
        "DigestMismatch",
        "ExternalDataMissing",
        "ModelInvalid",
        "ModelMissing",
        "OOMKilled",
        "OpsetUnsupported",
        "PathOutside",
        "ServingCrashed",
    }
)
"""The version's own faults; a full node or a place that can't be reached may pass."""
_MAY_HAPPEN_ONCE = frozenset({"CrashLoopBackOff", "OOMKilled", "ServingCrashed"})
"""Of those, the ends that a node or a person may have brought about as well."""
_CRASHES = 2
"""So often such an end has to be seen, on another start or another pod, before it is the version's own fault."""


def is_own_fault(problem: Problem) -> bool:
    """Whether the version itself is to blame, for certain."""
    return problem.reason in _OWN_FAULTS and (problem.reason not in _MAY_HAPPEN_ONCE or problem.ends >= _CRASHES)


def workload_of(deployment: Object | None, pods: Iterable[Object]) -> Workload:
    """A Deployment and its pods in brief."""
    if deployment is None:
        return Workload()
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    wanted = spec.get("replicas", 1)
    ready = status.get("readyReplicas") or 0
    observed = (status.get("observedGeneration") or 0) >= (deployment["metadata"].get("generation") or 0)
    updated = status.get("updatedReplicas") or 0
    own = [p for p in pods if not _is_ending(p)]
    rolled_out = bool(observed and wanted > 0 and updated == wanted and ready >= wanted)
    problems = () if rolled_out else [p for p in [*map(problem_of, own), _creation_problem(status)] if p]
    return Workload(
        replicas=status.get("replicas") or 0,
        ready=ready,
        rolled_out=rolled_out,
        problem=_the_worst(problems),
        digest=next((d for d in map(_fetched_digest, own) if d), None),
        addresses=tuple(sorted(a for a in map(_address, own) if a)),
        available=status.get("availableReplicas") or 0,
        outdated=max(0, (status.get("replicas") or 0) - updated),
    )


def revision_of(obj: Object) -> str:
    """The revision that an object says it is of, by its label; empty for those of all revisions, such as routers."""
    return str((obj["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def component_of(obj: Object) -> str:
    """What an object says that it is a part of, by its label."""
    return str((obj["metadata"].get("labels") or {}).get(COMPONENT_LABEL, ""))


def made_by(deployment: str, pods: Iterable[Object]) -> frozenset[str]:
    """Names of those pods that a ReplicaSet of this Deployment controls: labels alone anybody can copy."""
    return frozenset(pod["metadata"]["name"] for pod in pods if deployment_of(pod) == deployment)


def deployment_of(pod: Object) -> str:
    """The Deployment that made a pod, by the name of the ReplicaSet that controls it; empty where none does."""
    owners = pod["metadata"].get("ownerReferences") or ()
    sets = (owner["name"] for owner in owners if owner.get("controller") and owner.get("kind") == "ReplicaSet")
    return str(next(sets, "")).rpartition("-")[0]


def _is_ending(pod: Object) -> bool:
    """Whether a pod goes, or has gone, for its node's sake or its owner's: what it says is no evidence.

    Pods that were evicted or preempted, or that ended with their node, stay as objects in phase Failed until they are
    collected, with the exit status of a process that was killed.
    """
    status = pod.get("status") or {}
    disrupted = any(
        c.get("type") == "DisruptionTarget" and c.get("status") == "True" for c in status.get("conditions") or []
    )
    return bool(pod["metadata"].get("deletionTimestamp")) or status.get("phase") in ("Failed", "Succeeded") or disrupted


def _the_worst(problems: Sequence[Problem]) -> Problem | None:
    """The one that says most of the version, with the ends of all containers that crashed."""
    if not problems:
        return None
    crashes = sum(p.ends for p in problems if p.reason in _MAY_HAPPEN_ONCE)
    counted = [replace(p, ends=crashes) if p.reason in _MAY_HAPPEN_ONCE else p for p in problems]
    return max(counted, key=lambda p: (is_own_fault(p), p.reason in _OWN_FAULTS))


def _address(pod: Object) -> Address | None:
    status = pod.get("status") or {}
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
    return Address(pod["metadata"]["name"], status["podIP"]) if ready and status.get("podIP") else None


def _creation_problem(status: Object) -> Problem | None:
    """Why pods can't even be created, such as a quota or an admission policy."""
    for condition in status.get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return Problem(
                "PodsNotCreated", f"{condition.get('message') or 'Pods are refused.'} Check quotas and policies."
            )
    return None


def problem_of(pod: Object) -> Problem | None:
    """Why this pod is not ready, if it says so."""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if problem := _container_problem(container):
            return problem
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _problem(condition.get("reason") or "Unschedulable", condition.get("message") or "")
    return None


def _container_problem(container: Object) -> Problem | None:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    last = (container.get("lastState") or {}).get("terminated") or {}
    if ended.get("exitCode") and not _was_lost(ended):
        return _ended(container, ended)
    crashed = waiting.get("reason") == "CrashLoopBackOff" or (last.get("exitCode") and not container.get("ready"))
    if crashed and not _was_lost(last):
        return _ended(container, last)
    if waiting.get("reason") in _HINTS:
        return _problem(waiting["reason"], waiting.get("message") or "")
    return None


def _was_lost(terminated: Object) -> bool:
    """Whether the kubelet found the container gone, as after a reboot of its node, and knows nothing of its end."""
    return terminated.get("reason") in ("ContainerStatusUnknown", "Unknown")


def _ended(container: Object, terminated: Object) -> Problem:
    ending = _termination_message(terminated)
    running = bool((container.get("state") or {}).get("running"))
    before = (container.get("lastState") or {}).get("terminated") or {}
    ends = int(container.get("restartCount") or 0) + (not running) - _was_lost(before)
    if ending.get("reason"):
        return Problem(str(ending["reason"]), str(ending.get("message") or ""), ends)
    reason = terminated.get("reason") or "CrashLoopBackOff"
    return Problem(
        "OOMKilled" if reason == "OOMKilled" else "CrashLoopBackOff",
        f"Container {container.get('name')} ended with {reason} (exit code {terminated.get('exitCode', '?')}). "
        "Look at its logs with kubectl logs --previous.",
        ends,
    )


def _problem(reason: str, message: str) -> Problem:
    return Problem(reason, " ".join(t for t in (message.strip(), _HINTS.get(reason, "")) if t))


def last_words(pod: Object, container: str) -> dict[str, Any]:
    """What a container of a pod said when it ended well, as JSON; empty where it did not."""
    for each in (pod.get("status") or {}).get("containerStatuses") or []:
        end = (each.get("state") or {}).get("terminated") or {}
        if each.get("name") == container and end.get("exitCode") == 0:
            return _termination_message(end)
    return {}


def _fetched_digest(pod: Object) -> str | None:
    for container in (pod.get("status") or {}).get("initContainerStatuses") or []:
        ending = _termination_message((container.get("state") or {}).get("terminated") or {})
        if container.get("name") == "fetch" and ending.get("reason") == "Fetched":
            return str(ending["digest"]) if ending.get("digest") else None
    return None


def _termination_message(terminated: Object) -> dict[str, Any]:
    try:
        parsed = json.loads(terminated.get("message") or "{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
