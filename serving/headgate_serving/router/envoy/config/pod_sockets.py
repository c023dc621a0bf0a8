"""How Envoy connects to pods: in plain text, or over TLS with the certificate that a pod's port names.

`clusters` puts the sockets into each cluster of pods and the mark into each endpoint. A cluster has the sockets of all
Secrets that are mounted, whatever its pods speak: it stays the same, with its counters, when a pod comes or goes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from headgate_serving.router.envoy.config.layout import duration
from headgate_serving.router.envoy.config.tls import asked_for, tls_socket
from headgate_serving.router.policy.endpoints import Endpoint
from headgate_serving.router.policy.pod_tls import PodTls

CONNECT_TIMEOUT_MS = 250
HANDSHAKE_TIMEOUT_MS = 2500
"""The same over TLS. In plain text the pod's kernel takes a connection at once, and requests wait in it while the pod's
process is busy. Here the process itself has to shake hands: who gives up early throws that work away, connects again,
and keeps a pod busy that would have caught up."""

_MATCH = "envoy.transport_socket_match"


class PodSecret(NamedTuple):
    """A mounted Secret, and the names of its documents."""

    identity: str
    mount: Path

    @property
    def certificate(self) -> str:
        """What is shown to pods."""
        return f"certificate-for-pods-{self.identity}"

    @property
    def authority(self) -> str:
        """Who vouches for pods."""
        return f"authority-of-pods-{self.identity}"


def pod_secrets(pods: PodTls) -> Iterator[PodSecret]:
    """All that are mounted."""
    return (PodSecret(identity, mount) for identity, mount in sorted(pods.mounts.items()))


def connecting(pods: PodTls) -> dict[str, Any]:
    """The part of a cluster of pods that says how they are connected to."""
    secrets = list(pod_secrets(pods))
    timeout = HANDSHAKE_TIMEOUT_MS if secrets else CONNECT_TIMEOUT_MS
    found: dict[str, Any] = {"connect_timeout": duration(timeout)}
    if secrets:
        found["transport_socket_matches"] = [
            {
                "name": secret.identity,
                "match": {"identity": secret.identity},
                "transport_socket": _socket(secret, pods.server_name),
            }
            for secret in secrets
        ]
    return found


def mark(pod: Endpoint) -> dict[str, Any]:
    """Of an endpoint: which of its cluster's sockets it takes; none for plain text."""
    return {_MATCH: {"identity": pod.identity}} if pod.identity else {}


def _socket(secret: PodSecret, server_name: str) -> dict[str, Any]:
    names = [{"san_type": "DNS", "matcher": {"exact": server_name}}]
    return tls_socket(
        "UpstreamTlsContext",
        {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificate_sds_secret_configs": [asked_for(secret.certificate)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": names},
                "validation_context_sds_secret_config": asked_for(secret.authority),
            },
        },
        sni=server_name,
        max_session_keys=0,
    )
