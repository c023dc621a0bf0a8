"""A real API server with its etcd, on loopback, with the chart installed: no node, no controllers, no container.

Users are told apart by static tokens, so the operator has the rights of its ServiceAccount and no more, and every
request of it is in the audit log.
"""

import json
import os
import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.aio import client

from headgate.edges.kube import ApiServer
from patience import PATIENCE
from ports import free_ports
from tools.cluster import audit
from tools.setup import tools

ADMIN = "system:masters"
ACCOUNT = "headgate-system:headgate"
"""The operator's ServiceAccount, as the chart names it."""
ROUTER = "models:fraud-router"
"""The ServiceAccount of a model's routers, as the operator names it."""
_UNVERIFIED = ssl._create_unverified_context()  # its certificate is its own, and the connection on loopback


@dataclass
class Cluster:
    """See above."""

    folder: Path
    port: int
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", who: str = ADMIN
    ) -> Any:
        """The answer to one request, as JSON. Raises urllib's HTTPError."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(asked, timeout=30, context=_UNVERIFIED) as answer:
            return json.loads(answer.read() or b"null")

    def create(self, collection: str, body: Any) -> Any:
        """An object in a collection, by its path."""
        return self.request("POST", collection, body)

    def client(self, who: str = ADMIN) -> client.ApiClient:
        """What the operator's and the routers' clients are made of, as a user."""
        configuration = client.Configuration()
        configuration.host, configuration.verify_ssl = self.url, False
        configuration.api_key = {"BearerToken": f"Bearer {self.tokens[who]}"}
        return client.ApiClient(configuration)

    def kube(self, who: str = ADMIN) -> ApiServer:
        """The operator's client, as a user."""
        return ApiServer(self.client(who))

    def audited(self, account: str) -> list[audit.Event]:
        """What a ServiceAccount has asked for so far."""
        return audit.by(audit.events(self.folder / "audit.log"), account)


Installed = Callable[[], AbstractContextManager[Cluster]]
"""Starts one with the chart installed."""


@contextmanager
def running(folder: Path, *service_accounts: str) -> Iterator[Cluster]:
    """Start it; `service_accounts` are `namespace:name`."""
    etcd_port, port = free_ports(2)
    users = {ADMIN: ("admin", ADMIN)} | {
        each: (f"system:serviceaccount:{each}", "system:serviceaccounts,system:authenticated")
        for each in service_accounts
    }
    cluster = Cluster(folder, port, {each: secrets.token_hex(16) for each in users})
    lines = [f'{cluster.tokens[each]},{name},{name},"{groups}"' for each, (name, groups) in users.items()]
    (folder / "tokens.csv").write_text("\n".join(lines))
    (folder / "audit.yaml").write_text(yaml.safe_dump(audit.POLICY))
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (folder / "key").write_bytes(key)
    program = str(tools.ensure("kube") / "kube")
    etcd = f"http://127.0.0.1:{etcd_port}"
    commands = (
        ("etcd", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
         "--listen-peer-urls=http://127.0.0.1:0", "--unsafe-no-fsync", "--log-level=error"),
        ("kube-apiserver", f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
         f"--secure-port={port}", f"--cert-dir={folder / 'certificates'}", "--service-cluster-ip-range=10.99.0.0/24",
         "--authorization-mode=RBAC", f"--token-auth-file={folder / 'tokens.csv'}",
         "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={folder / 'key'}",
         f"--service-account-signing-key-file={folder / 'key'}", "--watch-cache=true",
         *audit.arguments(folder / "audit.yaml", folder / "audit.log")),
    )  # fmt: skip
    started = list[subprocess.Popen[bytes]]()
    try:
        for command in commands:
            with (folder / f"{command[0]}.log").open("wb") as log:
                started.append(subprocess.Popen((program, *command), stdout=log, stderr=log, cwd=folder))
        _wait(cluster, started)
        yield cluster
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def _wait(cluster: Cluster, started: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _is_ready(cluster):
        log = (cluster.folder / "kube-apiserver.log").read_text()[-4000:]
        assert time.monotonic() < deadline, log
        assert all(process.poll() is None for process in started), log
        time.sleep(0.2)


def _is_ready(cluster: Cluster) -> bool:
    headers = {"Authorization": f"Bearer {cluster.tokens[ADMIN]}"}
    asked = urllib.request.Request(f"{cluster.url}/readyz", headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=5, context=_UNVERIFIED):
            return True
    except OSError:
        return False


PATHS = {
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
}
"""Of the chart's objects: what the operator has to do with, without its pods."""


def install(cluster: Cluster, objects: list[dict[str, Any]], *namespaces: str) -> None:
    """Create what the chart renders, as far as it concerns the API server, and wait for its resources."""
    for namespace in namespaces:
        cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    for each in objects:
        if each["kind"] in PATHS:
            namespace = each["metadata"].get("namespace")
            cluster.create(PATHS[each["kind"]].format(namespace=namespace), each)
    deadline = time.monotonic() + PATIENCE
    while not _served(cluster):
        assert time.monotonic() < deadline, "the resources of the chart are not served"
        time.sleep(0.1)


def _served(cluster: Cluster) -> bool:
    try:
        found = cluster.request("GET", "/apis/headgate.dev/v1alpha1")
        for plural in ("modelrevisions", "modeldeployments"):
            cluster.request("GET", f"/apis/headgate.dev/v1alpha1/{plural}")
            cluster.request("GET", f"/apis/headgate.dev/v1alpha1/{plural}?resourceVersion=0")
    except urllib.error.HTTPError:
        return False
    return {"modeldeployments", "modelrevisions"} <= {each["name"] for each in found["resources"]}


def kubeconfig(place: Path, url: str, token: str) -> dict[str, str]:
    """The environment of a process that is this user there."""
    about = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "x", "user": {"token": token}}],
    }
    place.write_text(yaml.safe_dump(about))
    return {**os.environ, "KUBECONFIG": str(place)}
