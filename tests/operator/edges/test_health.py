"""The operator's probes and metrics over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from headgate.edges.health import Health, application, listening
from headgate.edges.telemetry import Telemetry
from ports import free_port


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    app = application(Telemetry().registry, lambda: Health(True), lambda: Health(False, "not yet"))
    async with TestClient(TestServer(app)) as found:
        yield found


async def test_a_probe_says_why(client: TestClient[Any, Any]) -> None:
    for path, status, body in (
        ("/healthz?verbose=1", 200, {"well": True, "detail": "ok"}),
        ("/readyz", 503, {"well": False, "detail": "not yet"}),
    ):
        answer = await client.get(path)
        assert (answer.status, answer.content_type, await answer.json()) == (status, "application/json", body)
    assert (await client.get("/nothing")).status == 404


async def test_metrics_are_in_prometheus_form(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/metrics")
    assert (answer.status, answer.content_type) == (200, "text/plain")
    names = {family.name for family in text_string_to_metric_families(await answer.text())}
    assert {"headgate_leading", "headgate_queue_depth", "headgate_rollbacks", "headgate_decision_seconds"} <= names


async def test_it_listens_until_it_ends_and_outlives_what_is_no_http() -> None:
    app, port = application(Telemetry().registry, lambda: Health(True), lambda: Health(True)), free_port()
    async with listening(app, port), ClientSession() as session:
        for nonsense in (b"GET\r\n\r\n", b"\r\n\r\n", b"GET /" + b"x" * 200_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(nonsense)
            writer.write_eof()
            assert b" 200 " not in await reader.read()
            writer.close()
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200
        with pytest.raises(OSError, match="in use"):
            async with listening(app, port):
                pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
