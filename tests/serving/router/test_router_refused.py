"""The whole agent before the real Envoy: whatever the spec says, what `status.traffic` says reaches it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headgate_serving.router.agent import Agent
from headgate_serving.router.envoy.admin import Admin
from headgate_serving.router.envoy.config import budget, routes
from headgate_serving.router.envoy.discovery import Discovery
from headgate_serving.router.metrics import Metrics
from patience import PATIENCE
from router_cluster import FakeCache
from router_envoy import MODEL, NAMESPACE, Router, prepared, running_envoy

OLD, NEW = "fraud-1a2b3c4d", "fraud-9e8d7c6b"
REFUSED_MS = 3_599_999
"""A timeout of which the tests make something that Envoy can't hold."""
WITHIN = PATIENCE


@dataclass
class Whole:
    """An agent, and the objects that it sees."""

    router: Router
    agent: Agent
    deployments: FakeCache

    def says(self, timeout_ms: Any = 1000, **weights: int) -> None:
        names = {"stable": OLD, "candidate": NEW}
        split = [{"revision": names[role], "role": role, "weight": weight} for role, weight in weights.items()]
        policy = {"timeoutMs": timeout_ms}
        self.deployments.objects[MODEL] = {"status": {"traffic": split, "policy": policy}}
        self.agent.wake()

    async def follows(self, revisions: set[str]) -> None:
        """Wait until Envoy follows routes to these revisions."""
        deadline = time.monotonic() + WITHIN
        folder = self.router.folder
        while await self.router.admin.versions() != folder.versions or self.routed() != revisions:
            assert time.monotonic() < deadline, f"{self.routed()} is written, and Envoy follows something else"
            await asyncio.sleep(0.02)

    def routed(self) -> set[str]:
        return {name.partition("/")[0] for name in self.router.folder._routed()}

    @property
    def routes(self) -> str:
        return self.router.folder.text(self.router.layout.routes) or ""


@asynccontextmanager
async def agent_of(router: Router) -> AsyncIterator[Whole]:
    deployments, slices = FakeCache(), FakeCache()
    admin = Admin(Path(router.layout.admin_socket))
    metrics = Metrics(NAMESPACE, MODEL, "fraud-router-1")
    agent = Agent(MODEL, deployments, slices, router.folder, admin, metrics, time.monotonic)
    discovery = Discovery(router.folder, agent.wake)
    agent.acceptance.refuses = discovery.refuses
    router.folder.changed = discovery.changed
    served = await discovery.serve()
    task = asyncio.create_task(agent.run())
    try:
        yield Whole(router, agent, deployments)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await served.cleanup()


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    router = prepared(tmp_path)
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(agent_of(router))
        envoy = running_envoy(router)
        await asyncio.to_thread(envoy.__enter__)
        stack.callback(envoy.__exit__, None, None, None)
        yield found


def make_refused(monkeypatch: pytest.MonkeyPatch) -> None:

    def for_ever(timeout_ms: int, *, fallback: bool) -> int:
        return 10**30 if timeout_ms == REFUSED_MS else budget.whole_ms(timeout_ms, fallback=fallback)

    monkeypatch.setattr(routes, "whole_ms", for_ever)


@pytest.mark.parametrize("wished", [10**15, 0, "soon"])
async def test_a_rollback_reaches_envoy_whatever_the_timeout_is(whole: Whole, wished: object) -> None:
    whole.says(700, stable=50, candidate=50)
    await whole.follows({OLD, NEW})
    whole.says(wished, stable=100)
    await whole.follows({OLD})
    assert '"timeout":"0.700s"' in whole.routes


async def test_a_rollback_reaches_an_envoy_that_refuses_the_spec(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by a time that Envoy can't hold: neither the API server nor this agent would let it pass."""
    make_refused(monkeypatch)
    whole.says(700, stable=50, candidate=50)
    await whole.follows({OLD, NEW})
    whole.says(REFUSED_MS, stable=50, candidate=50)
    await asyncio.sleep(0.2)
    whole.says(REFUSED_MS, stable=100)
    await whole.follows({OLD})
    assert '"timeout":"0.700s"' in whole.routes
    whole.says(800, stable=90, candidate=10)
    await whole.follows({OLD, NEW})
    assert '"timeout":"0.800s"' in whole.routes


async def test_an_envoy_that_has_nothing_yet_gets_the_split_though_it_refuses_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_refused(monkeypatch)
    router = prepared(tmp_path)
    async with agent_of(router) as whole:
        whole.says(REFUSED_MS, stable=100)
        deadline = time.monotonic() + WITHIN
        while whole.routed() != {OLD}:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert not await whole.agent.ready()
        envoy = running_envoy(router)
        await asyncio.to_thread(envoy.__enter__)
        try:
            await whole.follows({OLD})
            assert '"timeout":"1.000s"' in whole.routes
            assert await whole.agent.ready()
        finally:
            await asyncio.to_thread(envoy.__exit__, None, None, None)


async def test_a_router_is_ready_when_envoy_has_a_version(whole: Whole) -> None:
    whole.says()
    await whole.follows(set())
    assert not await whole.agent.ready()
    whole.says(stable=100)
    await whole.follows({OLD})
    assert await whole.agent.ready()
    whole.says()
    await whole.follows(set())
    assert await whole.agent.ready()
