"""A model that only some may ask, over TLS: they can, nobody else can, and a new certificate disturbs no one."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from typing import Any

import pytest

from stories.certificates import Pair, authority
from stories.installation import Headgate
from stories.models import Model
from stories.secured_clients import SecuredClients, shown_at
from stories.tokens import AUDIENCE, ISSUER, Signer, jwks
from stories.waiting import until

TLS, KEYS = "census-tls", "issuer"
TRAFFIC: dict[str, Any] = {
    "timeout": "3s",
    "tls": {"secret": TLS},
    "authentication": {"jwt": {"secret": KEYS, "issuer": ISSUER, "audiences": [AUDIENCE]}},
}
HTTPS = 8080
"""The routers' own port."""


def test_only_clients_with_a_token_are_let_in_and_a_new_certificate_disturbs_none(
    headgate: Headgate, namespace: str
) -> None:
    ours, others, issuer = authority("ours"), authority("others"), Signer.ec("issuer")
    census = headgate.model(namespace, traffic=TRAFFIC)
    clients = SecuredClients(census, [ours, others])
    certificate, renewed = ours.issue(clients.host), others.issue(clients.host)
    put(census, TLS, "kubernetes.io/tls", certificate)
    put_keys(census, jwks(issuer))
    census.ask_for(headgate.world.artifact("v1"))
    revision = census.until_stable("v1").revision_of("v1")
    token = issuer.token()

    until(lambda: answered(clients, token), lambda seen: seen == ("200", "OK"), 30, "authorised clients get answers")
    refused_without_a_good_token(clients, issuer)
    refused_without_tls(clients)

    with clients.asking(token) as outcomes:
        time.sleep(2)
        assert shown(census) == {certificate.certificate.serial_number}
        put(census, TLS, "kubernetes.io/tls", renewed)
        look_now(census)
        until(lambda: shown(census), lambda seen: seen == {renewed.certificate.serial_number}, 100, "both show it")
        time.sleep(2)
    print(dict(outcomes))
    assert set(outcomes) == {"REST 200", "gRPC OK"}
    assert min(outcomes.values()) > 10

    # What was refused never reached a pod.
    until(lambda: headgate.attempts(census)[revision], lambda had: had == clients.good, 20, f"{clients.good} attempts")


def refused_without_a_good_token(clients: SecuredClients, issuer: Signer) -> None:
    for path in ("infer", "ready"):
        assert clients.rest(path=path)[0] == 401
        assert clients.rest(issuer.token(exp=int(time.time()) - 120), path)[0] == 401
        assert clients.rest(Signer.ec("issuer").token(), path)[0] == 401
        assert clients.rest(issuer.token(aud="elsewhere"), path)[0] == 403
    assert clients.call() == "UNAUTHENTICATED"
    assert clients.call(issuer.token(exp=1)) == "UNAUTHENTICATED"


def refused_without_tls(clients: SecuredClients) -> None:
    """No plain text, at whichever port; and who doesn't know the authority does not go on."""
    with pytest.raises(OSError):
        socket.create_connection((clients.address, 80), timeout=2)
    for port in (443, 8001):
        with socket.create_connection((clients.address, port), timeout=5) as connection:
            connection.sendall(f"GET /v2 HTTP/1.1\r\nHost: {clients.host}\r\n\r\n".encode())
            assert b"HTTP" not in connection.recv(100)
    with pytest.raises(ssl.SSLCertVerificationError):
        SecuredClients(clients.model, [authority("strangers")]).rest()


def answered(clients: SecuredClients, token: str) -> tuple[str, str]:
    try:
        return str(clients.rest(token)[0]), clients.call(token)
    except OSError as error:
        return repr(error), ""


def shown(model: Model) -> set[int]:
    return {shown_at(pod["status"]["podIP"], HTTPS) for pod in model.pods("router")}


def look_now(model: Model) -> None:
    """The kubelet looks at a pod's Secrets once a minute, and whenever the pod changes."""
    selector = f"--selector=headgate.dev/model={model.name},headgate.dev/component=router"
    where = f"--namespace={model.namespace}"
    model.world.cluster.kubectl("annotate", "pods", selector, where, "--overwrite", f"looked={time.time():.0f}")


def put(model: Model, name: str, kind: str, pair: Pair) -> None:
    _put(model, name, kind, {"tls.crt": pair.pem, "tls.key": pair.key})


def put_keys(model: Model, keys: str) -> None:
    _put(model, KEYS, "Opaque", {"jwks.json": keys})


def _put(model: Model, name: str, kind: str, content: dict[str, str]) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    metadata = {"name": name, "namespace": model.namespace}
    model.world.cluster.apply({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "data": data})
