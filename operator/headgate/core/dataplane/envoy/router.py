"""The router of one ModelDeployment: Envoy with the agent beside it, and what the agent may read.

One Deployment for all versions: its template depends on what the resource's `traffic` says of routers, and on the
operator's images, alone, so no rollout ever restarts a router.
"""

import math
from collections.abc import Mapping
from typing import Any

from headgate.api import contract
from headgate.api.quantities import quantity
from headgate.core.dataplane.envoy.protection import (
    inference_port,
    protection_arguments,
    protection_environment,
    secret_mounts,
    secret_volumes,
    service_ports,
)
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
from headgate.core.model import Observation

DRAIN_SECONDS = 30
"""How long a router that ends goes on: the cluster forgets it within the first seconds, each client's connection is
closed with its next answer, and the last requests end."""

KNOWN_AFTER_SECONDS = 2
"""How long after it is ready a router counts as available: kube-proxy tells a node of a new endpoint once a second, and
later on a busy one. A first version is not called live before that, and no old router ends."""

TOKEN_SECONDS = 3600
"""How long a token is valid; the kubelet brings the next one when a fifth of that is left."""

LEAST_THREADS = 2
_XDS = "/xds"
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
_RESOURCES = {"requests": {"cpu": "100m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}


def router_name(o: Observation) -> str:
    """Name of the router's Deployment, ServiceAccount and Role."""
    return f"{o.name}-router"


def router_manifests(o: Observation) -> list[Manifest]:
    """Everything that routes to the model, whatever its versions."""
    about, pods = metadata(o, router_name(o), "router"), selector(o.name, "router")
    found = [_account(o), _role(o), _binding(o), _service(o), _deployment(o), disruption_budget(about, pods)]
    scaling = o.spec.traffic.routerAutoscaling
    return [*found, autoscaler(about, scaling, "envoy")] if scaling else found


def _account(o: Observation) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(o, router_name(o), "router"),
        "automountServiceAccountToken": False,
    }


def _role(o: Observation) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata(o, router_name(o), "router"),
        "rules": [
            {
                "apiGroups": [contract.GROUP],
                "resources": [contract.DEPLOYMENTS],
                "resourceNames": [o.name],
                "verbs": ["list", "watch"],
            },
            {
                "apiGroups": ["discovery.k8s.io"],
                "resources": ["endpointslices"],
                "verbs": ["list", "watch"],
            },
        ],
    }


def _binding(o: Observation) -> Manifest:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(o, router_name(o), "router"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": router_name(o)},
        "subjects": [{"kind": "ServiceAccount", "name": router_name(o), "namespace": o.namespace}],
    }


def _service(o: Observation) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(o, o.name, "router"),
        "spec": {
            "selector": selector(o.name, "router"),
            "ports": service_ports(o),
        },
    }


def _deployment(o: Observation) -> Manifest:
    pods = selector(o.name, "router")
    replicas = {} if o.spec.traffic.routerAutoscaling else {"replicas": o.spec.traffic.routers}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(o, router_name(o), "router"),
        "spec": {
            **replicas,
            "minReadySeconds": KNOWN_AFTER_SECONDS,
            "selector": {"matchLabels": pods},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "revisionHistoryLimit": 1,
            "template": {
                "metadata": {
                    "labels": metadata(o, router_name(o), "router")["labels"],
                    "annotations": {"prometheus.io/path": "/stats/prometheus"},
                },
                "spec": {
                    **pull_secrets(o),
                    "serviceAccountName": router_name(o),
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pod_security(),
                    "terminationGracePeriodSeconds": DRAIN_SECONDS + 10,
                    "initContainers": [_agent(o)],
                    "containers": [_envoy(o)],
                    "volumes": [
                        {"name": "xds", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                        {"name": "published", "configMap": {"name": router_name(o), "optional": True}},
                        {"name": "token", "projected": _token()},
                        *secret_volumes(o),
                    ],
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": pods},
                        }
                    ],
                },
            },
        },
    }


def _token() -> Manifest:
    """What the kubelet would mount into every container, for the agent alone: Envoy faces clients and asks nobody."""
    certificate = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return {
        "defaultMode": 0o440,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
            {"configMap": certificate},
        ],
    }


def _agent(o: Observation) -> Manifest:
    """A native sidecar: it has written Envoy's configuration before Envoy starts, and outlives it."""
    return {
        "name": "agent",
        "image": o.defaults.serving_image,
        "imagePullPolicy": o.defaults.pull_policy,
        "restartPolicy": "Always",
        "command": ["headgate-router-agent"],
        "args": [
            *(
                contract.AgentArgument.NAMESPACE,
                o.namespace,
                contract.AgentArgument.MODEL,
                o.name,
                contract.AgentArgument.POD,
                "$(POD)",
            ),
            *(
                contract.AgentArgument.XDS_FOLDER,
                _XDS,
                contract.AgentArgument.PUBLISHED,
                f"/published/{contract.PUBLISHED_FILE}",
            ),
            *protection_arguments(o),
        ],
        "env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            *protection_environment(),
        ],
        "ports": [{"name": contract.AGENT_METRICS_PORT_NAME, "containerPort": contract.AGENT_PORT}],
        # Beside Envoy's own time to wait, and not in its place: an agent that has crashed must not cut it short.
        "lifecycle": {"preStop": {"exec": {"command": _drain_command()}}},
        # Envoy starts when its configuration is there; requests come when there is a version to send them to.
        "startupProbe": http_probe(
            "/startupz", contract.AGENT_METRICS_PORT_NAME, periodSeconds=1, failureThreshold=120
        ),
        # Once ready a router stays so: an agent that hangs is begun anew by the liveness probe, long before this one
        # takes an Envoy out that goes on without it.
        "readinessProbe": http_probe(
            "/readyz", contract.AGENT_METRICS_PORT_NAME, periodSeconds=1, timeoutSeconds=5, failureThreshold=120
        ),
        "livenessProbe": http_probe("/healthz", contract.AGENT_METRICS_PORT_NAME, periodSeconds=10, timeoutSeconds=5),
        "securityContext": container_security(),
        "resources": {"requests": {"cpu": "20m", "memory": "80Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [
            {"name": "xds", "mountPath": _XDS},
            {"name": "token", "mountPath": _TOKEN, "readOnly": True},
            {"name": "published", "mountPath": "/published", "readOnly": True},
            *secret_mounts(o),
        ],
    }


def _drain_command() -> list[str]:
    """Within the pod, so that nobody else can ask for it."""
    return [
        "headgate-router-drain",
        *(contract.DrainArgument.SOCKET, f"{_XDS}/{contract.DRAIN_SOCKET}"),
        *(contract.DrainArgument.SECONDS, str(DRAIN_SECONDS)),
    ]


def _threads(resources: Mapping[str, Any]) -> int:
    """Of Envoy: as many as it may have cores, and two if nothing says how many those are."""
    parts = [resources.get(which) or {} for which in ("limits", "requests")]
    cpu = next((part["cpu"] for part in parts if "cpu" in part), 0)
    return max(LEAST_THREADS, math.ceil(quantity(cpu)))


def _envoy(o: Observation) -> Manifest:
    resources = with_defaults(o.spec.traffic.routerResources, _RESOURCES)
    return {
        "name": "envoy",
        "image": o.defaults.envoy_image,
        "imagePullPolicy": o.defaults.pull_policy,
        "command": ["envoy"],
        "args": [
            *("-c", f"{_XDS}/bootstrap.yaml", "--disable-hot-restart", "--concurrency", str(_threads(resources))),
            *("--log-level", "warn", "--file-flush-interval-msec", "1000"),
        ],
        "ports": [
            {"name": inference_port(o), "containerPort": contract.ROUTER_HTTP_PORT},
            {"name": contract.METRICS_PORT_NAME, "containerPort": contract.ROUTER_METRICS_PORT},
        ],
        "readinessProbe": http_probe("/healthz", contract.METRICS_PORT_NAME, periodSeconds=2, timeoutSeconds=2),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        "securityContext": container_security(),
        "resources": resources,
        "volumeMounts": [{"name": "xds", "mountPath": _XDS}],
    }
