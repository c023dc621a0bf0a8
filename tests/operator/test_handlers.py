"""kopf's events become keys in the queue and objects in the informer; nothing else happens."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import kopf
import pytest
from kopf._core.actions.invocation import invoke

from fakes import FakeKube
from headgate.handlers import kopf_settings, register
from headgate.informer import Informer
from headgate.queue import Key, Queue
from headgate.threads import in_thread

MODEL = {"headgate.dev/model": "fraud"}


class Wired:
    """Handlers as they are registered, without a cluster."""

    def __init__(self, deliver: Callable[..., Any] = lambda do, *about: do(*about)) -> None:
        self.queue, self.informer = Queue(lambda: 0.0), Informer()
        self.changed: list[Any] = []
        self.registry = kopf.OperatorRegistry()
        register(self.registry, self.queue, self.informer, lambda *about: self.changed.append(about), deliver)
        self.watchers = {
            h.selector.any_name or h.selector.plural: h.fn for h in self.registry._watching._handlers if h.selector
        }

    def event(
        self,
        plural: str,
        type_: str | None = "MODIFIED",
        labels: dict[str, Any] | None = MODEL,
        name: str = "x",
        **meta: Any,
    ) -> dict[str, Any]:
        """What kopf hands to a handler."""
        item = {"metadata": {"name": name, "namespace": "models", "labels": labels, **meta}}
        return {"event": {"type": type_, "object": item}, "resource": SimpleNamespace(plural=plural)}

    async def child(self, plural: str, *about: Any, **more: Any) -> None:
        """As kopf calls it."""
        await invoke(self.watchers[plural], kwargs=self.event(plural, *about, **more))

    @property
    def queued(self) -> list[Any]:
        return list(self.queue._due)


@pytest.fixture
def wired() -> Wired:
    return Wired()


async def test_a_model_that_changed_is_looked_at(wired: Wired) -> None:
    await wired.child("modeldeployments", name="fraud", labels={})
    assert wired.queued == [Key("models", "fraud")]


@pytest.mark.parametrize("plural", ["deployments", "pods", "services"])
async def test_a_child_that_changed_leads_to_a_look_at_its_model(wired: Wired, plural: str) -> None:
    await wired.child(plural, generation=3)
    assert wired.queued == [Key("models", "fraud")]


async def test_what_a_watch_begins_with_is_looked_at_where_it_is_news(wired: Wired) -> None:
    """A watch that broke begins with all that there is: only what changed meanwhile is to be done now."""
    old, new = {"uid": "u", "resourceVersion": "1"}, {"uid": "u", "resourceVersion": "2"}
    await wired.child("pods", None, **old)
    assert wired.queued == [], "nothing was listed yet; the list has it as well"
    await wired.informer.resync(FakeKube(), [None])
    await wired.child("pods", "ADDED", **old)
    wired.queue._due.clear()
    await wired.child("pods", None, **old)
    assert wired.queued == []
    await wired.child("pods", None, **new)
    assert wired.queued == [Key("models", "fraud")]


async def test_a_child_without_the_label_is_nobodys(wired: Wired) -> None:
    await wired.child("pods", labels=None)
    await wired.child("pods", labels={})
    assert wired.queued == []


async def test_changes_and_removals_of_applied_children_are_told(wired: Wired) -> None:
    await wired.child("deployments", generation=3)
    await wired.child("services")
    await wired.child("deployments", "DELETED", generation=3)
    await wired.child("pods", "DELETED")
    assert wired.changed == [
        ("Deployment", "models", "x", 3),
        ("Service", "models", "x", 0),
        ("Deployment", "models", "x", None),
    ]


async def test_events_from_other_threads_are_worked_on_in_the_main_loop_and_none_is_lost() -> None:
    loop, threads, each = asyncio.get_running_loop(), 4, 300
    wired = Wired(loop.call_soon_threadsafe)
    seen_in, plain = set(), wired.informer.seen

    def seen(*about: Any) -> None:
        seen_in.add(threading.get_ident())
        plain(*about)

    wired.informer.seen = seen  # type: ignore[method-assign, assignment]

    async def hammer(thread: Any) -> None:
        for number in range(each):
            labels = {"headgate.dev/model": f"m{thread}-{number}"}
            await wired.child("deployments", name=f"d{thread}-{number}", labels=labels)
            await wired.child("modeldeployments", name=f"m{thread}-{number}", labels=None)

    async def work(key: Any) -> None:
        done.add(key)
        if len(done) == threads * each:
            all_done.set()

    done: set[Any] = set()
    all_done = asyncio.Event()
    workers = [asyncio.create_task(wired.queue.work(work)) for _ in range(4)]
    await asyncio.gather(*(in_thread("kopf", partial(hammer, thread)) for thread in range(threads)))
    await all_done.wait()
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert done == {Key("models", f"m{thread}-{number}") for thread in range(threads) for number in range(each)}
    assert len(wired.changed) == threads * each
    assert seen_in == {threading.get_ident()}


async def test_the_queue_refuses_other_threads() -> None:
    queue = Queue(lambda: 0.0)

    async def add() -> None:
        queue.add(Key("models", "fraud"))

    with pytest.raises(RuntimeError, match="thread"):
        await in_thread("other", add)
    assert len(queue) == 0


def test_kopf_writes_nothing_and_watches_what_is_ours() -> None:
    settings = kopf_settings()
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    server, client = settings.watching.server_timeout, settings.watching.client_timeout
    assert server
    assert client
    assert client > server
    assert settings.process.ultimate_exiting_timeout is None, "kopf would kill the process that goes on without it"


def test_only_event_handlers_are_used(wired: Wired) -> None:
    assert set(wired.watchers) == {"modeldeployments", "modelrevisions", "deployments", "pods", "services"}
    assert not wired.registry._indexing._handlers
    assert not wired.registry._changing._handlers
    assert not wired.registry._spawning._handlers
    assert not wired.registry._webhooks._handlers
