"""The preflight of a version: a Job that looks at it before it gets any traffic, and what its report decides.

`phases.preflight` asks `failed`; `reconcile` makes the Job of `preflight_manifests`; `observe` reads the report with
`reported`, from the pod that the Job made. What is looked at, and how, is `headgate_serving.preflight`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from headgate.api import contract
from headgate.api.pod_tls import server_name
from headgate.api.preflight import REPORTED, Check, Mode, Report
from headgate.api.quantities import seconds, size_bytes
from headgate.api.spec import Spec
from headgate.api.status import Rollout, Status
from headgate.core.children import component_of, last_words, problem_of
from headgate.core.manifests.disk import Disk
from headgate.core.manifests.metadata import Manifest, container_security, metadata, pod_security, pull_secrets
from headgate.core.manifests.secrets import identity_mount, identity_volume
from headgate.core.model import Observation, Problem, RevisionView, Workload
from headgate.core.revision_pods import ARTIFACT_FOLDER, BASELINE_FOLDER, MOUNTS, fetcher, placed, volumes

FILES = ("samples.json", "profile.json", "evaluation.json")
"""Of an artifact: what the checks need besides the version itself."""

CHECK_SECONDS = 60
"""For all checks together."""
_TRIES, _JOB_SECONDS = 4, 300
"""How often the pod is started again where there is no report, and for how long at most. A Job that has ended goes
after ten minutes; where it brought no report another one begins."""
_KEPT_SECONDS = 600
_DISK = "256Mi"
_SECRETS = {
    contract.PreflightArgument.CANDIDATE: contract.PreflightArgument.CANDIDATE_SECRET,
    contract.PreflightArgument.STABLE: contract.PreflightArgument.STABLE_SECRET,
}


def is_wanted(spec: Spec) -> bool:
    """Whether a version is looked at before it gets traffic."""
    return spec.rollout.preflight.enabled


def failed(spec: Spec, report: Report) -> list[Check]:
    """The checks that a version has failed and has to pass, by what the spec asks for now."""
    return [check for check in report.checks if check.outcome == "Failed" and _mode(spec, check) == "Required"]


def told(checks: Iterable[Check]) -> str:
    """What was found, in one line."""
    return "; ".join(f"{check.name}: {check.message}" for check in checks)


def reported(rollout: Rollout | None, pods: Iterable[Mapping[str, Any]]) -> Report | Problem | None:
    """What the pods of the rollout's preflight say; None where they have not said anything."""
    if rollout is None:
        return None
    problem = None
    for pod in pods:
        if component_of(pod) != contract.PREFLIGHT_COMPONENT or _job_of(pod) != job_name(rollout):
            continue
        found = _report_in(pod)
        if isinstance(found, Report):
            return found
        problem = found or problem
    return problem


def job_name(rollout: Rollout) -> str:
    """Of the Job of a rollout: another rollout of the same revision has another one."""
    return f"{rollout.revision}-{hashlib.sha256(rollout.startedAt.encode()).hexdigest()[:5]}"


def preflight_manifests(o: Observation, status: Status, revisions: Mapping[str, RevisionView]) -> list[Manifest]:
    """The Job of a version that is being looked at, while its report is missing."""
    rollout = status.rollout
    if rollout is None or rollout.preflight or not is_wanted(o.spec):
        return []
    view = revisions.get(rollout.revision)
    if view is None:
        return []
    asked = {contract.PreflightArgument.CANDIDATE: view}
    if stable := _stable_that_answers(o, view):
        if stable not in revisions:
            return []  # how it is asked stands in its record, and the Job is made once
        asked[contract.PreflightArgument.STABLE] = revisions[stable]
    return [_job(o, view, rollout, asked)]


def _stable_that_answers(o: Observation, view: RevisionView) -> str | None:
    """The revision that a version is compared with. One whose pods are gone must not keep out what is to mend it."""
    baseline = view.status.baseline
    return baseline.revision if baseline and o.workloads.get(baseline.revision, Workload()).ready > 0 else None


def _mode(spec: Spec, check: Check) -> Mode:
    if check.name == "schema":
        return "Required" if spec.rollout.schemaChange == "Refused" else "Advisory"
    mode: Mode = getattr(spec.rollout.preflight, check.name)
    return mode


def _job(o: Observation, view: RevisionView, rollout: Rollout, asked: Mapping[str, RevisionView]) -> Manifest:
    """`asked`: the versions by the argument that says where one is."""
    about = metadata(o, job_name(rollout), contract.PREFLIGHT_COMPONENT)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": about,
        "spec": {
            "backoffLimit": _TRIES,
            "activeDeadlineSeconds": _JOB_SECONDS,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"metadata": {"labels": about["labels"]}, "spec": _pod(o, view, asked)},
        },
    }


def _pod(o: Observation, view: RevisionView, asked: Mapping[str, RevisionView]) -> Manifest:
    size = size_bytes(_DISK)
    disk = Disk(
        [{"name": mount["name"], "emptyDir": {"sizeLimit": _DISK}} for mount in MOUNTS],
        {"ephemeral-storage": _DISK},
        {"ephemeral-storage": "1Gi"},
        [{"name": contract.MAX_BYTES_VARIABLE, "value": str(size // 2)}],
    )
    only = [text for name in FILES for text in (contract.FetchArgument.ONLY, name)]
    image = o.defaults.serving_image
    secrets = {
        _SECRETS[argument]: one.spec.runtime.tls.routerSecret for argument, one in asked.items() if one.spec.runtime.tls
    }
    return {
        **placed(view),
        **pull_secrets(o, *view.spec.runtime.podTemplate.imagePullSecrets),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 5,
        "initContainers": [fetcher(o, view, image, [contract.FetchArgument.ANY_MODEL, *only], MOUNTS, disk)],
        "containers": [
            {
                "name": contract.PREFLIGHT_COMPONENT,
                "image": image,
                "imagePullPolicy": o.defaults.pull_policy,
                "command": ["headgate-preflight"],
                "args": [*_arguments(o, view, asked), *_tls_arguments(o, secrets)],
                "securityContext": container_security(),
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi", **disk.requests},
                    "limits": {"memory": "512Mi", **disk.limits},
                },
                "volumeMounts": [
                    *({**mount, "readOnly": True} for mount in MOUNTS),
                    *(identity_mount(_volume(argument), _folder(argument)) for argument in secrets),
                ],
            }
        ],
        "volumes": [
            *volumes(view, disk),
            *(identity_volume(_volume(argument), secret) for argument, secret in secrets.items()),
        ],
    }


def _volume(argument: str) -> str:
    return argument.strip("-")


def _folder(argument: str) -> str:
    return f"/secrets/{_volume(argument)}"


def _tls_arguments(o: Observation, arguments: Iterable[str]) -> Sequence[str]:
    """As routers ask pods that speak TLS."""
    mounts = [text for argument in arguments for text in (argument, _folder(argument))]
    return [*mounts, contract.PreflightArgument.SERVER_NAME, server_name(o.name, o.namespace)] if mounts else []


def _arguments(o: Observation, view: RevisionView, asked: Mapping[str, RevisionView]) -> Sequence[str]:
    argument, baseline = contract.PreflightArgument, view.status.baseline
    wanted = o.spec.rollout.preflight
    return [
        *(argument.MODEL, o.name),
        *(text for name, one in asked.items() for text in (name, _url(o, one))),
        *(argument.ARTIFACT, ARTIFACT_FOLDER),
        *((argument.BASELINE, BASELINE_FOLDER) if baseline else ()),
        *(argument.TIMEOUT, f"{seconds(o.spec.traffic.timeout):g}"),
        *(argument.SECONDS, str(CHECK_SECONDS)),
        *(
            text
            for name, mode in wanted.model_dump(exclude={"enabled", "loadRate"}).items()
            for text in (argument.CHECK, f"{name}={mode}")
        ),
        *load_arguments(o.spec),
    ]


def load_arguments(spec: Spec) -> Sequence[str]:
    """What the check `load` is told; nothing where the spec states no rate."""
    rate, latency = spec.rollout.preflight.loadRate, spec.rollout.latency
    if rate is None:
        return []
    budget = latency.threshold if latency.enabled and latency.threshold else spec.traffic.timeout
    argument = contract.PreflightArgument
    return [argument.LOAD_RATE, str(rate), argument.LOAD_BUDGET, f"{seconds(budget):g}"]


def _url(o: Observation, view: RevisionView) -> str:
    scheme = "https" if view.identity else "http"
    return f"{scheme}://{view.name}.{o.namespace}.svc:{contract.RUNTIME_HTTP_PORT}"


def _job_of(pod: Mapping[str, Any]) -> str:
    """The Job that controls a pod; empty where none does."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((owner["name"] for owner in owners if owner.get("controller") and owner.get("kind") == "Job"), "")


def _report_in(pod: Mapping[str, Any]) -> Report | Problem | None:
    words = last_words(pod, contract.PREFLIGHT_COMPONENT)
    if words.get("reason") != REPORTED:
        return problem_of(pod)
    try:
        return Report.read(words)
    except ValidationError as error:
        return Problem("ReportUnreadable", f"The report of the preflight can't be read: {error.errors()[0]['msg']}")
