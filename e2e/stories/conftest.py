"""What the stories share: the cluster, one installation of Headgate, and a namespace of their own for each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stories.installation import Headgate
from stories.rights import Rights
from stories.session import Session
from stories.world import World, clear, delete_namespace, new_namespace
from tools.cluster import Cluster

# A cluster of the user's own is neither started nor ended by us.
collect_ignore = ["test_two_clusters.py"] if os.environ.get("CLUSTER") == "existing" else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last what all stories have used."""
    items.sort(key=lambda item: item.path.name == "test_rights_are_used.py")


@pytest.fixture(scope="session")
def told_in() -> Session | None:
    """What `make e2e` has made for all its processes."""
    return Session.current()


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The checkout's cluster. It stays up: the next run finds it ready, and `make cluster-down` ends it.

    The tests themselves move into its network, so they can connect to Services and pods.
    """
    found = Cluster.ensure()
    found.enter()
    return found


@pytest.fixture(scope="session")
def world(cluster: Cluster, told_in: Session | None) -> Iterator[World]:
    """The cluster with all images, and models to fetch."""
    if told_in:
        yield World.at(cluster, told_in.place)
        return
    clear(cluster)
    found = World.on(cluster)
    yield found
    delete_namespace(cluster, found.place)


@pytest.fixture(scope="session")
def rights(world: World, told_in: Session | None) -> Rights | None:
    """What Headgate asks the API server for in this session. The log of a cluster of the user's own is not ours."""
    layout = world.cluster.layout
    if not layout:
        return None
    return Rights(world, layout.audit_log, told_in.began) if told_in else Rights(world, layout.audit_log)


@pytest.fixture(scope="session")
def headgate(world: World, rights: Rights | None, told_in: Session | None) -> Iterator[Headgate]:
    """Headgate, installed with its chart. It stays installed. At the end: it was refused nothing."""
    yield Headgate(world) if told_in else Headgate.install(world)
    if rights:
        rights.nobody_was_refused()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace that refuses pods which are not "restricted"."""
    words = request.node.name.replace("_", "-").lower().removeprefix("test-")
    name = new_namespace(cluster, words)
    yield name
    delete_namespace(cluster, name)
