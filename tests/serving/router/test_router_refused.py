"""The whole agent before the real Envoy: whatever the spec says, what `status.traffic` says reaches it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from router_envoy import MODEL, NAMESPACE, Router, prepared, running_envoy
from test_router_agent import FakeMirror

from headgate_serving.router import traffic
from headgate_serving.router.admin import Admin
from headgate_serving.router.agent import Agent
from headgate_serving.router.discovery import Discovery
from headgate_serving.router.metrics import Metrics
from patience import PATIENCE

OLD, NEW = "fraud-1a2b3c4d", "fraud-9e8d7c6b"
FOR_EVER = "9999999999h"
WITHIN = PATIENCE


@dataclass
class Whole:
    """An agent, and the objects that it sees."""

    router: Router
    agent: Agent
    deployments: FakeMirror

    def says(self, spec: dict[str, Any], **weights: int) -> None:
        names = {"stable": OLD, "candidate": NEW}
        split = [{"revision": names[role], "role": role, "weight": weight} for role, weight in weights.items()]
        self.deployments.objects[MODEL] = {"spec": spec, "status": {"traffic": split}}
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
    deployments, slices = FakeMirror(), FakeMirror()
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


@pytest.mark.parametrize("wished", [FOR_EVER, "0.5ms", "soon"])
async def test_a_rollback_reaches_envoy_whatever_the_timeout_is(whole: Whole, wished: str) -> None:
    whole.says({"traffic": {"timeout": "700ms"}}, stable=50, candidate=50)
    await whole.follows({OLD, NEW})
    whole.says({"traffic": {"timeout": wished}}, stable=100)
    await whole.follows({OLD})
    assert '"timeout":"0.700s"' in whole.routes


async def test_a_rollback_reaches_an_envoy_that_refuses_the_spec(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by a time that Envoy can't hold: neither the API server nor this agent would let it pass."""
    monkeypatch.setattr(traffic, "LONGEST_MS", 10**30)
    whole.says({"traffic": {"timeout": "700ms"}}, stable=50, candidate=50)
    await whole.follows({OLD, NEW})
    whole.says({"traffic": {"timeout": FOR_EVER}}, stable=50, candidate=50)
    await asyncio.sleep(0.2)
    whole.says({"traffic": {"timeout": FOR_EVER}}, stable=100)
    await whole.follows({OLD})
    assert '"timeout":"0.700s"' in whole.routes
    whole.says({"traffic": {"timeout": "800ms"}}, stable=90, candidate=10)
    await whole.follows({OLD, NEW})
    assert '"timeout":"0.800s"' in whole.routes


async def test_an_envoy_that_has_nothing_yet_gets_the_split_though_it_refuses_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "LONGEST_MS", 10**30)
    router = prepared(tmp_path)
    async with agent_of(router) as whole:
        whole.says({"traffic": {"timeout": FOR_EVER}}, stable=100)
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
    whole.says({})
    await whole.follows(set())
    assert not await whole.agent.ready()
    whole.says({}, stable=100)
    await whole.follows({OLD})
    assert await whole.agent.ready()
    whole.says({})
    await whole.follows(set())
    assert await whole.agent.ready()
