"""The operator at a real API server with the rights that the chart gives it, bound by its admission policy.

It is refused nothing, it uses everything, and whoever has its token changes nothing that no ModelDeployment owns.
"""

import urllib.error
from functools import partial
from typing import Any

import pytest

from headgate.errors import Conflict, NameTaken
from models_there import DEPLOYMENTS, GROUP, MERGE, ask, names, pods_are_ready, status
from operator_process import Operator
from patience import until
from real_apiserver import ACCOUNT, ADMIN, Cluster
from stories.rights import ASKED_FOR_BY_ADMISSION, HANDED_ON
from tools.cluster import audit

VALUES = {"prometheus": {"url": "http://127.0.0.1:1"}, "admission": {"bindOperator": {"enabled": True}}}

SERVICES = "/api/v1/namespaces/models/services"
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/models/horizontalpodautoscalers"
JOBS = "/apis/batch/v1/namespaces/models/jobs"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/models/networkpolicies"


def granted(cluster: Cluster) -> set[audit.Right]:
    """Each right of the operator's roles."""
    paths = ("clusterroles/headgate-system-headgate", "namespaces/headgate-system/roles/headgate-lease")
    return audit.granted(*(cluster.request("GET", f"/apis/rbac.authorization.k8s.io/v1/{path}") for path in paths))


async def test_the_operator_is_refused_nothing_and_uses_what_it_is_granted(
    cluster: Cluster, operator: Operator
) -> None:
    await until(operator.leads)

    async def stable(version: str) -> None:
        def is_so() -> bool:
            pods_are_ready(cluster)
            found = status(cluster, "fraud")
            return bool(found.get("phase") == "Stable" and found["stable"]["version"] == version)

        await until(is_so)

    def is_candidate(version: str) -> bool:
        return bool((status(cluster, "fraud").get("candidate") or {}).get("version") == version)

    scaled = {"runtime": {"autoscaling": {"maxReplicas": 3}}}
    ask(cluster, "fraud", "v1", rollout={"preflight": {"enabled": True}}, **scaled)

    def is_looked_at() -> bool:
        pods_are_ready(cluster)
        return bool(names(cluster, JOBS))

    await until(is_looked_at)
    ask(cluster, "fraud", "v1", **scaled)
    await stable("v1")
    assert names(cluster, AUTOSCALERS)
    ask(cluster, "fraud", "v1")
    await until(lambda: not names(cluster, AUTOSCALERS))
    # Versions that are asked for and taken back: their pods go, and the oldest records with them.
    for number in range(12):
        ask(cluster, "fraud", f"w{number}")
        await until(partial(is_candidate, f"w{number}"))
    ask(cluster, "fraud", "v1")
    await until(lambda: len(names(cluster, f"{GROUP}/modelrevisions")) < 13)
    await until(lambda: len(names(cluster, DEPLOYMENTS)) == 2)
    # Somebody deletes the record of the version that serves.
    revision = status(cluster, "fraud")["stable"]["revision"]
    cluster.request("DELETE", f"{GROUP}/modelrevisions/{revision}")
    await until(lambda: revision in names(cluster, f"{GROUP}/modelrevisions"))
    assert operator.stop() == 0
    operator.start(HEADGATE_NETWORK_POLICIES=None)
    await until(operator.leads)
    await until(lambda: not names(cluster, POLICIES))

    calls = cluster.audited(ACCOUNT)
    assert not audit.forbidden(calls)
    assert granted(cluster) - audit.used(calls) == set(HANDED_ON | ASKED_FOR_BY_ADMISSION)
    assert audit.used(calls) <= granted(cluster)


@pytest.fixture(scope="module")
def theirs(cluster: Cluster) -> Any:
    """A Service of others."""
    return cluster.create(SERVICES, {"metadata": {"name": "theirs"}, "spec": {"ports": [{"port": 80}]}})


PORTS = {"ports": [{"port": 80}]}
OWNER = [{"apiVersion": "headgate.dev/v1alpha1", "kind": "ModelDeployment", "name": "x", "uid": "x"}]
CHANGE = {"method": "PATCH", "path": f"{SERVICES}/theirs", "kind": MERGE}
TRIES: dict[str, dict[str, Any]] = {
    "change": {**CHANGE, "body": {"metadata": {"labels": {"a": "b"}}}},
    "take": {**CHANGE, "body": {"metadata": {"ownerReferences": OWNER}}},
    "delete": {"method": "DELETE", "path": f"{SERVICES}/theirs"},
    "create": {"method": "POST", "path": SERVICES, "body": {"metadata": {"name": "x"}, "spec": PORTS}},
}


@pytest.mark.parametrize("tried", TRIES)
async def test_who_has_the_operators_token_changes_nothing_that_no_model_owns(
    cluster: Cluster, theirs: Any, tried: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        cluster.request(**TRIES[tried], who=ACCOUNT)
    message = refused.value.read().decode()
    assert (refused.value.code, "only objects that a ModelDeployment owns" in message) == (422, True), message
    assert cluster.request("GET", f"{SERVICES}/theirs") == theirs


async def test_what_who_has_the_operators_token_can_do_even_so(cluster: Cluster) -> None:
    """The policy binds objects by the owner that they name, and statuses not at all: docs/security.md says so."""
    ask(cluster, "bound", "v1")
    path = f"{GROUP}/modeldeployments/bound/status"
    changed = cluster.request("PATCH", path, {"status": {"phase": "Pending"}}, MERGE, who=ACCOUNT)
    assert changed["status"]["phase"] == "Pending"
    claimed = {"metadata": {"name": "claimed", "ownerReferences": OWNER}, "spec": PORTS}
    assert cluster.request("POST", SERVICES, claimed, who=ACCOUNT)["metadata"]["name"] == "claimed"


async def test_whose_an_object_is_is_told_by_the_real_api_server(cluster: Cluster, theirs: Any) -> None:
    admin, operator = cluster.kube(ADMIN), cluster.kube(ACCOUNT)
    manifest: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "ours", "namespace": "models", "ownerReferences": OWNER},
        "spec": PORTS,
    }
    created = await operator.apply(manifest, force=False)
    uid = created["metadata"]["uid"]
    assert (await operator.owned("v1", "Service", "models", "ours", "x"))["metadata"]["uid"] == uid
    with pytest.raises(NameTaken):
        await operator.owned("v1", "Service", "models", "ours", "another")
    with pytest.raises(NameTaken):
        await operator.owned("v1", "Service", "models", "theirs", "x")
    await operator.apply({**manifest, "metadata": {**manifest["metadata"], "uid": uid}})
    await admin.delete("v1", "Service", "models", "ours", "of another")
    for _ in range(2):
        with pytest.raises(Conflict):
            await operator.apply({**manifest, "metadata": {**manifest["metadata"], "uid": "of another"}})
        await admin.delete("v1", "Service", "models", "ours", uid)
    await admin.close()
    await operator.close()
