"""All pods of a model are lost, and it can't start others: users get degraded answers, and none sees a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from stories.clients import Clients
from stories.installation import Headgate
from stories.models import Model
from stories.waiting import until
from tools.cluster import Cluster

TIMEOUT = 10.0
"""So long that no busy machine takes the answer of the simple model for late."""
SAFE = {
    "name": "safe",
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1], "data": [0]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2], "data": [0.9, 0.1]},
    ],
}
CHAIN = {"timeout": f"{TIMEOUT:g}s", "fallback": [{"modelDeployment": "simple"}, {"static": SAFE}]}
LOOK = 6
"""Seconds for which a story looks at who answers."""


def test_without_a_pod_the_chain_answers_in_order_and_then_the_model_again(headgate: Headgate, namespace: str) -> None:
    artifact = headgate.world.artifact
    simple = headgate.model(namespace, "simple", traffic={"routers": 1})
    census = headgate.model(namespace, traffic=CHAIN)
    simple.ask_for(artifact("v1"))
    census.ask_for(artifact("v2"))
    simple.until_stable("v1")
    v2 = census.until_stable("v2").revision_of("v2")
    clients = Clients.of(census, rate=50)
    assert answering(clients) == {v2}

    with unschedulable(headgate.cluster):
        lose_pods(census)
        until(lambda: answering(clients, 1), lambda seen: seen == {"simple"}, 10, "the simple model answers")
        assert answering(clients) == {"simple"}
        lose_pods(simple)
        until(lambda: answering(clients, 1), lambda seen: seen == {"safe"}, 10, "the static answer is given")
        assert answering(clients) == {"safe"}
    until(lambda: answering(clients, 1), lambda seen: seen == {v2}, 90, "the model answers again")
    assert answering(clients) == {v2}

    state = clients.saw_no_failure()  # what comes too late gets 504 from the router
    given = headgate.query(
        "sum by (fallback) (max_over_time(headgate_fallback_total"
        f'{{headgate_namespace="{namespace}",headgate_model="census",outcome="answered"}}[10m]))',
        by="fallback",
    )
    answers = {who: state["revisions"][who]["ok"] for who in ("simple", "safe")}
    print(f"degraded answers: {answers}, slowest of all {slowest(clients, state['started'])} ms")
    assert given == {**answers, "none": 0}
    assert headgate.attempts(census).keys() <= {v2}


def answering(clients: Clients, seconds: int = LOOK) -> set[str]:
    """Who answered in the whole seconds that come."""
    begin = int(time.time()) + 1
    time.sleep(begin + seconds + 0.3 - time.time())
    found = clients.state(since=begin)["seconds"]
    return {who for each in found if begin <= each["time"] < begin + seconds for who in each["revisions"]}


def slowest(clients: Clients, since: float) -> float:
    """Milliseconds of the slowest answer."""
    return max(float(each["max_ms"]) for each in clients.state(since=int(since))["seconds"])


def lose_pods(model: Model) -> None:
    """As with a node that is gone: no goodbye to anybody."""
    for pod in model.pods("runtime"):
        where = f"--namespace={model.namespace}"
        model.world.cluster.kubectl("delete", "pod", pod["metadata"]["name"], where, "--grace-period=0", "--force")


@contextmanager
def unschedulable(cluster: Cluster) -> Iterator[None]:
    """No pod starts anywhere until the end of the block."""
    nodes = [node["metadata"]["name"] for node in cluster.get("nodes")["items"]]
    cluster.kubectl("cordon", *nodes)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", *nodes)
