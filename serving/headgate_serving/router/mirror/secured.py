"""How the agent itself asks pods that speak TLS, as Envoy does: by the mounted Secrets as they are now.

`candidate` asks for each copy. A Secret is read again after two seconds at most; one that can't be used leaves what was
read before, and where there is nothing yet the copy is `Unusable`: that is not the candidate's fault.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from headgate_serving.certificates import Identity, client_context, read_identity
from headgate_serving.errors import UnusableSecret
from headgate_serving.router.mirror.exchange import Unusable
from headgate_serving.router.policy.endpoints import Endpoint
from headgate_serving.router.policy.pod_tls import PodTls

LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class _Known:
    """What a mount held when it was read last."""

    identity: Identity
    context: ssl.SSLContext
    at: float


class SecuredPods:
    """The certificates to show, by the identities that pods name."""

    def __init__(self, tls: PodTls, clock: Callable[[], float] = time.monotonic) -> None:
        self._tls = tls
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def rest(self, pod: Endpoint) -> tuple[str, dict[str, Any]]:
        """The scheme of a pod's URL, and what aiohttp has to be told."""
        if not pod.identity:
            return "http", {}
        return "https", {"ssl": self._newest(pod.identity).context, "server_hostname": self._tls.server_name}

    def identity(self, pod: Endpoint) -> Identity | None:
        """What is shown to a pod; None in plain text."""
        return self._newest(pod.identity).identity if pod.identity else None

    def channel(self, where: str, identity: Identity | None, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
        """For gRPC calls to an address."""
        if identity is None:
            return grpc.aio.insecure_channel(where, options)
        own = identity.certificate
        credentials = grpc.ssl_channel_credentials(identity.authority.encode(), own.key.encode(), own.chain.encode())
        named = (*options, ("grpc.ssl_target_name_override", self._tls.server_name))
        return grpc.aio.secure_channel(where, credentials, named)

    def _newest(self, identity: str) -> _Known:
        known, now = self._known.get(identity), self._clock()
        if known and now - known.at < LOOK_SECONDS:
            return known
        try:
            known = self._read(identity, known, now)
        except UnusableSecret as error:
            if known is None:  # which `secret_watcher` says
                raise Unusable("no-certificate") from error
        self._known[identity] = known
        return known

    def _read(self, identity: str, before: _Known | None, now: float) -> _Known:
        found = read_identity(self._tls.mounts[identity])
        if before and before.identity == found:
            return _Known(found, before.context, now)
        return _Known(found, client_context(found, "http/1.1"), now)
