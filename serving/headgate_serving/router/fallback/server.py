"""The REST and the gRPC server of the fallback chain, and the policy that they follow. The agent has one.

What gRPC and protobuf take of memory is taken only where there is a fallback.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from headgate.api import contract
from headgate.api.policy import Fallback
from headgate.api.stored import adapter
from headgate_serving.router.envoy.files import XdsFolder

if TYPE_CHECKING:
    from headgate_serving.router.fallback.chain import Chain
    from headgate_serving.router.fallback.grpc import Grpc
    from headgate_serving.router.fallback.rest import Rest

log = logging.getLogger(__name__)

Where = Callable[[str], str]


class FallbackServer:
    """Answers Envoy where stable can't. `folder` keeps the chain over a restart of the agent."""

    def __init__(
        self,
        namespace: str,
        model: str,
        folder: XdsFolder,
        registry: CollectorRegistry,
        url_of: Where | None = None,
        target_of: Where | None = None,
    ) -> None:
        self._folder = folder
        self._registry = registry
        self._namespace, self._model = namespace, model
        self._url_of = url_of or (lambda name: f"http://{name}.{namespace}.svc")
        self._target_of = target_of or (lambda name: f"{name}.{namespace}.svc:{contract.SERVICE_GRPC_PORT}")
        self._chain: Chain | None = None
        self._servers: list[Rest | Grpc] = []

    async def begin(self) -> None:
        """Start with the chain that an earlier agent kept. The caller ends it by `cleanup`."""
        await self._follow(self._kept())

    async def follow(self, fallback: Fallback) -> None:
        """What the policy says now. The sockets are there afterwards.

        Where they can't be made, the log says so, and the next change tries again: a rollback must not wait for that.
        """
        try:
            await self._follow(fallback)
        except (OSError, RuntimeError):
            log.exception("the fallback servers can't be started; tried again with the next change")
            await self.cleanup()
        if fallback or self._kept():
            self._folder.put(self._folder.layout.fallback, adapter(Fallback).dump_json(fallback).decode())

    async def cleanup(self) -> None:
        """Stop both servers; requests in progress have half a second."""
        servers, self._servers = self._servers, []
        for server in servers:
            await server.cleanup()

    async def _follow(self, fallback: Fallback) -> None:
        if fallback and not self._servers:
            from headgate_serving.router.fallback.chain import Chain
            from headgate_serving.router.fallback.grpc import Grpc
            from headgate_serving.router.fallback.rest import Rest

            if self._chain is None:
                self._chain = Chain(self._namespace, self._model, self._registry)
            rest, grpc = Rest(self._chain, self._url_of), Grpc(self._chain, self._target_of)
            sockets = self._folder.layout.fallback_sockets
            self._servers.append(rest)
            await rest.serve(sockets["http"])
            self._servers.append(grpc)
            await grpc.serve(sockets["grpc"])
        if self._chain is not None:
            self._chain.follow(fallback)

    def _kept(self) -> Fallback:
        try:
            kept: Fallback = adapter(Fallback).validate_json(self._folder.text(self._folder.layout.fallback) or "{}")
        except ValueError:
            return Fallback()
        return kept
