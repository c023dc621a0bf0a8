"""A thousand models, a slow API server, a Prometheus that hangs: what users wait for does not wait. Time is virtual."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from fakes import FakeKube
from headgate import __main__ as process
from headgate.api import contract
from headgate.edges.breaker import GuardedClient
from headgate.edges.events import Events
from headgate.edges.prometheus import Prometheus
from headgate.edges.prometheus_access import Access
from headgate.edges.telemetry import Telemetry
from headgate.queue import Key
from headgate.settings import Settings
from headgate.status_writes import StatusWrites
from small_cluster import Cluster
from virtual_time import run

SETTINGS = Settings(serving_image="serving", envoy_image="envoy", pod_name="a")
ACTED_ON_WITHIN = 2.0
"""Seconds from what a user does until it is in the status."""


class SlowKube(FakeKube):
    """Takes its time for each request."""

    takes = 0.01

    async def get(self, *of: Any) -> Any:
        await asyncio.sleep(self.takes)
        return await super().get(*of)

    async def owned(self, *of: Any) -> Any:
        await asyncio.sleep(self.takes)
        return await super().owned(*of)

    async def apply(self, *of: Any, **how: Any) -> Any:
        await asyncio.sleep(self.takes)
        return await super().apply(*of, **how)

    async def apply_status(self, *of: Any) -> Any:
        await asyncio.sleep(self.takes)
        return await super().apply_status(*of)

    async def create(self, *of: Any) -> Any:
        await asyncio.sleep(self.takes)
        return await super().create(*of)

    async def delete(self, *of: Any) -> Any:
        await asyncio.sleep(self.takes)
        return await super().delete(*of)


class HangingMetrics:
    """A Prometheus that takes every question and answers none."""

    def __getattr__(self, question: str) -> Any:
        async def hang(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        return hang


async def copies_of(cluster: Cluster, count: int, prefix: str) -> list[Any]:
    """The objects of so many models that are as this one is."""
    plain = json.dumps([o for (kind, *_), o in cluster.kube.objects.items() if kind != "Event"])
    return [each for number in range(count) for each in json.loads(plain.replace("fraud", f"{prefix}{number:04}"))]


async def many(idle: int, rolling_out: int = 0) -> SlowKube:
    kube = SlowKube()
    found = await copies_of(await Cluster().live(), idle, "idle-")
    if rolling_out:
        found += await copies_of(await Cluster().canary(), rolling_out, "zz-canary-")
    for each in found:
        kube.objects[each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]] = each
    return kube


@asynccontextmanager
async def leading(
    monkeypatch: pytest.MonkeyPatch, kube: SlowKube, metrics: Any, clock: Callable[[], float]
) -> AsyncIterator[process.Leader]:
    """The leader's work, with everything but kopf."""

    monkeypatch.setattr(process, "in_thread", hang)
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=clock))
    election = SimpleNamespace(leading=True)
    operator: Any = SimpleNamespace(
        settings=SETTINGS,
        kube=kube,
        telemetry=Telemetry(),
        events=Events(kube, clock),
        statuses=StatusWrites(kube),
        metrics=metrics,
        election=election,
    )
    leader = process.Leader(operator)
    work = asyncio.create_task(leader.work())
    try:
        await seconds_until(clock, lambda: not leader.informer.unsynced)
        yield leader
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def seconds_until(clock: Callable[[], float], condition: Callable[[], object], at_most: float = 600) -> float:
    start = clock()
    while not condition():
        assert clock() - start < at_most
        await asyncio.sleep(0.02)
    return clock() - start


def ask(kube: SlowKube, leader: process.Leader, name: str, version: str) -> Callable[[], bool]:
    """A user wants another version, and the watch tells; whether that has been acted on."""
    found = json.loads(json.dumps(kube.find("ModelDeployment", name)))
    found["spec"]["model"] = {"version": version, "uri": f"file:///models/{version}"}
    kube.put(found)
    leader.informer.seen(contract.DEPLOYMENTS, "MODIFIED", kube.find("ModelDeployment", name))
    leader.queue.add(Key("models", name))
    return lambda: bool((kube.find("ModelDeployment", name)["status"].get("candidate") or {}).get("version") == version)


@pytest.mark.parametrize("idle", [100, 300, 1000])
def test_after_a_start_what_a_user_asks_for_is_not_behind_a_thousand_idle_models(
    monkeypatch: pytest.MonkeyPatch, idle: int
) -> None:
    async def story(clock: Callable[[], float]) -> None:
        kube = await many(idle)
        async with leading(monkeypatch, kube, HangingMetrics(), clock) as leader:
            acted_on = ask(kube, leader, f"idle-{idle - 1:04}", "v2")
            assert await seconds_until(clock, acted_on) <= ACTED_ON_WITHIN

    run(story)


def test_a_rollout_that_runs_is_judged_first_after_a_failover(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(clock: Callable[[], float]) -> None:
        kube = await many(300, rolling_out=1)
        asked = list[str]()
        plain = kube.get

        async def get(api_version: str, kind: str, namespace: str, name: str) -> Any:
            asked.append(name)
            return await plain(api_version, kind, namespace, name)

        kube.get = get  # type: ignore[method-assign]
        async with leading(monkeypatch, kube, HangingMetrics(), clock):
            await seconds_until(clock, lambda: asked)
        assert asked[0] == "zz-canary-0000"

    run(story)


@pytest.mark.parametrize("after", [0.0, 15.0])
def test_while_prometheus_hangs_nothing_waits_that_needs_no_metrics(
    monkeypatch: pytest.MonkeyPatch, after: float
) -> None:
    """Forty rollouts ask it at the same time."""

    async def story(clock: Callable[[], float]) -> None:
        kube = await many(100, rolling_out=40)
        url = "http://prometheus:9090"
        client = GuardedClient(f"{url}/api/v1/query?query=time()", transport=httpx.MockTransport(hang))
        async with leading(monkeypatch, kube, Prometheus(Access((url,)), lambda *_, **__: client), clock) as leader:
            await asyncio.sleep(after)
            acted_on = ask(kube, leader, "idle-0099", "v2")
            assert await seconds_until(clock, acted_on) <= ACTED_ON_WITHIN
        await client.aclose()

    run(story)


async def hang(*_: Any) -> Any:
    await asyncio.Event().wait()
