"""Pods as the API server has them, and the labels that a scraper gives to their series."""

from typing import Any

from headgate.api import COMPONENT_LABEL, MODEL_LABEL, REVISION_LABEL


def pod_name(deployment: str, which: str = "aaaaa") -> str:
    """The name of a pod of a Deployment."""
    return f"{deployment}-5d9c7b8f4-{which}"


def pod_of(
    deployment: str, revision: str = "", model: str = "fraud", namespace: str = "models", which: str = "aaaaa"
) -> dict[str, Any]:
    """A pod that the ReplicaSet of a Deployment controls; without a revision a router's."""
    labels = {MODEL_LABEL: model, COMPONENT_LABEL: "runtime" if revision else "router"}
    labels |= {REVISION_LABEL: revision} if revision else {}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{deployment}-5d9c7b8f4", "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(deployment, which),
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [{**owner, "uid": f"uid-{deployment}-5d9c7b8f4"}],
        },
    }


def scraped(deployment: str, which: str = "aaaaa") -> dict[str, str]:
    """What a scraper says of a series: whose pod it is from."""
    pod = pod_name(deployment, which)
    return {"namespace": "models", "pod": pod, "instance": pod}
