"""What the stories share: the cluster, one installation of Headgate, and a namespace of their own for each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stories.idle import Idle
from stories.installation import Headgate
from stories.rights import Rights
from stories.world import World, clear, delete_namespace, new_namespace
from tools.cluster import Cluster

# A cluster of the user's own is neither started nor ended by us.
collect_ignore = ["test_two_clusters.py"] if os.environ.get("CLUSTER") == "existing" else []

# The idle model is left alone while other stories are told; those that take parts of Headgate away come after it.
AFTER_IDLE = (
    "test_nothing_is_lost.py",
    "test_failover.py",
    "test_blind.py",
    "test_operator_away.py",
    "test_two_clusters.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stories that disturb nothing, the idle model, then the others, and last what all of them have used."""
    places = {"test_idle.py": 1, **dict.fromkeys(AFTER_IDLE, 2), "test_rights_are_used.py": 3}

    def place(item: pytest.Item) -> int:
        return places.get(item.path.name, 0)

    items.sort(key=place)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The checkout's cluster. It stays up: the next run finds it ready, and `make cluster-down` ends it.

    The tests themselves move into its network, so they can connect to Services and pods.
    """
    found = Cluster.ensure()
    found.enter()
    return found


@pytest.fixture(scope="session")
def world(cluster: Cluster) -> Iterator[World]:
    """The cluster with all images, and models to fetch."""
    clear(cluster)
    found = World.on(cluster)
    yield found
    delete_namespace(cluster, found.place)


@pytest.fixture(scope="session")
def rights(world: World) -> Rights | None:
    """What Headgate asks the API server for in this session. The log of a cluster of the user's own is not ours."""
    layout = world.cluster.layout
    return Rights(world, layout.audit_log) if layout else None


@pytest.fixture(scope="session")
def headgate(world: World, rights: Rights | None, request: pytest.FixtureRequest) -> Iterator[Headgate]:
    """Headgate, installed with its chart. It stays installed. At the end: it was refused nothing."""
    installed = Headgate.install(world)
    idle = any("idle" in getattr(item, "fixturenames", ()) for item in request.session.items)
    request.session.stash[_IDLE] = Idle.left_alone(installed) if idle else None
    yield installed
    if found := request.session.stash[_IDLE]:
        delete_namespace(world.cluster, found.model.namespace)
    if rights:
        rights.nobody_was_refused()


_IDLE = pytest.StashKey[Idle | None]()


@pytest.fixture(scope="session")
def idle(headgate: Headgate, request: pytest.FixtureRequest) -> Idle:
    """A model that has been left alone since the beginning of the session."""
    found = request.session.stash[_IDLE]
    assert found is not None
    return found


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace that refuses pods which are not "restricted"."""
    words = request.node.name.replace("_", "-").lower().removeprefix("test-")
    name = new_namespace(cluster, words)
    yield name
    delete_namespace(cluster, name)
