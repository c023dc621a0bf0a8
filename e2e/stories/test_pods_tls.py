"""Pods that take TLS: a model goes over to it by a rollout as any other, and new certificates disturb no one."""

from __future__ import annotations

import base64
import socket
import ssl
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stories.certificates import Pair, authority
from stories.clients import Clients
from stories.installation import Headgate
from stories.models import Model, identities, merged
from stories.secured_clients import shown_at
from stories.waiting import until

PODS, ROUTERS = "census-pods", "census-routers"
PORT = 8000
TLS = {"runtime": {"tls": {"secret": PODS, "routerSecret": ROUTERS}}}
LOOKED_AT = {"rollout": {"preflight": {"enabled": True}}}


@pytest.mark.timeout(1500)
def test_a_model_goes_over_to_tls_and_new_certificates_disturb_no_one(headgate: Headgate, namespace: str) -> None:
    models = headgate.world.artifact
    census = headgate.model(namespace)
    name = f"{census.name}.{namespace}.svc"
    pods, routers, strangers = authority("pods"), authority("routers"), authority("strangers")
    census.ask_for(models("v1"))
    census.until_stable("v1")
    clients = Clients.of(census)

    # The Secrets are not there yet: routers and pods wait for them, and what serves goes on.
    census = replace(census, spec=merged(LOOKED_AT, TLS))
    census.ask_for(models("v2"))
    until(lambda: waiting_for(census, "router"), lambda names: ROUTERS in names, 60, "a router waits for its Secret")
    until(lambda: waiting_for(census, "runtime"), lambda names: PODS in names, 60, "a pod waits for its Secret")
    assert list(census.look().weights.values()) == [100.0]
    certificate, client = pods.issue(name), routers.issue("census-routers")
    put(census, PODS, certificate, routers)
    put(census, ROUTERS, client, pods)
    revision = census.until_stable("v2", seconds=400).revision_of("v2")
    assert ("Normal", "PreflightPassed") in census.events()

    # Nobody but a router is answered, whoever reaches a pod's address.
    address = only_pod(census, revision)
    assert answer(address, trusting(pods, name, client)).startswith(b"HTTP/1.1 200")
    for stranger in (None, strangers.issue("census-routers")):
        with pytest.raises((OSError, ConnectionError)):
            assert not answer(address, trusting(pods, name, stranger)), "the connection is closed"
            raise ConnectionError
    with socket.create_connection((address, PORT), timeout=10) as plain:
        plain.sendall(b"GET /v2 HTTP/1.1\r\nHost: census\r\n\r\n")
        assert b"HTTP" not in plain.recv(100)

    # Both get other certificates from other authorities: first each trusts the other's next one.
    before = identities([*census.pods("router"), *census.pods("runtime", revision)])
    next_pods, next_routers = authority("next pods"), authority("next routers")
    put(census, PODS, certificate, routers, next_routers)
    put(census, ROUTERS, client, pods, next_pods)
    settle(census)
    renewed, client = next_pods.issue(name), next_routers.issue("census-routers")
    put(census, ROUTERS, client, pods, next_pods)
    put(census, PODS, renewed, routers, next_routers)
    settle(census)
    serial = renewed.certificate.serial_number
    until(lambda: shown_at(address, PORT), lambda shown: shown == serial, 100, "the pod shows the new certificate")
    put(census, PODS, renewed, next_routers)
    put(census, ROUTERS, client, next_pods)
    settle(census)
    assert answer(address, trusting(next_pods, name, client)).startswith(b"HTTP/1.1 200")
    assert identities([*census.pods("router"), *census.pods("runtime", revision)]) == before, "nothing was restarted"

    # And back to plain text.
    census = replace(census, spec={})
    census.ask_for(models("v2", "v5"))
    census.until_stable("v5", seconds=300)
    clients.saw_no_failure()


def waiting_for(model: Model, component: str) -> str:
    """What the kubelet says of pods that wait for a volume."""
    names = {pod["metadata"]["name"] for pod in model.pods(component)}
    events = model.world.api.items(
        f"/api/v1/namespaces/{model.namespace}/events", {"fieldSelector": "reason=FailedMount"}
    )
    return " ".join(each["message"] for each in events if each["involvedObject"]["name"] in names)


def only_pod(model: Model, revision: str) -> str:
    (pod,) = model.pods("runtime", revision)
    return str(pod["status"]["podIP"])


def trusting(pods: Pair, name: str, client: Pair | None) -> tuple[ssl.SSLContext, str]:
    """As a router asks: who vouches for pods, their name, and what is shown to them."""
    context = ssl.create_default_context(cadata=pods.pem)
    if client:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(client.pem + client.key)
            file.flush()
            context.load_cert_chain(Path(file.name))
    return context, name


def answer(address: str, asked: tuple[ssl.SSLContext, str]) -> bytes:
    """How a pod's answer begins; TLS 1.3 tells a client that it was refused only when it first reads."""
    context, name = asked
    with (
        socket.create_connection((address, PORT), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: census\r\n\r\n")
        return connection.recv(100)


def settle(model: Model) -> None:
    """The kubelet looks at Secrets once a minute, and whenever the pod changes; both sides every two seconds."""
    selector = f"--selector=headgate.dev/model={model.name}"
    model.world.cluster.kubectl(
        "annotate", "pods", selector, f"--namespace={model.namespace}", "--overwrite", f"looked={time.time():.0f}"
    )
    time.sleep(10)


def put(model: Model, name: str, own: Pair, *trusted: Pair) -> None:
    """A Secret as cert-manager makes it."""
    content = {"tls.crt": own.pem, "tls.key": own.key, "ca.crt": "".join(pair.pem for pair in trusted)}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    metadata = {"name": name, "namespace": model.namespace}
    model.world.cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
    )
