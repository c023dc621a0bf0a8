"""Story 6: the operator is away. Requests are answered, and whatever is deleted comes back and serves."""

from __future__ import annotations

import pytest

from stories.clients import Clients
from stories.installation import Headgate
from stories.models import Model, ready
from stories.waiting import until

pytestmark = pytest.mark.alone


def test_traffic_is_served_and_pods_come_back_while_no_operator_runs(headgate: Headgate, namespace: str) -> None:
    census = headgate.model(namespace, runtime={"replicas": 2})
    census.ask_for(headgate.world.artifact("v1"))
    live = census.until_stable("v1")
    clients = Clients.of(census)

    with headgate.without("operator"):
        for component in ("router", "runtime"):
            for name in ready(census.pods(component)):
                comes_back(census, component, name)
        clients.saw_no_failure()
        assert set(clients.state()["revisions"]) == set(live.weights)

    headgate.ready("operator")
    again = census.until_stable("v1")
    assert again.decisions == live.decisions
    assert again.weights == live.weights
    clients.saw_no_failure()


def comes_back(census: Model, component: str, name: str) -> None:
    """Delete a pod, and wait for the one that replaces it."""
    census.world.cluster.kubectl("delete", "pod", name, f"--namespace={census.namespace}", "--wait=false")

    def replaced(names: list[str]) -> bool:
        return len(names) == 2 and name not in names

    until(lambda: ready(census.pods(component)), replaced, 60, f"another {component} is ready")
