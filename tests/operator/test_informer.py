"""What there is in the cluster: events and lists, and what is left when a watch was broken for a while."""

from collections.abc import Callable
from typing import Any

import pytest

from fakes import FakeKube
from headgate.errors import HeadgateError, KubernetesError
from headgate.informer import Informer
from headgate.queue import Key

FRAUD = Key("models", "fraud")


def item(
    kind: str, name: str, model: str = "fraud", version: str = "1", uid: str | None = None, namespace: str = "models"
) -> dict[str, Any]:
    meta = {
        "name": name,
        "namespace": namespace,
        "labels": {"headgate.dev/model": model},
        "resourceVersion": version,
        "uid": uid or f"uid-{name}",
    }
    return {"kind": kind, "apiVersion": "v1", "metadata": meta}


class Cluster(FakeKube):
    """An API server, and an informer that may or may not be told of what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.missed: list[Any] = []
        self.informer = Informer(lambda *about: self.missed.append(about))
        self.meanwhile: Callable[[], None] = lambda: None
        """Called when a list has been made, before it is there."""

    async def list(self, *about: Any) -> list[Any]:
        found = await super().list(*about)
        self.meanwhile()
        return found

    def there(self, *items: Any) -> None:
        self.objects = {(o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]): o for o in items}

    async def resync(self) -> frozenset[Any]:
        return await self.informer.resync(self, [None])

    def names(self, model: str = "fraud") -> tuple[Any, ...]:
        found = self.informer.children("models", model)
        return tuple(sorted(o["metadata"]["name"] for o in [*found.deployments, *found.pods, *found.revisions]))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_before_everything_was_listed_nothing_is_known_rather_than_empty(cluster: Cluster) -> None:
    with pytest.raises(HeadgateError):
        cluster.names()
    cluster.failing["list", "ModelRevision"] = KubernetesError("503")
    with pytest.raises(KubernetesError):
        await cluster.resync()
    assert cluster.informer.unsynced == ("modelrevisions", "services", "modeldeployments")
    with pytest.raises(HeadgateError, match="modelrevisions"):
        cluster.names()
    await cluster.resync()
    assert cluster.names() == ()


async def test_objects_are_found_by_their_model(cluster: Cluster) -> None:
    cluster.there(item("Pod", "a"), item("Deployment", "b"), item("ModelRevision", "c"), item("Pod", "d", "churn"))
    await cluster.resync()
    assert cluster.names() == ("a", "b", "c")
    assert cluster.names("churn") == ("d",)
    assert cluster.informer.children("other", "fraud").pods == []


async def test_events_keep_it_current(cluster: Cluster) -> None:
    await cluster.resync()
    cluster.informer.seen("pods", "ADDED", item("Pod", "a"))
    cluster.informer.seen("pods", None, item("Pod", "b"))
    cluster.informer.seen("services", "ADDED", item("Service", "s"))
    assert cluster.names() == ("a", "b")
    cluster.informer.seen("pods", "MODIFIED", item("Pod", "a", "churn", "2"))
    cluster.informer.seen("pods", "DELETED", item("Pod", "b", version="3"))
    cluster.informer.seen("pods", "DELETED", item("Pod", "never seen"))
    assert (cluster.names(), cluster.names("churn")) == ((), ("a",))


async def test_what_was_deleted_while_a_watch_was_broken_is_gone_after_the_next_list(cluster: Cluster) -> None:
    """As after "410 Gone": kopf then tells what there is, and nothing of what is there no more."""
    ghosts = [item("Pod", "fraud-router-b"), item("Deployment", "fraud-1"), item("ModelRevision", "fraud-1")]
    stays = item("Pod", "fraud-router-a")
    cluster.there(stays, *ghosts)
    await cluster.resync()
    cluster.there(stays)
    cluster.informer.seen("pods", None, stays)
    assert len(cluster.names()) == 4
    assert await cluster.resync() == {FRAUD}
    assert cluster.names() == ("fraud-router-a",)


async def test_what_came_or_changed_while_a_watch_was_broken_is_found(cluster: Cluster) -> None:
    cluster.there(item("Pod", "a"))
    await cluster.resync()
    assert await cluster.resync() == frozenset()
    cluster.there(item("Pod", "a", version="2"), item("Deployment", "b", "churn"))
    assert await cluster.resync() == {FRAUD, Key("models", "churn")}
    assert cluster.informer.children("models", "fraud").pods[0]["metadata"]["resourceVersion"] == "2"


async def test_an_event_is_newer_than_the_list_that_was_on_its_way(cluster: Cluster) -> None:
    cluster.there(item("Pod", "goes"), item("Pod", "changes"))
    await cluster.resync()

    def meanwhile() -> None:
        cluster.informer.seen("pods", "DELETED", item("Pod", "goes", version="5"))
        cluster.informer.seen("pods", "MODIFIED", item("Pod", "changes", version="6"))
        cluster.informer.seen("pods", "ADDED", item("Pod", "comes", version="7"))

    cluster.meanwhile = meanwhile
    await cluster.resync()
    assert cluster.names() == ("changes", "comes")
    assert {p["metadata"]["resourceVersion"] for p in cluster.informer.children("models", "fraud").pods} == {"6", "7"}


async def test_an_older_version_does_not_replace_a_newer_one(cluster: Cluster) -> None:
    cluster.there(item("Pod", "a", version="10"))
    await cluster.resync()
    cluster.informer.seen("pods", None, item("Pod", "a", version="9"))
    cluster.informer.seen("pods", "MODIFIED", item("Pod", "a", version="9"))
    (found,) = cluster.informer.children("models", "fraud").pods
    assert found["metadata"]["resourceVersion"] == "10"
    cluster.informer.seen("pods", "ADDED", item("Pod", "a", version="11", uid="another"))
    cluster.informer.seen("pods", "MODIFIED", item("Pod", "a", version="10"))
    cluster.informer.seen("pods", "DELETED", item("Pod", "a", version="12"))
    (found,) = cluster.informer.children("models", "fraud").pods
    assert found["metadata"]["uid"] == "another", "what is told late of an object is not said of its successor"


async def test_a_watch_that_tells_nothing_is_broken_after_two_lists_that_found_something(cluster: Cluster) -> None:
    cluster.there(item("Pod", "a"))
    await cluster.resync()
    cluster.informer.seen("pods", None, item("Pod", "a"))
    for version in ("2", "3"):
        cluster.there(item("Pod", "a", version=version))
        await cluster.resync()
        assert cluster.informer.broken == ()
    await cluster.resync()
    assert (cluster.informer.broken, cluster.missed) == (("pods",), [("pods", 1), ("pods", 1)])


async def test_a_watch_that_is_only_later_than_the_list_is_not_broken(cluster: Cluster) -> None:
    cluster.there(item("Pod", "a"))
    for version in ("1", "2", "3", "4"):
        cluster.there(item("Pod", "a", version=version))
        await cluster.resync()
        cluster.informer.seen("pods", "MODIFIED", item("Pod", "a", version=version))
    assert (cluster.informer.broken, cluster.missed) == ((), [])


async def test_only_the_listed_namespaces_are_replaced(cluster: Cluster) -> None:
    cluster.there(item("Pod", "a"), item("Pod", "b", namespace="other"))
    await cluster.informer.resync(cluster, ["models", "other"])
    cluster.there(item("Pod", "b", namespace="other"))
    await cluster.informer.resync(cluster, ["models", "other"])
    assert cluster.names() == ()
    assert len(cluster.informer.children("other", "fraud").pods) == 1


async def test_what_is_gone_before_its_watch_began_is_missed_once(cluster: Cluster) -> None:
    cluster.there(item("Pod", "a"))
    await cluster.resync()
    cluster.there()
    for _ in range(3):
        await cluster.resync()
    assert (cluster.informer.broken, cluster.missed) == ((), [("pods", 1)])


async def test_a_round_of_lists_that_failed_says_nothing_of_the_watches(cluster: Cluster) -> None:
    cluster.there(item("Deployment", "a"))
    for _ in range(3):
        cluster.failing["list", "Pod"] = KubernetesError("503")
        with pytest.raises(KubernetesError):
            await cluster.resync()
    await cluster.resync()
    assert (cluster.informer.broken, cluster.missed) == ((), [])


async def test_a_watch_of_models_that_tells_nothing_is_broken_too(cluster: Cluster) -> None:
    for version in ("1", "2", "3", "4"):
        cluster.there(item("ModelDeployment", "fraud", version=version))
        await cluster.resync()
    assert cluster.informer.broken == ("modeldeployments",)
    assert cluster.informer.models == {FRAUD}


async def test_only_what_is_needed_is_kept(cluster: Cluster) -> None:
    pod = item("Pod", "a")
    pod["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    service = {**item("Service", "s"), "spec": {"ports": []}}
    cluster.there(pod, service)
    await cluster.resync()
    (found,) = cluster.informer.children("models", "fraud").pods
    assert "managedFields" not in found["metadata"]
    assert "spec" not in cluster.informer._stores["services"].objects[Key("models", "s")]
