"""The operator's probes and metrics over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from headgate.edges.health import ADMITTED, Admission, Health, Shown, application, listening
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


@pytest.mark.parametrize(("status", "challenge"), [(401, "Bearer"), (403, None), (503, None)])
async def test_who_may_not_read_metrics_is_told_why_and_probes_answer_all_the_same(
    status: int, challenge: str | None
) -> None:
    async def admit(authorization: str) -> Admission:
        return ADMITTED if authorization == "Bearer x" else Admission(status, "because")

    app = application(Telemetry().registry, lambda: Health(True), lambda: Health(True), admit)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/metrics")
        assert (answer.status, await answer.text()) == (status, "because\n")
        assert answer.headers.get("WWW-Authenticate") == challenge
        assert (await client.get("/metrics", headers={"Authorization": "Bearer x"})).status == 200
        assert [(await client.get(path)).status for path in ("/healthz", "/readyz")] == [200, 200]


class Slow(CollectorRegistry):
    """Needs time for its samples, by a clock of its own."""

    def __init__(self, takes: float) -> None:
        super().__init__()
        self.takes, self.now, self.collected = takes, 0.0, 0

    def collect(self) -> Any:
        self.collected += 1
        self.now += self.takes
        return super().collect()


@pytest.mark.parametrize(("takes", "at_most"), [(0.001, 10), (0.5, 2)])
def test_who_asks_for_metrics_without_end_gets_a_small_part_of_the_process(takes: float, at_most: int) -> None:
    registry = Slow(takes)
    shown = Shown(registry, lambda: registry.now)
    for _ in range(1000):
        assert shown.text() is not None
        registry.now += 0.01
    assert 1 <= registry.collected <= at_most


def test_metrics_are_no_older_than_a_second_where_they_cost_little() -> None:
    registry = Slow(0.001)
    shown, gauge = Shown(registry, lambda: registry.now), Gauge("headgate_x", "X.", registry=registry)
    gauge.set(1)
    assert b"headgate_x 1.0" in shown.text()
    gauge.set(2)
    registry.now += 1.1
    assert b"headgate_x 2.0" in shown.text()


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
