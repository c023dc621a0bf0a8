"""The ground that the other stories stand on: pods run, names resolve, Services route, and pods are restricted."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from stories.manifests import HARDENED, pod, service
from tools.cluster import Cluster, CommandFailed, NotAllowed


def test_a_restricted_pod_is_reached_through_its_service_by_name(cluster: Cluster, namespace: str) -> None:
    image = cluster.load_images(["base"])["base"]
    serve = ["python3", "-m", "http.server", "8080", "--directory", "/etc/python3"]
    fetch = f"from urllib.request import urlopen; print(urlopen('http://web.{namespace}/debian_config').status)"
    cluster.apply(pod("web", namespace, image, serve, HARDENED), service("web", namespace))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", f"--namespace={namespace}", "--timeout=60s")

    # A new Service's rules are there within a second of its endpoints.
    retry = f"import time\nfor _ in range(50):\n  try:\n    {fetch}; break\n  except OSError: time.sleep(0.1)"
    cluster.apply(pod("client", namespace, image, ["python3", "-c", retry], HARDENED))
    cluster.kubectl(
        "wait", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", "pod/client",
        f"--namespace={namespace}", "--timeout=60s",
    )  # fmt: skip
    assert cluster.kubectl("logs", "client", f"--namespace={namespace}").strip() == "200"

    address = cluster.get("service", "web", f"--namespace={namespace}")["spec"]["clusterIP"]
    assert httpx.get(f"http://{address}/debian_config").status_code == 200


def test_a_pod_that_may_become_root_is_refused(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        cluster.apply(pod("root", namespace, "localhost/any:1", ["true"], {}))


@pytest.mark.parametrize("named", ["", "staging"])
def test_a_cluster_of_the_users_own_is_refused_unless_its_context_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text("current-context: production\n")
    monkeypatch.setenv("CLUSTER", "existing")
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("KUBE_CONTEXT", named)

    with pytest.raises(NotAllowed, match="set KUBE_CONTEXT=production"):
        Cluster.ensure()

    monkeypatch.setenv("KUBE_CONTEXT", "production")
    assert Cluster.ensure().kubeconfig == config
