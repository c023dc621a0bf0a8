"""Kubernetes events: each is stored once, whatever the API server does meanwhile, and nobody waits for it.

Called by `reconcile`. An event's name follows from what it tells and from the version of the object that it was decided
by. So one whose post was answered with an error, or not at all, is posted again, and what was stored all the same is
refused as a name that is taken.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from headgate.api import API_VERSION
from headgate.core.model import Event
from headgate.core.times import stamp
from headgate.edges.kube import Kube, Object
from headgate.errors import AlreadyThere, KubernetesError, NamespaceTerminating, cause_of

log = logging.getLogger("headgate.events")

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds to the second attempt, and between two attempts at most."""

GIVE_UP_AFTER = 3600.0
"""Seconds: so long Kubernetes itself keeps an event."""

MOST_WAITING = 1000
"""Events that wait to be stored; of more than that the oldest are given up."""

AT_A_TIME = 4
"""Posts that are under way, so that decisions have the API server to themselves after an outage."""

ENDS_WITHIN = 2.0
"""Seconds that what waits still has when the process ends."""

_HOPELESS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Answers that stay the same: the event, or its namespace, is none. A right that is missing may be on its way."""


class About(NamedTuple):
    """The ModelDeployment that events tell of."""

    namespace: str
    name: str
    uid: str
    version: str
    """The resourceVersion by which was decided what they tell: the next decision has another one."""


class Events:
    """Posts events, and goes on until each is stored. Outlives the time as the leader: what happened has happened."""

    def __init__(self, kube: Kube, clock: Callable[[], float], on_lost: Callable[[], object] = lambda: None) -> None:
        """`clock` gives seconds since the epoch; `on_lost` is called with each event that is given up."""
        self._kube = kube
        self._clock = clock
        self._on_lost = on_lost
        self._posts: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_A_TIME)

    def __len__(self) -> int:
        return len(self._posts)

    def post(self, about: About, event: Event) -> None:
        """Have an event stored, soon. The same one again is nothing new."""
        manifest = _manifest(about, event, self._clock())
        name = manifest["metadata"]["name"]
        if name in self._posts:
            return
        if len(self._posts) >= MOST_WAITING:
            oldest = next(iter(self._posts))
            self._posts.pop(oldest).cancel()
            self._lost(f"the event {oldest} is given up: {MOST_WAITING} wait")
        task = asyncio.create_task(self._stored(manifest), name="event")
        self._posts[name] = task
        task.add_done_callback(lambda done: self._forget(name, done))

    async def settled(self) -> None:
        """Wait until nothing waits any more."""
        await asyncio.gather(*self._posts.values(), return_exceptions=True)

    async def close(self) -> None:
        """Give what waits a moment, and end."""
        if waiting := set(self._posts.values()):
            _, late = await asyncio.wait(waiting, timeout=ENDS_WITHIN)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if late:
                self._lost(f"{len(late)} events could not be posted before the end")

    async def _stored(self, manifest: Object) -> None:
        what = f"event {manifest['reason']} of {manifest['metadata']['namespace']}/{manifest['involvedObject']['name']}"
        loop, delay = asyncio.get_running_loop(), FIRST_DELAY
        until = loop.time() + GIVE_UP_AFTER
        while (error := await self._refusal(manifest)) is not None:
            if isinstance(error, NamespaceTerminating):
                log.debug("%s: %s", what, cause_of(error))
                return
            if error.status in _HOPELESS or loop.time() >= until:
                self._lost(f"{what} is given up: {cause_of(error)}")
                return
            if delay == FIRST_DELAY:
                log.warning("%s: %s; it is posted again until it is stored", what, cause_of(error))
            await asyncio.sleep(delay * random.uniform(1.0, 1.5))
            delay = min(2 * delay, LONGEST_DELAY)

    async def _refusal(self, manifest: Object) -> KubernetesError | None:
        """Why an event is not stored; None where it is."""
        try:
            async with self._slots:
                await self._kube.create(manifest)
        except AlreadyThere:
            return None  # an earlier post was stored, and the answer to it was lost
        except KubernetesError as error:
            return error
        return None

    def _forget(self, name: str, task: "asyncio.Task[None]") -> None:
        if self._posts.get(name) is task:
            del self._posts[name]
        if not task.cancelled() and (error := task.exception()):
            log.error("event %s: unhandled error", name, exc_info=error)

    def _lost(self, why: str) -> None:
        log.warning("%s", why)
        self._on_lost()


def _manifest(about: About, event: Event, now: float) -> Object:
    seed = "\n".join((about.uid, about.version, event.type, event.reason, event.message))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{about.name}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}",
            "namespace": about.namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "ModelDeployment",
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:1024],
        "source": {"component": "headgate"},
        "firstTimestamp": stamp(now),
        "lastTimestamp": stamp(now),
        "count": 1,
    }
