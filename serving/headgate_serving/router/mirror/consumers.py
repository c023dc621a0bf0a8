"""Which consumer gets which copies: the shadow, which asks the candidate, and the sampling, which feeds monitors.

Envoy copies the larger part that one of them wants, and each of them gets its part of that by lot.
"""

import logging
import random
from pathlib import PurePosixPath

from prometheus_client import CollectorRegistry

from headgate_serving.router.mirror.bounds import ByteBudget
from headgate_serving.router.mirror.exchange import Exchange
from headgate_serving.router.mirror.forwarding import Forwarding
from headgate_serving.router.mirror.secured import SecuredPods
from headgate_serving.router.mirror.series import PairCounters, PairSeries, SampleSeries
from headgate_serving.router.mirror.session import Session, ShadowTarget
from headgate_serving.router.mirror.tap import Tap
from headgate_serving.router.policy.endpoints import Endpoints, serving
from headgate_serving.router.policy.pod_tls import PodTls
from headgate_serving.router.policy.traffic import Intent

log = logging.getLogger(__name__)


class Consumers:
    """At most one session of the shadow at a time, one sampling for both revisions, and the tap while there is any."""

    def __init__(
        self, namespace: str, model: str, socket: PurePosixPath, registry: CollectorRegistry, tls: PodTls
    ) -> None:
        self._whose = (namespace, model)
        self._secured = SecuredPods(tls)
        self._budget = ByteBudget()
        self._tap = Tap(socket, self._budget, self._take, self._drop)
        self._listening = False
        self._pairs, self._samples = PairSeries(registry), SampleSeries(registry, namespace, model)
        self._intent = Intent()
        self._session: Session | None = None
        self._forwarding: Forwarding | None = None

    async def follow(self, intent: Intent, endpoints: Endpoints) -> None:
        """Start and stop consumers and tap as the newest split wants them."""
        self._intent = intent
        self._samples.show({target.revision: target.sample / 1000 for target in intent.targets if target.sample})
        await self._compare(_shadow_target(intent, endpoints))
        await self._forward(intent, endpoints)
        await self._listen(on=intent.copied > 0)

    async def _compare(self, target: ShadowTarget | None) -> None:
        if (session := self._session) and (target is None or session.pair != (target.stable, target.candidate)):
            self._session = None
            await session.__aexit__(None, None, None)
            log.info("the shadow has ended")
        if target and self._session:
            await self._session.follow(target)
        elif target:
            counters = PairCounters(self._pairs, *self._whose, target.candidate, target.stable)
            session = Session(target, self._budget, counters, self._secured)
            self._session = await session.__aenter__()
            log.info("%s gets copies of what %s is asked", target.candidate, target.stable)

    async def _forward(self, intent: Intent, endpoints: Endpoints) -> None:
        sampled = [target.revision for target in intent.targets if target.sample]
        if sampled and self._forwarding is None:
            self._forwarding = await Forwarding(self._budget, self._samples).__aenter__()
        if self._forwarding:
            self._forwarding.follow({name: serving(endpoints.get(name, ())) for name in sampled})
        if self._forwarding and not sampled:
            forwarding, self._forwarding = self._forwarding, None
            await forwarding.__aexit__(None, None, None)

    async def _listen(self, *, on: bool) -> None:
        if on and not self._listening:
            await self._tap.start()
            self._listening = True
        elif self._listening and not on:
            self._listening = False
            await self._tap.stop()

    def _take(self, exchange: Exchange) -> None:
        intent = self._intent
        if self._session and intent.candidate and self._drawn(intent.candidate.shadow):
            self._session.take(exchange)
        sampled = next((target.sample for target in intent.targets if target.revision == exchange.revision), 0)
        if self._forwarding and self._drawn(sampled):
            self._forwarding.take(exchange)

    def _drop(self, reason: str) -> None:
        """Count a copy that came to nothing. It is not known which consumer would have got it, so both count it."""
        if self._session:
            self._session.drop(reason)
        if self._forwarding:
            self._samples.count(reason)

    def _drawn(self, part: int) -> bool:
        return random.random() * self._intent.copied < part


def _shadow_target(intent: Intent, endpoints: Endpoints) -> ShadowTarget | None:
    if not intent.shadowed or intent.stable is None or intent.candidate is None:
        return None
    stable, candidate = intent.stable.revision, intent.candidate.revision
    pods = serving(endpoints.get(candidate, ()))
    return ShadowTarget(stable, candidate, pods, intent.policy.timeout_ms / 1000, intent.policy.agreement)
