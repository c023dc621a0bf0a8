"""TLS at the inference listener, and the documents by which certificates reach Envoy (SDS).

`bootstrap` uses the socket, `pod_sockets` makes those towards pods of the same parts, `secret_watcher` uses the
documents. A listener with this socket never speaks plain text: while Envoy has no certificate, it closes each
connection.
"""

from typing import Any

from headgate_serving.certificates import Certificate
from headgate_serving.router.envoy.config.layout import duration, from_agent

CERTIFICATE, AUTHORITY = "certificate", "client-authority"
"""The names by which Envoy asks for them."""

START_WITHOUT_MS = 2000
"""How long Envoy waits for them before it starts: its probes and metrics are not to depend on a Secret."""

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def transport_socket(*, verify_clients: bool) -> dict[str, Any]:
    """TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2; only for clients with a certificate where that is asked for."""
    context: dict[str, Any] = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [asked_for(CERTIFICATE)],
    }
    if verify_clients:
        context["validation_context_sds_secret_config"] = asked_for(AUTHORITY)
    return tls_socket("DownstreamTlsContext", context, require_client_certificate=verify_clients)


def tls_socket(kind: str, context: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A transport socket; `more` are fields of this kind of context."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": _TYPE + kind, "common_tls_context": context, **more},
    }


def certificate_document(certificate: Certificate, name: str = CERTIFICATE) -> dict[str, Any]:
    """SDS: what is shown to the other side."""
    pair = {
        "certificate_chain": {"inline_string": certificate.chain},
        "private_key": {"inline_string": certificate.key},
    }
    return {"@type": _TYPE + "Secret", "name": name, "tls_certificate": pair}


def authority_document(authority: str, name: str = AUTHORITY) -> dict[str, Any]:
    """SDS: who may vouch for the other side."""
    trusted = {"trusted_ca": {"inline_string": authority}}
    return {"@type": _TYPE + "Secret", "name": name, "validation_context": trusted}


def asked_for(name: str) -> dict[str, Any]:
    """A document that Envoy asks the agent for."""
    return {"name": name, "sds_config": from_agent() | {"initial_fetch_timeout": duration(START_WITHOUT_MS)}}
