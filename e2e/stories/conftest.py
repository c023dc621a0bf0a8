"""What the stories share: the cluster, and a namespace of their own for each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from cluster import Cluster

_numbers = itertools.count(1)

# A cluster of the user's own is neither started nor ended by us.
collect_ignore = ["test_two_clusters.py"] if os.environ.get("CLUSTER") == "existing" else []


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The checkout's cluster. It stays up: the next run finds it ready, and `make cluster-down` ends it.

    The tests themselves move into its network, so they can connect to Services and pods.
    """
    found = Cluster.ensure()
    found.enter()
    return found


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace that refuses pods which are not "restricted", as a careful company's would."""
    words = request.node.name.replace("_", "-").lower().removeprefix("test-")[:40].rstrip("-")
    # Deleting one takes a while; a number keeps a second run from waiting for the first one's.
    taken = {item["metadata"]["name"] for item in cluster.get("namespaces")["items"]}
    name = next(name for number in _numbers if (name := f"{words}-{number}") not in taken)
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
