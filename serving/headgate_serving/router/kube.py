"""A cache of a few objects of the API server: list, watch, and start again whatever happens.

The agent runs two: one for its ModelDeployment, one for the EndpointSlices of its model. It reads `objects`
at any time and is told of changes by `changed`. When the API server is away the cache keeps what it knew.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from headgate.api import contract
from headgate_serving.router.errors import SourceUnavailable, WatchExpired

log = logging.getLogger(__name__)

WATCH_SECONDS = 60
"""A watch ends after a minute and starts anew, so a connection that died silently is found soon."""

GRACE_SECONDS = 10
"""How much longer than asked for a request may take before it is given up."""

SHORTEST_WAIT, LONGEST_WAIT = 0.2, 15.0

SHORTEST_WATCH = 1.0
"""Seconds. A proxy may end every watch at once: after a shorter one, the next waits a little."""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects to cache: a path of the API, and the server-side selectors."""

    path: str
    label_selector: str | None = None
    field_selector: str | None = None

    def query(self) -> list[tuple[str, str]]:
        """As the API server wants it."""
        pairs = [("labelSelector", self.label_selector), ("fieldSelector", self.field_selector)]
        return [(name, value) for name, value in pairs if value is not None]


def deployment_selection(namespace: str, model: str) -> Selection:
    """The one ModelDeployment; by field, so that a Role with `resourceNames` is enough."""
    path = f"/apis/{contract.API_VERSION}/namespaces/{namespace}/{contract.DEPLOYMENTS}"
    return Selection(path, field_selector=f"metadata.name={model}")


def slices_selection(namespace: str, model: str) -> Selection:
    """The EndpointSlices of all revisions of the model."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    labels = {contract.MODEL_LABEL: model, contract.COMPONENT_LABEL: contract.RUNTIME_COMPONENT}
    return Selection(path, label_selector=",".join(f"{name}={value}" for name, value in labels.items()))


class ObjectCache(Protocol):
    """What the agent needs of a cache."""

    @property
    def objects(self) -> Mapping[str, Object]:
        """By name."""

    @property
    def synced(self) -> bool:
        """Whether all objects have been seen once."""

    async def run(self, changed: Callable[[], None]) -> None:
        """Follow the objects until cancelled; call `changed` after every change."""

    def age(self) -> float:
        """Seconds since the cache was last known to be current."""


@dataclass
class Reflector:
    """Keeps the cache of a selection by list and watch, as client-go's reflector does."""

    api: ApiClient
    selection: Selection
    clock: Callable[[], float]
    random: Callable[[], float]
    """Uniform in [0, 1): keeps many agents from coming back to the API server at the same moment."""
    objects: dict[str, Object] = field(default_factory=dict)
    synced: bool = False
    _seen: float = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self.clock()

    def age(self) -> float:
        """Seconds since the last list, event, or regular end of a watch."""
        return self.clock() - self._seen

    async def run(self, changed: Callable[[], None]) -> None:
        """List, watch, watch on; after a failure wait longer and longer, and list again."""
        failures = 0
        while True:
            try:
                version = await self._list()
                changed()
                while True:
                    started = self.clock()
                    version = await self._watch(version, changed)
                    failures = 0
                    if self.clock() - started < SHORTEST_WATCH:
                        await asyncio.sleep(backoff(3, self.random()))
            except SourceUnavailable as error:
                failures += 1
                wait = backoff(failures, self.random())
                level = logging.INFO if isinstance(error, WatchExpired) else logging.WARNING
                log.log(level, "%s; listing again in %.1f s", error, wait)
                await asyncio.sleep(wait)

    async def _list(self) -> str:
        listing = await self._get(self.selection.query())
        self.objects = {item["metadata"]["name"]: item for item in listing.get("items") or ()}
        self.synced = True
        self._seen = self.clock()
        return str(listing["metadata"]["resourceVersion"])

    async def _watch(self, version: str, changed: Callable[[], None]) -> str:
        """Follow events from `version` until the server ends the watch; returns the version to go on from."""
        async with aclosing(self._events(version)) as events:
            async for event in events:
                version = self._take(event)
                self._seen = self.clock()
                if event["type"] != "BOOKMARK":
                    changed()
        self._seen = self.clock()
        return version

    def _take(self, event: Mapping[str, Any]) -> str:
        """Make the event's change; returns its version."""
        item = event["object"]
        match event["type"]:
            case "ERROR":
                kind = WatchExpired if item.get("code") == 410 else SourceUnavailable
                raise kind(f"watch of {self.selection.path} ended: {item.get('message')}")
            case "DELETED":
                self.objects.pop(item["metadata"]["name"], None)
            case "ADDED" | "MODIFIED":
                self.objects[item["metadata"]["name"]] = item
        return str(item["metadata"]["resourceVersion"])

    async def _get(self, query: list[tuple[str, str]]) -> Any:
        try:
            response = await self._open(query, GRACE_SECONDS)
            try:
                return await response.json(content_type=None)
            finally:
                response.release()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise SourceUnavailable(f"{self.selection.path} can't be listed: {error!r}") from error

    async def _events(self, version: str) -> AsyncGenerator[Any]:
        query = [
            *self.selection.query(),
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", str(WATCH_SECONDS)),
        ]
        try:
            response = await self._open(query, WATCH_SECONDS + GRACE_SECONDS)
            try:
                async for line in response.content:
                    yield json.loads(line)
            finally:
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise SourceUnavailable(f"watch of {self.selection.path} broke: {error!r}") from error

    async def _open(self, query: list[tuple[str, str]], seconds: float) -> aiohttp.ClientResponse:
        try:
            request = await self.api.param_serialize(
                "GET",
                self.selection.path,
                query_params=query,
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
            )
            response: aiohttp.ClientResponse = (await self.api.call_api(*request, _request_timeout=seconds)).response
        except ApiException as error:
            raise SourceUnavailable(f"{self.selection.path}: {error.status} {error.reason}") from error
        if response.status >= 400:
            text = (await response.text())[:200]
            kind = WatchExpired if response.status == 410 else SourceUnavailable
            raise kind(f"{self.selection.path}: {response.status} {text}")
        return response


def backoff(failures: int, random: float) -> float:
    """Seconds to wait after so many failures in a row: doubling, bounded, spread over the upper half."""
    longest: float = min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(failures - 1, 16))
    return longest * (0.5 + random / 2)
