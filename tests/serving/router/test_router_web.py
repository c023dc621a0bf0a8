import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from headgate_serving.router.envoy.admin import Admin
from headgate_serving.router.metrics import Metrics
from headgate_serving.router.policy.traffic import Intent, Target
from headgate_serving.router.web import Web
from router_envoy import Router


@asynccontextmanager
async def asking(started: bool = True, ready: bool = True, registry: Any = None) -> AsyncIterator[Any]:
    async def is_ready() -> Any:
        return ready

    runner = await Web(lambda: started, is_ready, registry or CollectorRegistry()).serve("127.0.0.1", 0)
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            yield session
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("started", "ready"), [(True, True), (True, False), (False, False)])
async def test_that_envoy_can_start_is_another_question_than_where_requests_can_go(started: Any, ready: Any) -> None:
    async with asking(started, ready) as session:
        assert (await session.get("/startupz")).status == (200 if started else 503)
        assert (await session.get("/readyz")).status == (200 if ready else 503)
        assert (await session.get("/healthz")).status == 200


async def test_the_metrics_are_those_of_the_contract() -> None:
    metrics = Metrics("ns", "fraud", "fraud-router-1")
    metrics.show_weights(Intent((Target("fraud-1a2b3c4d", "stable", 1000),)))
    metrics.watch_age.labels("ns", "fraud", "fraud-router-1").set(3)
    async with asking(registry=metrics.registry) as session:
        text = await (await session.get("/metrics")).text()
    whose = 'headgate_model="fraud",headgate_namespace="ns"'
    assert f'headgate_router_weight{{{whose},headgate_revision="fraud-1a2b3c4d"}} 100.0' in text
    assert f"headgate_router_config_writes_total{{{whose}}} 0.0" in text
    started = re.search(rf'headgate_start_time_seconds\{{{whose},headgate_revision="fraud-1a2b3c4d"\}} (\S+)', text)
    assert started and abs(float(started[1]) - time.time()) < 60
    assert f'headgate_router_watch_age_seconds{{{whose},headgate_router="fraud-router-1"}} 3.0' in text


async def test_who_reaches_the_agents_port_can_change_nothing() -> None:
    async with asking() as session:
        for method in ("GET", "POST"):
            assert (await session.request(method, "/drain?seconds=600")).status == 404
            assert (await session.request(method, "/healthcheck/fail")).status == 404


async def test_a_draining_envoy_answers_and_closes_its_connections(router: Router) -> None:
    admin = Admin(Path(router.layout.admin_socket))
    async with aiohttp.ClientSession() as session:
        for on, connection in ((True, "close"), (False, None)):
            assert await admin.drain(on=on)
            async with session.get(f"{router.url}/healthz") as answer:
                assert answer.status == 200
                assert answer.headers.get("connection") == connection


async def test_without_an_envoy_there_is_nobody_to_wait_for(tmp_path: Path) -> None:
    admin = Admin(tmp_path / "admin.sock")
    assert await admin.wait_for_clusters("1", 5.0)
    assert not await admin.drain(on=True)
