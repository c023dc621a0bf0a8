"""One revision's serving Deployment, its headless Service, and its autoscaler.

The pod template depends on the ModelRevision alone (and its baseline, fixed when its rollout started), so no change
of role restarts a pod. A custom engine has Headgate's monitor beside it; Headgate's own server has one inside.
"""

import json

from headgate.api import GROUP
from headgate.api.stored import as_manifest
from headgate.core.manifests.availability import autoscaler, disruption_budget, with_defaults
from headgate.core.manifests.metadata import (
    Manifest,
    container_security,
    http_probe,
    metadata,
    pod_security,
    pull_secrets,
    selector,
)
from headgate.core.model import Observation, RevisionView

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
_INFERENCE_PORTS = [{"name": "http", "containerPort": HTTP_PORT}, {"name": "grpc", "containerPort": GRPC_PORT}]
REVISION_COPY = f"{GROUP}/revision-copy"
"""Annotation of a Deployment: what its ModelRevision holds, to make it again should somebody delete it."""

_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}}

DRAIN_SECONDS = 5
"""Between a pod's end being known and its SIGTERM, so that all routers have forgotten it."""


def runtime_manifests(o: Observation, view: RevisionView) -> list[Manifest]:
    """Everything that serves one revision."""
    about, pods = metadata(o, view.name, "runtime", view.name), selector(o.name, "runtime", view.name)
    found = [_deployment(o, view), _service(o, view), disruption_budget(about, pods)]
    scaling = o.spec.runtime.autoscaling
    return [*found, autoscaler(about, scaling, "runtime")] if scaling else found


def _deployment(o: Observation, view: RevisionView) -> Manifest:
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
    if o.spec.runtime.autoscaling is None:
        spec["replicas"] = o.spec.runtime.replicas
    about = metadata(o, view.name, "runtime", view.name)
    copy = {"spec": as_manifest(view.spec), "status": as_manifest(view.status.kept)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**about, "annotations": {REVISION_COPY: json.dumps(copy, sort_keys=True)}},
        "spec": spec,
    }


def _pod(o: Observation, view: RevisionView) -> Manifest:
    template = as_manifest(view.spec.runtime.podTemplate)
    template.pop("env", None)
    claims = _claims(view)
    mounts = [{"name": "artifact", "mountPath": "/artifact"}, {"name": "baseline", "mountPath": "/baseline"}]
    read_only = [{**m, "readOnly": True} for m in mounts]
    custom = view.spec.runtime.is_custom
    claim_mounts = [{"name": volume, "mountPath": f"/pvc/{c}", "readOnly": True} for volume, c in claims.items()]
    return {
        **{k: v for k, v in template.items() if v},
        **pull_secrets(o, *view.spec.runtime.podTemplate.imagePullSecrets),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 30 + DRAIN_SECONDS,
        "initContainers": [
            _fetcher(o, view, [*mounts, *claim_mounts]),
            *([_monitor(o, view, read_only)] if custom else []),
        ],
        "containers": [_server(o, view, [*read_only, *([{"name": "tmp", "mountPath": "/tmp"}] if custom else [])])],
        "volumes": [
            {"name": "artifact", "emptyDir": {}},
            {"name": "baseline", "emptyDir": {}},
            *([{"name": "tmp", "emptyDir": {}}] if custom else []),
            *(
                {"name": volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
                for volume, claim in claims.items()
            ),
        ],
    }


def _fetcher(o: Observation, view: RevisionView, mounts: list[Manifest]) -> Manifest:
    model, baseline = view.spec.model, view.status.baseline
    arguments = ["--uri", model.uri, "--to", "/artifact"]
    if view.spec.runtime.is_custom:
        arguments.append("--any-model")
    if model.digest:
        arguments += ["--digest", model.digest]
    if baseline:
        arguments += ["--baseline-uri", baseline.uri, "--baseline-to", "/baseline"]
        arguments += ["--baseline-digest", baseline.digest] if baseline.digest else []
    return {
        "name": "fetch",
        "image": view.spec.runtime.tools or view.spec.runtime.image,
        "imagePullPolicy": o.defaults.pull_policy,
        "command": ["headgate-fetch"],
        "args": arguments,
        "env": view.spec.runtime.podTemplate.env,
        "securityContext": container_security(),
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": mounts,
    }


def _server(o: Observation, view: RevisionView, mounts: list[Manifest]) -> Manifest:
    runtime = view.spec.runtime
    process = _custom_process(o, view) if runtime.is_custom else _own_process(o, view)
    return {
        "name": "runtime",
        "image": runtime.image,
        "imagePullPolicy": o.defaults.pull_policy,
        **process,
        "startupProbe": http_probe("/v2/health/live", "http", periodSeconds=1, failureThreshold=300),
        "readinessProbe": http_probe("/v2/health/ready", "http", periodSeconds=2, timeoutSeconds=2),
        "livenessProbe": http_probe("/v2/health/live", "http", periodSeconds=10, timeoutSeconds=5),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        "securityContext": container_security(),
        "resources": with_defaults(runtime.resources, _RESOURCES),
        "volumeMounts": mounts,
    }


def _own_process(o: Observation, view: RevisionView) -> Manifest:
    """Headgate's own server."""
    return {
        "command": ["headgate-serve"],
        "args": [
            *("--model", "/artifact", "--name", o.name, "--version", view.spec.model.version),
            *("--http-port", str(HTTP_PORT), "--grpc-port", str(GRPC_PORT)),
            *("--metrics-port", str(METRICS_PORT), "--baseline", "/baseline"),
        ],
        "env": [*_identity(o, view), *view.spec.runtime.podTemplate.env],
        "ports": [*_INFERENCE_PORTS, {"name": "metrics", "containerPort": METRICS_PORT}],
    }


def _custom_process(o: Observation, view: RevisionView) -> Manifest:
    """What the user's image starts, unless the spec says otherwise."""
    runtime = view.spec.runtime
    version = {"name": "HEADGATE_VERSION", "value": view.spec.model.version}
    return {
        **({"command": runtime.command} if runtime.command else {}),
        **({"args": runtime.args} if runtime.args else {}),
        "env": [*_identity(o, view), version, *runtime.podTemplate.env],
        "ports": [*_INFERENCE_PORTS],
    }


def _monitor(o: Observation, view: RevisionView, mounts: list[Manifest]) -> Manifest:
    """A native sidecar, so that it outlives the engine whose last answers it counts."""
    return {
        "name": "monitor",
        "image": view.spec.runtime.tools,
        "imagePullPolicy": o.defaults.pull_policy,
        "restartPolicy": "Always",
        "command": ["headgate-monitor"],
        "args": [
            *("--artifact", "/artifact", "--baseline", "/baseline", "--model", o.name),
            *("--engine", f"http://127.0.0.1:{HTTP_PORT}", "--port", str(METRICS_PORT)),
        ],
        "env": _identity(o, view),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        "securityContext": container_security(),
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": mounts,
    }


def _identity(o: Observation, view: RevisionView) -> list[Manifest]:
    """The labels of its series, in the environment."""
    labels = {"HEADGATE_NAMESPACE": o.namespace, "HEADGATE_MODEL": o.name, "HEADGATE_REVISION": view.name}
    return [{"name": name, "value": value} for name, value in labels.items()]


def _service(o: Observation, view: RevisionView) -> Manifest:
    custom = view.spec.runtime.is_custom
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(o, view.name, "runtime", view.name),
        "spec": {
            "clusterIP": "None",
            "selector": selector(o.name, "runtime", view.name),
            "ports": [
                {"name": "http", "port": HTTP_PORT, "targetPort": "http"},
                {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc"},
                # By number: Kubernetes of before 1.33 does not find a sidecar's port by its name.
                *([{"name": "samples", "port": METRICS_PORT, "targetPort": METRICS_PORT}] if custom else []),
            ],
        },
    }


def _claims(view: RevisionView) -> dict[str, str]:
    """Volume to the PersistentVolumeClaim that holds the artifact, or its baseline.

    By number: the name of a claim may have dots and 253 characters, that of a volume may not.
    """
    uris = [view.spec.model.uri, view.status.baseline.uri if view.status.baseline else ""]
    names = {uri.removeprefix("pvc://").partition("/")[0] for uri in uris if uri.startswith("pvc://")}
    return {f"pvc-{number}": claim for number, claim in enumerate(sorted(names))}
