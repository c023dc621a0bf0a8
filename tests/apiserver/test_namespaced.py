"""The operator with rights in the namespaces that it was given, and nowhere else."""

import pytest

from headgate.errors import KubernetesError
from models_there import DEPLOYMENTS, ask, names, pods_are_ready, status
from operator_process import Operator
from patience import until
from real_apiserver import ACCOUNT, Cluster
from tools.cluster import audit

VALUES = {"prometheus": {"url": "http://127.0.0.1:1"}, "operator": {"watchNamespaces": ["models"]}}


async def test_it_works_there_and_is_refused_nothing(cluster: Cluster, operator: Operator) -> None:
    operator.stop()
    operator.start(HEADGATE_WATCH_NAMESPACES="models")
    await until(operator.leads)
    cluster.create("/api/v1/namespaces", {"metadata": {"name": "others"}})
    body = {"metadata": {"name": "fraud"}, "spec": {"model": {"version": "v1", "uri": "https://models.example/m.onnx"}}}
    about = {"apiVersion": "headgate.dev/v1alpha1", "kind": "ModelDeployment"}
    cluster.create("/apis/headgate.dev/v1alpha1/namespaces/others/modeldeployments", {**about, **body})
    before = len(cluster.audited(ACCOUNT))

    def is_live() -> bool:
        pods_are_ready(cluster)
        return bool(status(cluster, "fraud").get("phase") == "Stable")

    ask(cluster, "fraud", "v1")
    await until(is_live)
    assert not names(cluster, DEPLOYMENTS.replace("models", "others"))
    calls = cluster.audited(ACCOUNT)[before:]
    assert calls
    assert not audit.forbidden(calls)


async def test_its_account_can_not_read_in_other_namespaces(cluster: Cluster) -> None:
    kube = cluster.kube(ACCOUNT)
    assert await kube.list("v1", "Pod", "models", {}) == []
    for namespace in ("kube-system", None):
        with pytest.raises(KubernetesError, match="403"):
            await kube.list("v1", "Pod", namespace, {})
    await kube.close()
