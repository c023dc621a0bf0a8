"""The reflector against a small API server that lists, watches, expires and breaks."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from headgate_serving.router import kube
from headgate_serving.router.kube import Reflector, backoff, deployment_selection, slices_selection
from patience import PATIENCE


def item(name: Any, version: Any, **more: Any) -> Any:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, **more}


def event(kind: Any, name: Any, version: Any, **more: Any) -> Any:
    return {"type": kind, "object": item(name, version, **more)}


GONE = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}


@dataclass
class FakeApi:
    """Answers lists from `listed` and each watch with the next entry of `watches`; then watches wait to expire."""

    listed: list[Any]
    watches: list[Any] = field(default_factory=list)
    failures: int = 0
    queries: list[Any] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    expire: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        if self.failures:
            self.failures -= 1
            return web.Response(status=503, text="overloaded")
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "10"}, "items": self.listed})
        answer = web.StreamResponse()
        await answer.prepare(request)
        events = self.watches.pop(0) if self.watches else None
        for entry in events or ():
            await answer.write(json.dumps(entry).encode() + b"\n")
        if events is None:
            await self.expire.wait()
            self.expire.clear()
            await answer.write(json.dumps(GONE).encode() + b"\n")
        return answer

    @property
    def lists(self) -> int:
        return sum("watch" not in query for query in self.queries)


@asynccontextmanager
async def reflecting(api: FakeApi) -> AsyncIterator[Reflector]:
    app = web.Application()
    app.router.add_get("/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with ApiClient(Configuration(host=f"http://{host}:{port}")) as client:
            cache = Reflector(client, slices_selection("ns", "fraud"), time.monotonic, lambda: 0.0)
            task = asyncio.create_task(cache.run(lambda: api.seen.append(list(cache.objects))))
            try:
                yield cache
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    finally:
        await runner.cleanup()


async def eventually(check: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "SHORTEST_WAIT", 0.002)


async def test_the_mirror_lists_and_then_follows_every_change() -> None:
    api = FakeApi([item("a", 1), item("b", 2)])
    api.watches = [[event("ADDED", "c", 11), event("DELETED", "a", 12), event("MODIFIED", "b", 13, new=True)]]
    async with reflecting(api) as cache:
        await eventually(lambda: cache.objects.keys() == {"b", "c"})
        await eventually(lambda: len(api.queries) == 3)
    assert cache.synced
    assert cache.objects["b"]["new"]
    first, second, third = api.queries
    assert first == {"labelSelector": "headgate.dev/model=fraud,headgate.dev/component=runtime"}
    assert second["resourceVersion"] == "10"
    # The watch that ended goes on where it was.
    assert third["resourceVersion"] == "13"


async def test_bookmarks_move_the_place_of_the_watch() -> None:
    api = FakeApi([], [[event("BOOKMARK", "", 99)]])
    async with reflecting(api):
        await eventually(lambda: len(api.queries) == 3)
    assert api.queries[2]["resourceVersion"] == "99"


async def test_an_expired_watch_lists_again() -> None:
    api = FakeApi([item("a", 1)], [[GONE], [event("ADDED", "b", 11)]])
    async with reflecting(api) as cache:
        await eventually(lambda: cache.objects.keys() == {"a", "b"})
    assert api.lists == 2


async def test_what_vanished_while_the_watch_was_broken_is_forgotten() -> None:
    api = FakeApi([item("a", 1)], [[event("ADDED", "b", 11), GONE]])
    async with reflecting(api) as cache:
        await eventually(lambda: api.lists == 2 and cache.objects.keys() == {"a"})


async def test_an_api_server_that_is_away_leaves_the_mirror_as_it_was() -> None:
    api = FakeApi([item("a", 1)])
    async with reflecting(api) as cache:
        await eventually(lambda: len(api.queries) == 2)
        api.failures = 5
        api.listed = [item("b", 2)]
        api.expire.set()
        await eventually(lambda: cache.objects.keys() == {"b"})
    assert api.failures == 0
    assert api.seen == [["a"], ["b"]]


async def test_an_object_of_a_megabyte_is_read() -> None:
    api = FakeApi([], [[event("ADDED", "big", 11, text="x" * 1_000_000)]])
    async with reflecting(api) as cache:
        await eventually(lambda: "big" in cache.objects)


def test_the_deployment_is_selected_by_name_so_that_a_narrow_role_is_enough() -> None:
    selection = deployment_selection("ns", "fraud")
    assert selection.path == "/apis/headgate.dev/v1alpha1/namespaces/ns/modeldeployments"
    assert selection.query() == [("fieldSelector", "metadata.name=fraud")]


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
def test_waits_grow_but_stay_bounded(random: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "SHORTEST_WAIT", 0.2)
    waits = [backoff(failures, random) for failures in range(1, 100)]
    assert waits == sorted(waits)
    assert 0.1 <= waits[0] <= 0.2
    assert 7.5 <= waits[-1] <= 15.0
