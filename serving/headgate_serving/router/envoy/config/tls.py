"""TLS at the inference listener, and the documents by which its certificate reaches Envoy (SDS).

`bootstrap` uses the socket, `secret_watcher` the documents. A listener with this socket never speaks plain text: while
Envoy has no certificate, it closes each connection.
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
        "tls_certificate_sds_secret_configs": [_asked_for(CERTIFICATE)],
    }
    if verify_clients:
        context["validation_context_sds_secret_config"] = _asked_for(AUTHORITY)
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TYPE + "DownstreamTlsContext",
            "common_tls_context": context,
            "require_client_certificate": verify_clients,
        },
    }


def certificate_document(certificate: Certificate) -> dict[str, Any]:
    """SDS: what the listener shows."""
    pair = {
        "certificate_chain": {"inline_string": certificate.chain},
        "private_key": {"inline_string": certificate.key},
    }
    return {"@type": _TYPE + "Secret", "name": CERTIFICATE, "tls_certificate": pair}


def authority_document(authority: str) -> dict[str, Any]:
    """SDS: who may vouch for clients."""
    trusted = {"trusted_ca": {"inline_string": authority}}
    return {"@type": _TYPE + "Secret", "name": AUTHORITY, "validation_context": trusted}


def _asked_for(name: str) -> dict[str, Any]:
    return {"name": name, "sds_config": from_agent() | {"initial_fetch_timeout": duration(START_WITHOUT_MS)}}
