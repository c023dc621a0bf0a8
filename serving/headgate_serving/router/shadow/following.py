"""Begins and ends the shadow as `status.traffic` says. The agent calls `follow` with every change.

What belongs to a shadow is imported when there is one: most routers never have any. Nothing here can hold up the
agent: `follow` only leaves word, and whatever goes wrong is logged and tried again.
"""

import asyncio
import logging
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from headgate_serving.router.endpoints import Endpoints, serving
from headgate_serving.router.traffic import Intent

if TYPE_CHECKING:
    from headgate_serving.router.shadow.series import Series
    from headgate_serving.router.shadow.session import Session, Wish

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0


class Shadow:
    """At most one session at a time; a pair of other revisions is another session."""

    def __init__(self, namespace: str, model: str, socket: PurePosixPath, registry: CollectorRegistry) -> None:
        self._whose = (namespace, model)
        self._socket = socket
        self._registry = registry
        self._intent = Intent()
        self._endpoints: Endpoints = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._running: tuple[str, str] | None = None
        self._series: Series | None = None

    def follow(self, intent: Intent, endpoints: Endpoints) -> None:
        """Leave word of what there is now."""
        self._intent, self._endpoints = intent, endpoints
        self._changed.set()
        if self._task is None and intent.shadowed:
            self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End whatever there is."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep(self) -> None:
        try:
            while True:
                self._changed.clear()
                try:
                    await self._bring_up(self._wish())
                except Exception:
                    log.exception("there is no shadow; it is tried again in %g s", AGAIN_SECONDS)
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                await self._changed.wait()
        finally:
            await self._bring_up(None)

    def _wish(self) -> "Wish | None":
        from headgate_serving.router.shadow.session import Wish

        intent = self._intent
        if not intent.shadowed or intent.stable is None or intent.candidate is None:
            return None
        stable, candidate = intent.stable.revision, intent.candidate.revision
        pods = serving(self._endpoints.get(candidate, ()))
        return Wish(stable, candidate, pods, intent.timeout_ms / 1000, intent.shadow_rules)

    async def _bring_up(self, wish: "Wish | None") -> None:
        wanted = (wish.stable, wish.candidate) if wish else None
        if self._session and self._running != wanted:
            session, self._session, self._running = self._session, None, None
            await session.__aexit__(None, None, None)
            log.info("the shadow has ended")
        if wish and self._session:
            await self._session.follow(wish)
        elif wish:
            self._session, self._running = await self._begun(wish), wanted
            log.info("%s gets copies of what %s is asked", wish.candidate, wish.stable)

    async def _begun(self, wish: "Wish") -> "Session":
        from headgate_serving.router.shadow.series import Series, Tally
        from headgate_serving.router.shadow.session import Session

        self._series = self._series or Series(self._registry)
        tally = Tally(self._series, *self._whose, wish.candidate, wish.stable)
        session = Session(wish, self._socket, tally)
        await session.__aenter__()
        return session
