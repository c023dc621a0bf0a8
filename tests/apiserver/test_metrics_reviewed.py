"""The operator's metrics at a real API server: by its own tokens, for an audience, and with rights to /metrics or none.

The operator has the rights that the chart gives it for this, and is bound by the chart's admission policy.
"""

import urllib.error
import urllib.request
from typing import Any

import pytest

from operator_process import Operator
from patience import until
from real_apiserver import ACCOUNT, Cluster
from tools.cluster import audit

AUDIENCE = "headgate-metrics"
VALUES = {
    "prometheus": {"url": "http://127.0.0.1:1"},
    "metrics": {"authentication": True},
    "admission": {"bindOperator": {"enabled": True}},
}
ACCOUNTS = "/api/v1/namespaces/models/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLES = ("headgate-system-headgate-metrics-review", "headgate-system-headgate-metrics-reader")


@pytest.fixture
async def metrics(cluster: Cluster, operator: Operator) -> str:
    """Where the operator shows them, with the chart's settings."""
    operator.stop()
    operator.start(HEADGATE_METRICS_AUTHENTICATION="true", HEADGATE_METRICS_AUDIENCE=AUDIENCE)
    await until(operator.leads)  # by /readyz, which is open
    return f"http://127.0.0.1:{operator.port}/metrics"


def token(cluster: Cluster, account: str, *audiences: str) -> str:
    """Of a ServiceAccount that is made for it."""
    cluster.create(ACCOUNTS, {"metadata": {"name": account}})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": audiences}}
    return str(cluster.create(f"{ACCOUNTS}/{account}/token", body)["status"]["token"])


def bind(cluster: Cluster, account: str) -> None:
    """Let it read metrics, as the documentation says."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLES[1]}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "models"}
    body = {"metadata": {"name": account}, "roleRef": role, "subjects": [subject]}
    cluster.create(f"{RBAC}/clusterrolebindings", body)


def read(url: str, shown: str) -> tuple[int, str]:
    """Status and text."""
    headers = {"Authorization": f"Bearer {shown}"} if shown else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_scraper_with_the_right_reads_and_others_are_told_why_not(cluster: Cluster, metrics: str) -> None:
    scraper, other = token(cluster, "scraper", AUDIENCE), token(cluster, "other", AUDIENCE)
    ordinary = token(cluster, "ordinary")
    for account in ("scraper", "ordinary"):
        bind(cluster, account)
    answers: list[Any] = []

    def reads() -> bool:
        answers.append(read(metrics, scraper))
        return bool(answers[-1][0] == 200)

    await until(reads)  # the API server knows of the binding a moment later
    assert "headgate_leading 1.0" in answers[-1][1]
    for shown, status, words in (
        ("", 401, "Authorization: Bearer TOKEN"),
        ("made.up.token", 401, AUDIENCE),
        (ordinary, 401, AUDIENCE),
        (other, 403, "system:serviceaccount:models:other may not get /metrics"),
    ):
        found = read(metrics, shown)
        assert (found[0], words in found[1], "headgate_leading" in found[1]) == (status, True, False), found

    calls = cluster.audited(ACCOUNT)
    assert not audit.forbidden(calls)
    granted = audit.granted(*(cluster.request("GET", f"{RBAC}/clusterroles/{role}") for role in ROLES))
    assert granted == {("create", "tokenreviews"), ("create", "subjectaccessreviews")}
    assert granted <= audit.used(calls)
