"""NetworkPolicies come and go with the operator's setting, and those of others stay."""

import copy
from contextlib import suppress
from dataclasses import replace

import pytest

from headgate.core.manifests.metadata import Manifest
from headgate.core.model import NetworkAccess
from headgate.errors import KubernetesError, NameTaken
from small_cluster import Cluster
from world import DEFAULTS

NAMES = ("fraud", "fraud-router")


@pytest.fixture
def cluster() -> Cluster:
    found = Cluster()
    switch(found, NetworkAccess())
    return found


def switch(cluster: Cluster, network: NetworkAccess | None) -> None:
    """The operator is started anew with another setting."""
    cluster.defaults = replace(DEFAULTS, network=network)
    cluster.reconciler = cluster.restarted()


async def test_they_go_when_they_are_switched_off_and_come_back(cluster: Cluster) -> None:
    await cluster.live()
    assert all(cluster.kube.find("NetworkPolicy", name) for name in NAMES)
    switch(cluster, None)
    await cluster.look()
    assert not any(cluster.kube.find("NetworkPolicy", name) for name in NAMES)
    switch(cluster, NetworkAccess())
    await cluster.look()
    assert all(cluster.kube.find("NetworkPolicy", name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
async def test_one_that_others_made_stays_and_the_model_is_served(cluster: Cluster, name: str) -> None:
    cluster.kube.put(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": "models", "name": name},
            "spec": {"podSelector": {}},
        }
    )
    before = copy.deepcopy(cluster.kube.find("NetworkPolicy", name))
    for seconds in (1, 1, 1, 15, 1):
        with suppress(NameTaken):
            await cluster.look(seconds)
        cluster.ready()
    assert cluster.kube.find("NetworkPolicy", name) == before
    assert all(cluster.kube.find(kind, of) for kind, of in (("Service", "fraud"), ("Deployment", "fraud-router")))
    assert cluster.status["phase"] == "Stable"
    stalled = next(c for c in cluster.status["conditions"] if c["type"] == "Stalled")
    assert stalled["reason"] == "NameTaken"
    assert f"NetworkPolicy models/{name}" in stalled["message"]
    switch(cluster, None)
    await cluster.look()
    assert cluster.kube.find("NetworkPolicy", name) == before


async def test_routers_that_only_some_may_reach_are_not_there_without_their_policy(cluster: Cluster) -> None:
    apply = cluster.kube.apply

    async def refusing(manifest: Manifest, force: bool = True) -> Manifest:
        if manifest["kind"] == "NetworkPolicy" and manifest["metadata"]["name"] == "fraud-router":
            raise KubernetesError("422 spec.ingress[0].from[0].ipBlock: except is no part of cidr")
        return await apply(manifest, force)

    cluster.kube.apply = refusing  # type: ignore[method-assign]
    peer = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"]}}
    cluster.ask("v1", traffic={"clients": [peer]})
    for _ in range(3):
        with suppress(KubernetesError):
            await cluster.look(15)
    assert not cluster.kube.find("Service", "fraud")
    assert not cluster.kube.find("Deployment", "fraud-router")
    cluster.ask("v1")
    with suppress(KubernetesError):
        await cluster.look(15)
    assert cluster.kube.find("Deployment", "fraud-router"), "without `clients` the policy is no condition"
