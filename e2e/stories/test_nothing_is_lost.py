"""Users see no failure while versions come and go, and while everything around the router ends and comes back.

ROLLOUTS says how many promotions and rollbacks there are, AWAY for how many seconds the API server is gone; `make
endurance` asks for more of both.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from stories import waiting
from stories.clients import PATIENCE, Clients
from stories.installation import SYSTEM, Headgate
from stories.models import Model, identities, ladder, merged, ready
from stories.waiting import until

ROLLOUTS = int(os.environ.get("ROLLOUTS", "1"))
AWAY = float(os.environ.get("AWAY", "30"))
AFTERMATH = 15.0
"""Seconds in which Kubernetes finds out what it has missed, and may think worse of its nodes than they are."""
RATE = 100.0
IN_HAND = 5
"""Requests that an Envoy has in hand when it is killed, and those that come in the moment before that is noticed: some
milliseconds of half of RATE, and on a busy machine more. Without the agent's listener they would be sixty."""

AGENT = "headgate_serving.router.agent"
"""The agent itself, and not who starts it anew."""

FAST = merged(ladder((50, "1s")), {"rollout": {"soak": "1s"}})


@pytest.mark.timeout(120 + 120 * ROLLOUTS)
def test_rollouts_lose_no_request(headgate: Headgate, namespace: str) -> None:
    models = headgate.world.artifact
    census = headgate.model(namespace, **FAST)
    census.ask_for(models("v2", "good-0"))
    census.until_stable("good-0")
    users = Clients.of(census, rate=RATE)
    for number in range(1, ROLLOUTS + 1):
        print(f"promotion {number} of {ROLLOUTS}", flush=True)
        census.ask_for(models("v2", f"good-{number}"))
        census.until_stable(f"good-{number}", seconds=180)
        users.saw_no_failure()
    for number in range(1, ROLLOUTS + 1):
        bad = f"bad-{number}"
        print(f"rollback {number} of {ROLLOUTS}", flush=True)
        census.ask_for(models("v3", bad))
        census.until_rolled_back(bad)
        users.saw_no_failure()


@pytest.mark.alone
def test_what_ends_around_the_router_loses_no_request(headgate: Headgate, namespace: str) -> None:
    census = headgate.model(namespace, runtime={"replicas": 2})
    census.ask_for(headgate.world.artifact("v2"))
    live = census.until_stable("v2")
    users = Clients.of(census, rate=RATE)

    for deployment, where in (
        (f"{census.name}-router", namespace),
        (live.revision_of("v2"), namespace),
        ("headgate", SYSTEM),
    ):
        restarted(headgate, deployment, where)
        users.saw_no_failure()

    agents_crash_everywhere_at_once(headgate, census)
    users.saw_no_failure()

    drained(census)
    users.saw_no_failure()

    new_routers_without_the_api_server(headgate, census)
    users.saw_no_failure()

    with headgate.cluster.without("kube-apiserver"):
        time.sleep(AWAY)
    two_ready(census, "runtime")
    time.sleep(AFTERMATH)
    users.saw_no_failure()


@pytest.mark.alone
def test_an_envoy_that_is_killed_takes_only_what_it_had_in_hand(headgate: Headgate, namespace: str) -> None:
    census = headgate.model(namespace)
    census.ask_for(headgate.world.artifact("v2"))
    census.until_stable("v2")
    users = Clients.of(census, rate=RATE)
    for router in census.pods("router"):
        assert headgate.kill_processes(router["metadata"]["uid"], "/xds/bootstrap.yaml")
        time.sleep(5)
        two_ready(census, "router")
    state = users.answered()
    print(state["totals"], state["first_failures"])
    assert state["totals"]["failed"] <= IN_HAND * 2 * waiting.PATIENCE


def agents_crash_everywhere_at_once(headgate: Headgate, census: Model) -> None:
    """Whoever has no connection yet gets one all the while: the pods stay ready, for their Envoys serve."""
    routers = census.pods("router")
    names, untouched = {router["metadata"]["name"]: 1 for router in routers}, identities(routers)
    restarts = f'sum by (pod) (headgate_router_agent_restarts_total{{namespace="{census.namespace}"}})'
    with newcomers(census) as outcomes:
        for uid in untouched:
            assert headgate.kill_processes(uid, AGENT)
        until(lambda: headgate.query(restarts, by="pod"), lambda found: names.items() <= found.items(), 30, "they run")
    assert set(outcomes) == {httpx.codes.OK}, outcomes
    assert outcomes[httpx.codes.OK] > 10
    assert identities(census.pods("router")) == untouched


@contextlib.contextmanager
def newcomers(census: Model) -> Iterator[Counter[object]]:
    """Users who connect anew with each request, twenty times a second: how often they got which status or error."""
    address = census.world.api.get(f"/api/v1/namespaces/{census.namespace}/services/{census.name}")["spec"]["clusterIP"]
    url, each_anew = f"http://{address}/v2/models/{census.name}", httpx.Limits(max_keepalive_connections=0)
    outcomes, over = Counter[object](), threading.Event()

    def ask() -> None:
        with httpx.Client(limits=each_anew, timeout=PATIENCE) as client:
            while not over.wait(0.05):
                try:
                    outcomes[client.get(url).status_code] += 1
                except httpx.HTTPError as error:
                    outcomes[repr(error)] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield outcomes
    finally:
        over.set()
        asking.join()


def two_ready(census: Model, kind: str) -> None:
    until(lambda: ready(census.pods(kind)), lambda names: len(names) == 2, 120, f"two {kind} pods are ready")


def restarted(headgate: Headgate, deployment: str, namespace: str) -> None:
    """`kubectl rollout restart`, to its end."""
    where = f"--namespace={namespace}"
    headgate.cluster.kubectl("rollout", "restart", f"deployment/{deployment}", where)
    headgate.cluster.kubectl("rollout", "status", f"deployment/{deployment}", where, "--timeout=180s")


def drained(census: Model) -> None:
    """All pods of the model are evicted as by the drain of their node, as soon as the disruption budgets allow it."""
    api = census.world.api
    waiting = {kind: [pod["metadata"]["name"] for pod in census.pods(kind)] for kind in ("router", "runtime")}
    deadline = time.monotonic() + 180
    while any(waiting.values()):
        assert time.monotonic() < deadline, f"never evicted: {waiting}"
        for names in waiting.values():
            names[:] = [name for name in names if not api.evict(census.namespace, name)]
        time.sleep(0.5)
    for kind in waiting:
        two_ready(census, kind)


def new_routers_without_the_api_server(headgate: Headgate, census: Model) -> None:
    """Routers that may not read anything start with what was published for them."""
    where = f"--namespace={census.namespace}"
    with headgate.without("operator"):
        headgate.cluster.kubectl("delete", "rolebinding", f"{census.name}-router", where)
        for name in ready(census.pods("router")):
            headgate.cluster.kubectl("delete", "pod", name, where, "--wait=false")

            def replaced(names: list[str], name: str = name) -> bool:
                return len(names) == 2 and name not in names

            until(lambda: ready(census.pods("router")), replaced, 90, "a router without rights is ready")
    headgate.ready("operator")
