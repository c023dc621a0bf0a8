"""Objects of others that have the names or the labels of a model's children: they stay as they are."""

import copy
from contextlib import suppress
from typing import Any

import pytest

from headgate.api import API_VERSION, MODEL_LABEL, REVISION_LABEL
from headgate.core.dataplane import ChildName
from headgate.errors import Conflict, HeadgateError, NameTaken
from headgate.observe import Children
from headgate.ownership import OwnedChildren, own
from headgate.queue import Key
from small_cluster import Cluster

KINDS = {
    "Service": "v1",
    "ServiceAccount": "v1",
    "ConfigMap": "v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "Deployment": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def foreign(kind: str, name: str, namespace: str = "models", **meta: Any) -> dict[str, Any]:
    about = {"namespace": namespace, "name": name, **meta}
    return {"apiVersion": KINDS.get(kind, API_VERSION), "kind": kind, "metadata": about, "spec": {"of": "others"}}


def theirs(cluster: Cluster, kind: str, name: str, **meta: Any) -> dict[str, Any]:
    """Put a foreign object there; what it is now."""
    cluster.kube.put(foreign(kind, name, **meta))
    return copy.deepcopy(dict(cluster.kube.find(kind, name)))


async def look(cluster: Cluster, *seconds: float) -> None:
    """Several times; it may fail."""
    for each in seconds:
        with suppress(HeadgateError):
            await cluster.look(each)
        cluster.ready()


def condition(cluster: Cluster, type_: str) -> tuple[str, str, str]:
    found = next(c for c in cluster.status["conditions"] if c["type"] == type_)
    return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize("other", [None, {"kind": "Deployment", "uid": "of-another"}])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("Service", "fraud"), *((kind, "fraud-router") for kind in KINDS if kind != "Service")],
)
async def test_an_object_that_has_the_name_of_a_child_is_not_changed(
    cluster: Cluster, kind: str, name: str, other: Any
) -> None:
    before = theirs(cluster, kind, name, **({"ownerReferences": [other]} if other else {}))
    cluster.ask("v1", traffic={"routerAutoscaling": {"maxReplicas": 4}})
    await look(cluster, 1, 1, 20, 20, 1, 1)
    now = cluster.kube.find(kind, name)
    assert (now["metadata"], now["spec"]) == (before["metadata"], before["spec"])
    status, reason, message = condition(cluster, "Stalled")
    assert (status, reason) == ("True", "NameTaken")
    assert f"{kind} models/{name}" in message
    events = [o["reason"] for (k, *_), o in cluster.kube.objects.items() if k == "Event"]
    assert events.count("NameTaken") == 1


async def test_the_models_of_others_are_served_and_rolled_back_while_a_name_is_taken(cluster: Cluster) -> None:
    await cluster.canary()
    theirs(cluster, "PodDisruptionBudget", "another")
    cluster.kube.objects["PodDisruptionBudget", "models", "fraud-router"]["metadata"]["ownerReferences"] = []
    cluster.reconciler = cluster.restarted()
    cluster.serve(candidate=(10, 90))
    with pytest.raises(NameTaken) as taken:
        await cluster.look()
    assert (cluster.status["phase"], cluster.routed) == ("RollingBack", {"stable": 100})
    assert taken.value.again, "the rollout is looked at as often as without that"


async def test_routers_do_not_run_as_a_strangers_service_account(cluster: Cluster) -> None:
    theirs(cluster, "ServiceAccount", "fraud-router")
    await look(cluster, 1, 1)
    standing = {(kind, name) for kind, _, name in cluster.kube.objects}
    assert not {("Deployment", "fraud-router"), ("RoleBinding", "fraud-router")} & standing
    assert ("Service", "fraud") in standing, "what does not depend on it goes on"


async def test_the_service_of_the_api_server_is_not_taken(cluster: Cluster) -> None:
    cluster.kube.put(foreign("Service", "kubernetes", "default"))
    before = copy.deepcopy(cluster.kube.find("Service", "kubernetes", "default"))
    cluster.kube.put(
        {
            "apiVersion": API_VERSION,
            "kind": "ModelDeployment",
            "metadata": {"namespace": "default", "name": "kubernetes"},
            "spec": {"model": {"version": "v1", "uri": "file:///models/v1"}},
        }
    )
    with pytest.raises(NameTaken, match="Service default/kubernetes"):
        await cluster.reconciler.reconcile(Key("default", "kubernetes"))
    assert cluster.kube.find("Service", "kubernetes", "default") == before


async def test_an_autoscaler_that_others_made_for_the_routers_stays(cluster: Cluster) -> None:
    before = theirs(cluster, "HorizontalPodAutoscaler", "fraud-router")
    await cluster.live()
    assert cluster.kube.find("HorizontalPodAutoscaler", "fraud-router") == before


async def test_a_deployment_that_only_has_the_labels_makes_nothing_be_deleted(cluster: Cluster) -> None:
    await cluster.live()
    labels = {MODEL_LABEL: "fraud", REVISION_LABEL: "postgres"}
    kinds = ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Service", "Deployment")
    before = [theirs(cluster, kind, "postgres", labels=labels) for kind in kinds]
    await cluster.look()
    assert [cluster.kube.find(kind, "postgres") for kind in kinds] == before
    assert cluster.kube.writes == []


async def test_a_debug_copy_of_a_deployment_is_not_taken_for_the_revision(cluster: Cluster) -> None:
    await cluster.live()
    revision = cluster.status["stable"]["revision"]
    original = cluster.kube.find("Deployment", revision)
    copied = copy.deepcopy(original)
    copied["metadata"]["name"] = f"{revision}-debug"
    copied["status"] = {**original["status"], "readyReplicas": 0}
    for owned in (True, False):
        if not owned:
            del copied["metadata"]["ownerReferences"]
        cluster.kube.put(copied)
        await cluster.look()
        assert cluster.status["stable"]["ready"] == 1
        assert cluster.kube.find("Deployment", f"{revision}-debug")


async def test_a_model_with_the_name_of_anothers_revision_gets_another_name_or_nothing(cluster: Cluster) -> None:
    await cluster.live()
    revision = cluster.status["stable"]["revision"]
    before = copy.deepcopy(cluster.kube.find("Service", revision))
    cluster.kube.put(
        {
            "apiVersion": API_VERSION,
            "kind": "ModelDeployment",
            "metadata": {"namespace": "models", "name": revision},
            "spec": {"model": {"version": "v1", "uri": "file:///models/v1"}},
        }
    )
    with pytest.raises(NameTaken, match=f"Service models/{revision}"):
        await cluster.reconciler.reconcile(Key("models", revision))
    assert cluster.kube.find("Service", revision) == before
    await cluster.look(400)
    assert cluster.kube.find("Service", revision)["spec"] == before["spec"]


async def test_a_record_that_others_made_is_not_served(cluster: Cluster) -> None:
    await cluster.look()
    revision = cluster.status["candidate"]["revision"]
    cluster = Cluster()
    before = theirs(cluster, "ModelRevision", revision)
    await look(cluster, 1, 1, 10, 1)
    assert cluster.kube.find("ModelRevision", revision) == before
    assert cluster.kube.find("Deployment", revision) is None
    assert revision in condition(cluster, "Stalled")[2]


async def test_children_of_an_earlier_model_of_the_same_name_are_not_ours(cluster: Cluster) -> None:
    await cluster.live()
    cluster.kube.find("ModelDeployment", "fraud")["metadata"]["uid"] = "uid-of-the-next"
    service = copy.deepcopy(cluster.kube.find("Service", "fraud"))
    await look(cluster, 1)
    assert cluster.kube.find("Service", "fraud") == service


def child(name: str, labels: Any = (), owners: Any = ()) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": dict(labels), "ownerReferences": list(owners)}}


def test_pods_of_a_revision_are_those_of_its_deployment() -> None:
    ours = {REVISION_LABEL: "fraud-1a2b3c4d"}
    deployment = child("fraud-1a2b3c4d", ours, [{"uid": "u"}])

    def pod(name: str, replica_set: str | None, **labels: str) -> dict[str, Any]:
        owner = {"kind": "ReplicaSet", "name": replica_set, "controller": True, "uid": "x"}
        return child(name, labels or ours, [owner] if replica_set else [])

    pods = [
        pod("counts", "fraud-1a2b3c4d-5f6d7c"),
        pod("copy", "fraud-1a2b3c4d-debug-5f6d7c"),
        pod("by hand", None),
        pod("router", None, component="router"),
    ]
    found = own(Children([deployment], pods, []), "u")
    assert [p["metadata"]["name"] for p in found.pods] == ["counts", "router"]


MANIFEST = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"namespace": "models", "name": "fraud", "ownerReferences": [{"uid": "u"}]},
}


async def test_an_object_that_took_the_name_since_is_neither_changed_nor_deleted(cluster: Cluster) -> None:
    owned, kube = OwnedChildren(cluster.kube), cluster.kube
    (uid,) = (await owned.standing([MANIFEST])).values()
    assert uid == ""
    await owned.apply(MANIFEST, "")
    (uid,) = (await owned.standing([MANIFEST])).values()
    del kube.objects["Service", "models", "fraud"]
    before = theirs(cluster, "Service", "fraud", uid="another")
    await owned.delete(ChildName("v1", "Service", "fraud"), "models", "u")
    assert kube.find("Service", "fraud") == before
    with pytest.raises(Conflict):
        await owned.apply(MANIFEST, str(uid))
    assert isinstance((await owned.standing([MANIFEST]))[("Service", "models", "fraud")], NameTaken)  # type: ignore[index]
    with pytest.raises(Conflict):
        await owned.apply(MANIFEST, "")
    assert kube.find("Service", "fraud") == before


async def test_what_is_ours_is_asked_for_once(cluster: Cluster) -> None:
    await cluster.live()
    await cluster.look(400)
    assert not [r for r in cluster.kube.requests if r[0] == "owned" and r[1] == "Service"]
