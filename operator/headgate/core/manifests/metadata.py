"""What all children share: names, labels, owner, and a pod that the "restricted" Pod Security level admits."""

from typing import Any

from headgate.api import API_VERSION, COMPONENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, MODEL_LABEL, REVISION_LABEL
from headgate.core.model import Observation

Manifest = dict[str, Any]

USER = 65532
"""The unprivileged user of Headgate's images."""


def labels(model: str, component: str, revision: str | None = None) -> dict[str, str]:
    """Labels of a child and of its pods."""
    common = {MANAGED_BY_LABEL: MANAGED_BY, MODEL_LABEL: model, COMPONENT_LABEL: component}
    return common | ({REVISION_LABEL: revision} if revision else {})


def selector(model: str, component: str, revision: str | None = None) -> dict[str, str]:
    """Labels that pick the pods of one component."""
    picked = labels(model, component, revision)
    del picked[MANAGED_BY_LABEL]
    return picked


def metadata(o: Observation, name: str, component: str, revision: str | None = None) -> Manifest:
    """Metadata of a child that the ModelDeployment owns."""
    return {
        "name": name,
        "namespace": o.namespace,
        "labels": labels(o.name, component, revision),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "ModelDeployment",
                "name": o.name,
                "uid": o.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def pod_security() -> Manifest:
    """Security context of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """Security context of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def pull_secrets(o: Observation, *more: Manifest) -> Manifest:
    """The field of a pod with the Secrets to pull its images with: the operator's, and `more`. Nothing without any."""
    ours = [{"name": name} for name in o.defaults.pull_secrets]
    secrets = [*more, *(secret for secret in ours if secret not in more)]
    return {"imagePullSecrets": secrets} if secrets else {}


def http_probe(path: str, port: str, **timing: int) -> Manifest:
    """A probe over HTTP; `timing` in Kubernetes' own names."""
    return {"httpGet": {"path": path, "port": port}, **timing}
