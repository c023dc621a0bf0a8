"""Begins and ends the copying as `status.traffic` says. The agent calls `follow` with every change.

What belongs to it is imported when it begins: most routers never copy anything. Nothing here can hold up the agent:
`follow` only leaves word, and whatever goes wrong is logged and tried again.
"""

import asyncio
import logging
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from headgate_serving.router.policy.endpoints import Endpoints
from headgate_serving.router.policy.pod_tls import NO_SECRETS, PodTls
from headgate_serving.router.policy.traffic import Intent

if TYPE_CHECKING:
    from headgate_serving.router.mirror.consumers import Consumers

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class MirrorController:
    """All that the agent knows of it."""

    def __init__(
        self,
        namespace: str,
        model: str,
        socket: PurePosixPath,
        registry: CollectorRegistry,
        tls: PodTls = NO_SECRETS,
    ) -> None:
        self._whose = (namespace, model)
        self._tls = tls
        self._socket = socket
        self._registry = registry
        self._intent = Intent()
        self._endpoints: Endpoints = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def follow(self, intent: Intent, endpoints: Endpoints) -> None:
        """Leave word of what there is now."""
        self._intent, self._endpoints = intent, endpoints
        self._changed.set()
        if self._task is None and intent.copied:
            self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End whatever there is."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep(self) -> None:
        consumers = self._consumers()
        try:
            while True:
                self._changed.clear()
                try:
                    await consumers.follow(self._intent, self._endpoints)
                except Exception:
                    log.exception("unhandled error while mirroring starts or stops; tried again in %g s", RETRY_SECONDS)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                await self._changed.wait()
        finally:
            await consumers.follow(Intent(), {})

    def _consumers(self) -> "Consumers":
        from headgate_serving.router.mirror.consumers import Consumers

        return Consumers(*self._whose, self._socket, self._registry, self._tls)
