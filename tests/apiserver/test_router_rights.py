"""A router at a real API server with the Role that the operator gives it: refused nothing, and nothing unused."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headgate.errors import KubernetesError
from headgate_serving.router.kube import Reflector, Selection, deployment_selection, slices_selection
from models_there import GROUP, MERGE, ask, names
from operator_process import Operator
from patience import until
from real_apiserver import ROUTER, Cluster
from tools.cluster import audit

VALUES = {"prometheus": {"url": "http://127.0.0.1:1"}}

ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/models/roles"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/models/rolebindings"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices"


@pytest.fixture
async def model(cluster: Cluster, operator: Operator) -> None:
    """A model whose router has its rights."""
    ask(cluster, "fraud", "v1")
    await until(lambda: "fraud-router" in names(cluster, ROLES) & names(cluster, BINDINGS))


@contextlib.asynccontextmanager
async def following(cluster: Cluster, *selections: Selection) -> AsyncIterator[list[Reflector]]:
    """The agent's caches, as the router's ServiceAccount."""
    async with cluster.client(ROUTER) as api:
        caches = [Reflector(api, selection, time.monotonic, lambda: 0.0) for selection in selections]
        tasks = [asyncio.create_task(cache.run(lambda: None)) for cache in caches]
        yield caches
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("model")
async def test_a_router_is_refused_nothing_and_uses_what_it_is_granted(cluster: Cluster) -> None:
    selections = deployment_selection("models", "fraud"), slices_selection("models", "fraud")
    async with following(cluster, *selections) as (deployments, slices):
        await until(lambda: deployments.synced and slices.synced)
        assert set(deployments.objects) == {"fraud"}
        labels = {"headgate.dev/model": "fraud", "headgate.dev/component": "runtime"}
        body = {"metadata": {"name": "fraud-x", "labels": labels}, "addressType": "IPv4", "endpoints": []}
        cluster.create(SLICES, body)
        changed = {"metadata": {"annotations": {"changed": "yes"}}}
        cluster.request("PATCH", f"{GROUP}/modeldeployments/fraud", changed, MERGE)
        await until(lambda: "fraud-x" in slices.objects)
        await until(lambda: "changed" in deployments.objects["fraud"]["metadata"].get("annotations", {}))
    granted = audit.granted(cluster.request("GET", f"{ROLES}/fraud-router"))
    await until(lambda: audit.used(cluster.audited(ROUTER)) == granted)  # a watch is logged when it has ended
    assert not audit.forbidden(cluster.audited(ROUTER))


TRIES: dict[str, Any] = {
    "models of others": lambda kube: kube.list("headgate.dev/v1alpha1", "ModelDeployment", "models", {}),
    "another namespace": lambda kube: kube.list("headgate.dev/v1alpha1", "ModelDeployment", "default", {}),
    "records": lambda kube: kube.list("headgate.dev/v1alpha1", "ModelRevision", "models", {}),
    "pods": lambda kube: kube.list("v1", "Pod", "models", {}),
    "a change of its model": lambda kube: kube.apply_status(
        {
            "apiVersion": "headgate.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "fraud", "namespace": "models"},
            "status": {"traffic": []},
        }
    ),
}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("tried", TRIES)
async def test_who_has_a_routers_token_reads_nothing_else_and_changes_nothing(cluster: Cluster, tried: str) -> None:
    kube = cluster.kube(ROUTER)
    with pytest.raises(KubernetesError, match="403"):
        await TRIES[tried](kube)
    await kube.close()
