"""Who gets which copies: the shadow, which asks the candidate, and the sampling, which feeds monitors. Both or either.

Envoy copies the larger part that one of them wants, and each of them gets its part of that by lot.
"""

import logging
import random
from contextlib import AsyncExitStack
from pathlib import PurePosixPath

from prometheus_client import CollectorRegistry

from headgate_serving.router.copies.exchange import Exchange
from headgate_serving.router.copies.manners import giving_way
from headgate_serving.router.copies.room import Room
from headgate_serving.router.copies.tap import Tap
from headgate_serving.router.endpoints import Endpoints, serving
from headgate_serving.router.sampling.forwarding import Forwarding
from headgate_serving.router.sampling.series import SampleSeries
from headgate_serving.router.shadow.series import Series, Tally
from headgate_serving.router.shadow.session import Session, Wish
from headgate_serving.router.traffic import Intent

log = logging.getLogger(__name__)


class Takers:
    """At most one session of the shadow at a time, one sampling for both revisions, and the tap while there is any."""

    def __init__(self, namespace: str, model: str, socket: PurePosixPath, registry: CollectorRegistry) -> None:
        self._whose = (namespace, model)
        self._room = Room()
        self._tap = Tap(socket, self._room, self._take, self._drop)
        self._listening: AsyncExitStack | None = None
        self._pairs, self._samples = Series(registry), SampleSeries(registry, namespace, model)
        self._intent = Intent()
        self._session: Session | None = None
        self._forwarding: Forwarding | None = None

    async def follow(self, intent: Intent, endpoints: Endpoints) -> None:
        """What there is now."""
        self._intent = intent
        self._samples.show({target.revision: target.sample / 1000 for target in intent.targets if target.sample})
        await self._compare(_wish(intent, endpoints))
        await self._forward(intent, endpoints)
        await self._listen(on=intent.copied > 0)

    async def _compare(self, wish: Wish | None) -> None:
        if (session := self._session) and (wish is None or session.pair != (wish.stable, wish.candidate)):
            self._session = None
            await session.__aexit__(None, None, None)
            log.info("the shadow has ended")
        if wish and self._session:
            await self._session.follow(wish)
        elif wish:
            session = Session(wish, self._room, Tally(self._pairs, *self._whose, wish.candidate, wish.stable))
            self._session = await session.__aenter__()
            log.info("%s gets copies of what %s is asked", wish.candidate, wish.stable)

    async def _forward(self, intent: Intent, endpoints: Endpoints) -> None:
        sampled = [target.revision for target in intent.targets if target.sample]
        if sampled and self._forwarding is None:
            self._forwarding = await Forwarding(self._room, self._samples).__aenter__()
        if self._forwarding:
            self._forwarding.follow({name: serving(endpoints.get(name, ())) for name in sampled})
        if self._forwarding and not sampled:
            forwarding, self._forwarding = self._forwarding, None
            await forwarding.__aexit__(None, None, None)

    async def _listen(self, *, on: bool) -> None:
        if on and self._listening is None:
            async with AsyncExitStack() as stack:
                await self._tap.start()
                stack.push_async_callback(self._tap.stop)
                stack.enter_context(giving_way())
                self._listening = stack.pop_all()
        elif self._listening and not on:
            listening, self._listening = self._listening, None
            await listening.aclose()

    def _take(self, exchange: Exchange) -> None:
        intent = self._intent
        if self._session and intent.candidate and self._drawn(intent.candidate.shadow):
            self._session.take(exchange)
        sampled = next((target.sample for target in intent.targets if target.revision == exchange.revision), 0)
        if self._forwarding and self._drawn(sampled):
            self._forwarding.take(exchange)

    def _drop(self, reason: str) -> None:
        """Whose it would have been is not known; where both want a part, each is told of all."""
        if self._session:
            self._session.drop(reason)
        if self._forwarding:
            self._samples.count(reason)

    def _drawn(self, part: int) -> bool:
        return random.random() * self._intent.copied < part


def _wish(intent: Intent, endpoints: Endpoints) -> Wish | None:
    if not intent.shadowed or intent.stable is None or intent.candidate is None:
        return None
    stable, candidate = intent.stable.revision, intent.candidate.revision
    pods = serving(endpoints.get(candidate, ()))
    return Wish(stable, candidate, pods, intent.policy.timeout_ms / 1000, intent.policy.agreement)
