"""One revision's serving Deployment, its headless Service, and its autoscaler.

The pod template depends on the ModelRevision alone (and its baseline, fixed when its rollout started), so no change
of role restarts a pod.
"""

from urllib.parse import urlsplit

from headgate.api.revision import as_manifest
from headgate.core.manifests.availability import autoscaler, disruption_budget
from headgate.core.manifests.metadata import (
    Manifest,
    container_security,
    http_probe,
    metadata,
    pod_security,
    selector,
)
from headgate.core.model import Observation, RevisionView

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
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
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(o, view.name, "runtime", view.name),
        "spec": spec,
    }


def _pod(o: Observation, view: RevisionView) -> Manifest:
    template = as_manifest(view.spec.runtime.podTemplate)
    template.pop("env", None)
    claims = _claims(view)
    mounts = [{"name": "artifact", "mountPath": "/artifact"}, {"name": "baseline", "mountPath": "/baseline"}]
    claim_mounts = [{"name": f"pvc-{c}", "mountPath": f"/pvc/{c}", "readOnly": True} for c in claims]
    return {
        **{k: v for k, v in template.items() if v},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 30 + DRAIN_SECONDS,
        "initContainers": [_fetcher(o, view, [*mounts, *claim_mounts])],
        "containers": [_server(o, view, [{**m, "readOnly": True} for m in mounts])],
        "volumes": [
            {"name": "artifact", "emptyDir": {}},
            {"name": "baseline", "emptyDir": {}},
            *({"name": f"pvc-{c}", "persistentVolumeClaim": {"claimName": c, "readOnly": True}} for c in claims),
        ],
    }


def _fetcher(o: Observation, view: RevisionView, mounts: list[Manifest]) -> Manifest:
    model, baseline = view.spec.model, view.status.baseline
    arguments = ["--uri", model.uri, "--to", "/artifact"]
    if model.digest:
        arguments += ["--digest", model.digest]
    if baseline:
        arguments += ["--baseline-uri", baseline.uri, "--baseline-to", "/baseline"]
        arguments += ["--baseline-digest", baseline.digest] if baseline.digest else []
    return {
        "name": "fetch",
        "image": view.spec.runtime.image,
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
    identity = {"HEADGATE_NAMESPACE": o.namespace, "HEADGATE_MODEL": o.name, "HEADGATE_REVISION": view.name}
    return {
        "name": "runtime",
        "image": runtime.image,
        "imagePullPolicy": o.defaults.pull_policy,
        "command": ["headgate-serve"],
        "args": [
            *("--model", "/artifact", "--name", o.name, "--version", view.spec.model.version),
            *("--http-port", str(HTTP_PORT), "--grpc-port", str(GRPC_PORT)),
            *("--metrics-port", str(METRICS_PORT), "--baseline", "/baseline"),
        ],
        "env": [*({"name": k, "value": v} for k, v in identity.items()), *runtime.podTemplate.env],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "grpc", "containerPort": GRPC_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "startupProbe": http_probe("/v2/health/live", "http", periodSeconds=1, failureThreshold=300),
        "readinessProbe": http_probe("/v2/health/ready", "http", periodSeconds=2, timeoutSeconds=2),
        "livenessProbe": http_probe("/v2/health/live", "http", periodSeconds=10, timeoutSeconds=5),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        "securityContext": container_security(),
        "resources": runtime.resources or {"requests": {"cpu": "100m", "memory": "128Mi"}},
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
                {"name": "http", "port": HTTP_PORT, "targetPort": "http"},
                {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc"},
            ],
        },
    }


def _claims(view: RevisionView) -> list[str]:
    """Names of the PersistentVolumeClaims that hold the artifact and its baseline."""
    uris = [view.spec.model.uri, view.status.baseline.uri if view.status.baseline else ""]
    return sorted({urlsplit(u).netloc for u in uris if u.startswith("pvc://")})
