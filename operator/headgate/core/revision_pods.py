"""One revision's serving Deployment, its headless Service, and its autoscaler.

The pod template depends on the ModelRevision alone (and its baseline, fixed when its rollout started), so no change
of role restarts a pod. What runs in it is the engine's.
"""

import json
from collections.abc import Sequence

from headgate.api import GROUP, contract
from headgate.api.pod_tls import port_name
from headgate.api.stored import as_manifest
from headgate.core.dataplane import ChildName
from headgate.core.engines import engine_of
from headgate.core.engines.engine import TLS_FOLDER
from headgate.core.manifests.availability import autoscaler, disruption_budget, with_defaults
from headgate.core.manifests.disk import Disk, disk_of
from headgate.core.manifests.metadata import (
    Manifest,
    container_security,
    http_probe,
    metadata,
    pod_security,
    pull_secrets,
    selector,
)
from headgate.core.manifests.secrets import identity_mount, identity_volume
from headgate.core.model import Observation, RevisionView

REVISION_COPY = f"{GROUP}/revision-copy"
"""Annotation of a Deployment: what its ModelRevision holds, to make it again should somebody delete it."""

_REQUESTS = {"cpu": "100m", "memory": "128Mi"}

ARTIFACT_FOLDER, BASELINE_FOLDER = "/artifact", "/baseline"
MOUNTS: Sequence[Manifest] = (
    {"name": "artifact", "mountPath": ARTIFACT_FOLDER},
    {"name": "baseline", "mountPath": BASELINE_FOLDER},
)

_TLS = "tls"
_INFERENCE = {
    contract.HTTP_PORT_NAME: contract.RUNTIME_HTTP_PORT,
    contract.GRPC_PORT_NAME: contract.RUNTIME_GRPC_PORT,
}

DRAIN_SECONDS = 5
"""Between a pod's end being known and its SIGTERM, so that all routers have forgotten it."""


def runtime_manifests(o: Observation, view: RevisionView, replicas: int | None = None) -> list[Manifest]:
    """Everything that serves one revision, with so many pods; None: as many as an autoscaler wants."""
    about, pods = metadata(o, view.name, "runtime", view.name), selector(o.name, "runtime", view.name)
    manifests = [_deployment(o, view, replicas), _service(o, view), disruption_budget(about, pods)]
    scaling = o.spec.runtime.autoscaling
    return [*manifests, autoscaler(about, scaling, "runtime")] if scaling else manifests


def runtime_children(revision: str) -> list[ChildName]:
    """All that `runtime_manifests` may make for a revision, the Deployment last: while it is there, more may be."""
    kinds = (
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("policy/v1", "PodDisruptionBudget"),
        ("v1", "Service"),
        ("apps/v1", "Deployment"),
    )
    return [ChildName(api_version, kind, revision) for api_version, kind in kinds]


def placed(view: RevisionView) -> Manifest:
    """The fields of a pod that say where and as whom a revision's pods run."""
    template = as_manifest(view.spec.runtime.podTemplate)
    template.pop("env", None)
    return {k: v for k, v in template.items() if v}


def fetcher(
    o: Observation, view: RevisionView, image: str, more: Sequence[str], mounts: Sequence[Manifest], disk: Disk
) -> Manifest:
    """The container that brings a revision's artifact, and what there is of its baseline's. `more`: arguments."""
    model, baseline = view.spec.model, view.status.baseline
    arguments = [contract.FetchArgument.URI, model.uri, contract.FetchArgument.TO, ARTIFACT_FOLDER, *more]
    if model.digest:
        arguments += [contract.FetchArgument.DIGEST, model.digest]
    if baseline:
        arguments += [contract.FetchArgument.BASELINE_URI, baseline.uri]
        arguments += [contract.FetchArgument.BASELINE_TO, BASELINE_FOLDER]
        arguments += [contract.FetchArgument.BASELINE_DIGEST, baseline.digest] if baseline.digest else []
    return {
        "name": "fetch",
        "image": image,
        "imagePullPolicy": o.defaults.pull_policy,
        "command": ["headgate-fetch"],
        "args": arguments,
        "env": [*disk.environment, *view.spec.runtime.podTemplate.env],
        "securityContext": container_security(),
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi", **disk.requests},
            "limits": {"memory": "512Mi", **disk.limits},
        },
        "volumeMounts": [*mounts, *_claim_mounts(view)],
    }


def volumes(view: RevisionView, disk: Disk) -> list[Manifest]:
    """Of a pod with a `fetcher`."""
    claims = (
        {"name": volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        for volume, claim in _claims(view).items()
    )
    return [*disk.volumes, *claims]


def _deployment(o: Observation, view: RevisionView, replicas: int | None) -> Manifest:
    pods = selector(o.name, "runtime", view.name)
    spec: Manifest = {
        "selector": {"matchLabels": pods},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "revisionHistoryLimit": 0,
        "template": {
            "metadata": {"labels": metadata(o, view.name, "runtime", view.name)["labels"]},
            "spec": _pod(o, view),
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    about = metadata(o, view.name, "runtime", view.name)
    copy = {"spec": as_manifest(view.spec), "status": as_manifest(view.status.kept)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**about, "annotations": {REVISION_COPY: json.dumps(copy, sort_keys=True)}},
        "spec": spec,
    }


def _pod(o: Observation, view: RevisionView) -> Manifest:
    read_only = [{**m, "readOnly": True} for m in MOUNTS]
    engine = engine_of(view.spec.runtime.engine)
    writable = [{"name": folder.strip("/").replace("/", "-"), "mountPath": folder} for folder in engine.writes]
    disk = disk_of(view.spec, [m["name"] for m in writable])
    image, tls = view.spec.runtime.tools or view.spec.runtime.image, view.spec.runtime.tls
    certificate = [identity_mount(_TLS, TLS_FOLDER)] if tls else []
    return {
        **placed(view),
        **pull_secrets(o, *view.spec.runtime.podTemplate.imagePullSecrets),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 30 + DRAIN_SECONDS,
        "initContainers": [
            fetcher(o, view, image, engine.fetcher_arguments(), MOUNTS, disk),
            *engine.sidecars(o, view, read_only),
        ],
        "containers": [_server(o, view, [*read_only, *writable, *certificate], disk)],
        "volumes": [*volumes(view, disk), *([identity_volume(_TLS, tls.secret)] if tls else [])],
    }


def _server(o: Observation, view: RevisionView, mounts: list[Manifest], disk: Disk) -> Manifest:
    runtime = view.spec.runtime
    # A kubelet has no certificate to show.
    asked_at = contract.HEALTH_PORT_NAME if runtime.tls else contract.HTTP_PORT_NAME
    return {
        "name": "runtime",
        "image": runtime.image,
        "imagePullPolicy": o.defaults.pull_policy,
        **engine_of(runtime.engine).process(o, view),
        "startupProbe": http_probe("/v2/health/live", asked_at, periodSeconds=1, failureThreshold=300),
        "readinessProbe": http_probe("/v2/health/ready", asked_at, periodSeconds=2, timeoutSeconds=2),
        "livenessProbe": http_probe("/v2/health/live", asked_at, periodSeconds=10, timeoutSeconds=5),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        "securityContext": container_security(),
        "resources": with_defaults(runtime.resources, {"requests": {**_REQUESTS, **disk.requests}}),
        "volumeMounts": mounts,
    }


def _service(o: Observation, view: RevisionView) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(o, view.name, "runtime", view.name),
        "spec": {
            "clusterIP": "None",
            "selector": selector(o.name, "runtime", view.name),
            "ports": [
                # Routers know by the names how the pods are asked.
                *(
                    {"name": port_name(target, view.identity), "port": port, "targetPort": target}
                    for target, port in _INFERENCE.items()
                ),
                *engine_of(view.spec.runtime.engine).service_ports(),
            ],
        },
    }


def _claim_mounts(view: RevisionView) -> list[Manifest]:
    return [{"name": volume, "mountPath": f"/pvc/{c}", "readOnly": True} for volume, c in _claims(view).items()]


def _claims(view: RevisionView) -> dict[str, str]:
    """Volume to the PersistentVolumeClaim that holds the artifact, or its baseline.

    By number: the name of a claim may have dots and 253 characters, that of a volume may not.
    """
    uris = [view.spec.model.uri, view.status.baseline.uri if view.status.baseline else ""]
    names = {uri.removeprefix("pvc://").partition("/")[0] for uri in uris if uri.startswith("pvc://")}
    return {f"pvc-{number}": claim for number, claim in enumerate(sorted(names))}
