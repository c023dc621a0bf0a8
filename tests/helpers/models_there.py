"""ModelDeployments at a real API server that has no controllers: who makes them, and who says that pods are ready."""

import copy
import urllib.error
from typing import Any

from real_apiserver import Cluster

GROUP = "/apis/headgate.dev/v1alpha1/namespaces/models"
DEPLOYMENTS = "/apis/apps/v1/namespaces/models/deployments"
MERGE = "application/merge-patch+json"


def ask(cluster: Cluster, name: str, version: str, **spec: Any) -> None:
    """A user asks for a version."""
    model = {"version": version, "uri": f"https://models.example/{version}.onnx"}
    body = {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": model, **spec, "rollout": {"preflight": {"enabled": False}, **spec.get("rollout", {})}},
    }
    try:
        cluster.create(f"{GROUP}/modeldeployments", body)
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
        _replace(cluster, f"{GROUP}/modeldeployments/{name}", body)


def _replace(cluster: Cluster, path: str, body: dict[str, Any]) -> None:
    """Anew where the operator has written a status in between."""
    for _ in range(20):
        meta = cluster.request("GET", path)["metadata"]
        body["metadata"] = {name: meta[name] for name in ("name", "resourceVersion")}
        try:
            cluster.request("PUT", path, body)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
        else:
            return
    raise AssertionError(f"{path} changes all the time")


def status(cluster: Cluster, name: str) -> Any:
    """Of a ModelDeployment."""
    return cluster.request("GET", f"{GROUP}/modeldeployments/{name}").get("status") or {}


def pods_are_ready(cluster: Cluster) -> None:
    """As the controllers and the kubelet would have it."""
    for each in cluster.request("GET", DEPLOYMENTS)["items"]:
        wanted, meta = each["spec"].get("replicas", 1), each["metadata"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted)
        body = {"status": {"observedGeneration": meta["generation"], **counts}}
        before = copy.deepcopy(each.get("status") or {})
        if {**before, **body["status"]} != before:
            cluster.request("PATCH", f"{DEPLOYMENTS}/{meta['name']}/status", body, MERGE)


def names(cluster: Cluster, collection: str) -> set[str]:
    """Of the objects in a collection, by its path."""
    return {each["metadata"]["name"] for each in cluster.request("GET", collection)["items"]}
