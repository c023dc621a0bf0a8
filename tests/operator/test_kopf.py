"""The real kopf in its thread, against a small API server: what it tells, what it doesn't, and that it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import kopf
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from fakes import connected_to
from headgate.edges.kube import ApiServer
from headgate.errors import WatchesBroken
from headgate.handlers import register, watch
from headgate.informer import Informer
from headgate.queue import Key, Queue
from headgate.threads import in_thread
from patience import until

GROUPS = {
    "/api/v1": {"pods": "Pod", "services": "Service"},
    "/apis/apps/v1": {"deployments": "Deployment"},
    "/apis/headgate.dev/v1alpha1": {"modeldeployments": "ModelDeployment", "modelrevisions": "ModelRevision"},
}


class Server:
    """As much of an API server as kopf asks for. Its watches tell what the test tells them to."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {plural: {} for kinds in GROUPS.values() for plural in kinds}
        self.lists = dict.fromkeys(self.objects, 0)
        self.watches: dict[str, list[Any]] = {plural: [] for plural in self.objects}
        self.undiscovered: frozenset[str] = frozenset()
        self.failing: frozenset[str] = frozenset()
        app = web.Application()
        app.router.add_get("/api", self._core)
        app.router.add_get("/apis", self._apis)
        for path, kinds in GROUPS.items():
            app.router.add_get(path, partial(self._resources, kinds))
            for plural, kind in kinds.items():
                app.router.add_get(f"{path}/{plural}", partial(self._collection, plural, kind))
        self.server = TestServer(app)

    def put(self, plural: str, name: str, version: int) -> None:
        labels = {"headgate.dev/model": "fraud"}
        meta = {"name": name, "namespace": "models", "uid": name, "resourceVersion": str(version), "labels": labels}
        self.objects[plural][name] = {"metadata": meta}

    def tell(self, plural: str, **event: Any) -> None:
        """All watches of a resource get an event."""
        for events in self.watches[plural]:
            events.put_nowait(event)

    async def _core(self, _: Any) -> Any:
        return web.json_response({"versions": ["v1"]})

    async def _apis(self, _: Any) -> Any:
        groups = [path.split("/")[2:] for path in GROUPS if path.startswith("/apis")]
        about = [
            {"name": g, "versions": [{"version": v}], "preferredVersion": {"version": v}} for g, v in map(tuple, groups)
        ]
        return web.json_response({"groups": about})

    async def _resources(self, kinds: dict[str, Any], _: Any) -> Any:
        verbs = ["get", "list", "watch", "patch"]
        kinds = {plural: kind for plural, kind in kinds.items() if plural not in self.undiscovered}
        found = [
            {"name": p, "singularName": k.lower(), "kind": k, "namespaced": True, "verbs": verbs}
            for p, k in kinds.items()
        ]
        # kopf waits for the resource of namespaces, and asks nothing of it.
        found.append(
            {**found[0], "name": "namespaces", "singularName": "namespace", "kind": "Namespace", "namespaced": False}
        )
        return web.json_response({"resources": found})

    async def _collection(self, plural: str, kind: str, request: Any) -> Any:
        if plural in self.failing:
            return web.json_response({"kind": "Status", "code": 500, "message": "no leader"}, status=500)
        if request.query.get("watch") != "true":
            self.lists[plural] += 1
            items = list(self.objects[plural].values())
            return web.json_response({"kind": f"{kind}List", "metadata": {"resourceVersion": "100"}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        events: asyncio.Queue[Any] = asyncio.Queue()
        self.watches[plural].append(events)
        try:
            while event := await events.get():
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self.watches[plural].remove(events)
        return response


@pytest.fixture
async def server(monkeypatch: Any, tmp_path: Any) -> AsyncIterator[Server]:
    found = Server()
    await found.server.start_server()
    url = str(found.server.make_url("")).rstrip("/")
    about = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": url}}],
        "users": [{"name": "x", "user": {"token": "x"}}],
    }
    place = tmp_path / "kubeconfig"
    place.write_text(yaml.safe_dump(about))
    monkeypatch.setenv("KUBECONFIG", str(place))
    yield found
    for plural in found.watches:
        found.tell(plural)
    for queues in found.watches.values():
        for queue in queues:
            queue.put_nowait(None)
    await found.server.close()


@pytest.fixture
async def kube(server: Any) -> AsyncIterator[ApiServer]:
    found = connected_to(server.server.make_url(""))
    yield found
    await found.close()


def pods(informer: Informer) -> list[Any]:
    return sorted(p["metadata"]["name"] for p in informer.children("models", "fraud").pods)


async def test_what_was_deleted_before_410_is_a_ghost_to_kopf_and_gone_after_our_list(
    server: Server, kube: ApiServer
) -> None:
    queue, informer, registry = Queue(lambda: 0.0), Informer(), kopf.OperatorRegistry()
    loop = asyncio.get_running_loop()
    register(registry, queue, informer, lambda *_: None, loop.call_soon_threadsafe)
    server.put("pods", "fraud-router-a", 1)
    server.put("pods", "fraud-router-b", 2)
    server.put("modeldeployments", "fraud", 3)
    watching = asyncio.create_task(in_thread("kopf", partial(watch, registry, "test", [])))
    await informer.resync(kube, [None])
    await until(lambda: all(server.watches.values()))

    del server.objects["pods"]["fraud-router-b"]
    lists = server.lists["pods"]
    server.tell("pods", type="ERROR", object={"code": 410, "message": "too old resource version"})
    await until(lambda: server.lists["pods"] > lists and server.watches["pods"])
    server.put("pods", "fraud-router-c", 4)
    server.tell("pods", type="ADDED", object=server.objects["pods"]["fraud-router-c"])
    await until(lambda: "fraud-router-c" in pods(informer))
    assert list(queue._due) == [Key("models", "fraud")]
    assert "fraud-router-b" in pods(informer), "kopf does not tell; if it ever does, our lists can be rarer"
    await informer.resync(kube, [None])
    assert pods(informer) == ["fraud-router-a", "fraud-router-c"]

    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await until(lambda: not any(server.watches.values()))


async def test_an_error_in_a_watch_ends_kopf_and_nothing_else(server: Server) -> None:
    registry = kopf.OperatorRegistry()
    loop = asyncio.get_running_loop()
    register(registry, Queue(lambda: 0.0), Informer(), lambda *_: None, loop.call_soon_threadsafe)
    ours = asyncio.create_task(asyncio.Event().wait())
    watching = asyncio.create_task(in_thread("kopf", partial(watch, registry, "test", [])))
    await until(lambda: all(server.watches.values()))
    server.tell("pods", type="ERROR", object={"code": 500, "message": "etcdserver: no leader"})
    with pytest.raises(WatchesBroken, match="no leader"):
        await asyncio.wait_for(watching, 120)
    assert not ours.done(), "kopf cancels what its own loop runs, and that alone"
    ours.cancel()


async def test_a_watch_that_does_not_end_with_the_others_is_not_waited_for(server: Server) -> None:
    """kopf closes its connections when one watch has failed. Another one that tries anew then waits for new
    credentials, which nobody brings any more, and kopf waits for it: nothing would be heard of the cluster."""
    registry = kopf.OperatorRegistry()
    loop = asyncio.get_running_loop()
    register(registry, Queue(lambda: 0.0), Informer(), lambda *_: None, loop.call_soon_threadsafe)
    watching = asyncio.create_task(in_thread("kopf", partial(watch, registry, "test", [])))
    await until(lambda: all(server.watches.values()))
    server.failing = frozenset({"deployments"})
    server.watches["deployments"][0].put_nowait(None)
    await until(lambda: not server.watches["deployments"])
    await asyncio.sleep(0.3)  # it has met the error, and waits for its next attempt
    server.tell("pods", type="ERROR", object={"code": 500, "message": "etcdserver: no leader"})
    with pytest.raises(WatchesBroken):
        await asyncio.wait_for(watching, 60)


@pytest.mark.parametrize("plural", ["modeldeployments", "services"])
async def test_a_resource_that_kopf_does_not_watch_is_no_watch(server: Server, plural: str) -> None:
    """kopf looks once which resources there are; one that is discovered later would never be watched."""
    server.undiscovered = frozenset({plural})
    registry = kopf.OperatorRegistry()
    loop = asyncio.get_running_loop()
    register(registry, Queue(lambda: 0.0), Informer(), lambda *_: None, loop.call_soon_threadsafe)
    with pytest.raises(WatchesBroken, match=plural):
        await asyncio.wait_for(in_thread("kopf", partial(watch, registry, "test", [])), 120)
