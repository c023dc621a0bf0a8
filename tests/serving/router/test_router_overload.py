"""When there is more than Envoy can hold: it lets go of what holds most, and goes on for the others."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from headgate.api.policy import Policy
from headgate_serving.router.envoy.config import bootstrap, overload
from headgate_serving.router.policy.protection import Protection
from headgate_serving.router.policy.traffic import Intent, Target
from patience import PATIENCE, eventually
from router_envoy import Router, answering, prepared, running_envoy
from router_grpc_upstreams import GrpcUpstream, serving_grpc
from router_upstreams import Upstream, serving

INFER = "/v2/models/fraud/infer"
MEMORY_MIB = 256
REQUEST_WITHIN = 5.0


@dataclass
class Running:
    router: Router
    envoy: "subprocess.Popen[bytes]"

    @property
    def rss_mib(self) -> float:
        """What of Envoy's memory no file could give back."""
        status = Path(f"/proc/{self.envoy.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An Envoy that may use little memory, and that few clients may keep waiting."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(bootstrap, "REQUEST_WITHIN_MS", round(1000 * REQUEST_WITHIN))
        patch.setattr(overload, "MAX_CONNECTIONS", 400)
        router = prepared(tmp_path_factory.mktemp("small"), Protection(memory_mib=MEMORY_MIB))
        stack.enter_context(answering(router))
        yield Running(router, stack.enter_context(running_envoy(router)))


@pytest.fixture
async def pod(small: Running) -> AsyncIterator[Upstream]:
    pod = Upstream("fraud-1a2b3c4d")
    async with serving(pod):
        await small.router.follow(Intent((Target(pod.name, "stable", 1000),)), {pod.name: (pod.endpoint,)})
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            while await ask(session, small.router) != 200:  # noqa: ASYNC110 - asks Envoy
                await asyncio.sleep(0.01)
        pod.requests = 0
        yield pod


async def ask(session: aiohttp.ClientSession, router: Router) -> int:
    async with session.post(f"{router.url}{INFER}", data=b"{}") as response:
        await response.read()
        return response.status


async def open_request(router: Router, length: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.layout.inference_port)
    writer.write(f"POST {INFER} HTTP/1.1\r\nHost: fraud\r\nContent-Length: {length}\r\n\r\n".encode())
    return reader, writer


async def test_a_client_that_sends_its_body_bit_by_bit_gets_408(small: Running, pod: Upstream) -> None:
    reader, writer = await open_request(small.router, 1000)

    async def drip() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.1)

    dripping, loop = asyncio.create_task(drip()), asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await reader.readuntil(b"\r\n\r\n")
    finally:
        dripping.cancel()
        writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert loop.time() - started > 0.9 * REQUEST_WITHIN


async def test_the_models_time_is_not_the_clients(small: Running, pod: Upstream) -> None:
    """The limit for a whole request leaves the limit for the answer as it is."""
    intent = Intent((Target(pod.name, "stable", 1000),), Policy(500))
    await small.router.follow(intent, {pod.name: (pod.endpoint,)})
    await eventually(small.router.follows_routes)
    reader, writer = await open_request(small.router, 4)
    for piece in (b"1", b"2", b"3"):
        writer.write(piece)
        await asyncio.sleep(0.25)  # longer than the model has, in all
    pod.behaviour = "hang"
    started = asyncio.get_running_loop().time()
    writer.write(b"4")
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 504 ")
    assert asyncio.get_running_loop().time() - started >= 0.4
    writer.transport.abort()


async def test_a_call_that_is_answered_may_last_longer(small: Running) -> None:
    upstream = GrpcUpstream("fraud-1a2b3c4e")

    async def questions() -> AsyncIterator[Any]:
        for _ in range(6):
            yield service_pb2.ModelInferRequest()
            await asyncio.sleep(0.25 * REQUEST_WITHIN)

    async with serving_grpc(upstream):
        address = small.router.url.removeprefix("http://")
        await small.router.follow(
            Intent((Target(upstream.name, "stable", 1000),)), {upstream.name: (upstream.endpoint,)}
        )
        async with grpc.aio.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            async with asyncio.timeout(PATIENCE):
                while await stub.ModelInfer(service_pb2.ModelInferRequest()).code() != grpc.StatusCode.OK:  # noqa: ASYNC110 - asks Envoy
                    await asyncio.sleep(0.02)
            answers = [answer async for answer in stub.ModelStreamInfer(questions())]
    assert len(answers) == 6


async def test_bodies_that_nobody_could_hold_do_not_end_the_router(small: Running, pod: Upstream) -> None:
    """Sixty clients with all but the end of 9 MiB each: twice the memory that there is."""
    size, pieces, refusals, let_go = 9 << 20, 9 * 16, list[bytes](), 0

    async def send() -> None:
        nonlocal let_go
        reader, writer = await open_request(small.router, size)
        try:
            for _ in range(pieces - 1):
                writer.write(bytes(size // pieces))
                await writer.drain()
                await asyncio.sleep(0.9 * REQUEST_WITHIN / pieces)
            refusals.append(await reader.readuntil(b"}"))
        except (ConnectionError, asyncio.IncompleteReadError):
            let_go += 1
        writer.transport.abort()

    statuses, highest, over = list[int](), 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal highest
        async with aiohttp.ClientSession() as session:
            while not over.is_set():
                highest = max(highest, small.rss_mib)
                try:
                    statuses.append(await ask(session, small.router))
                except aiohttp.ClientError:
                    statuses.append(0)
                async with session.get(f"http://127.0.0.1:{small.router.layout.metrics_port}/healthz") as response:
                    assert response.status == 200
                await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(send() for _ in range(60)))
    over.set()
    await watching
    assert let_go + len(refusals) == 60
    assert all((b" 503 " in refusal and b"no memory" in refusal) or b" 408 " in refusal for refusal in refusals)
    assert small.envoy.poll() is None
    assert highest < MEMORY_MIB
    assert statuses.count(200) > len(statuses) / 2
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
        while await ask(session, small.router) != 200:  # noqa: ASYNC110 - asks Envoy
            await asyncio.sleep(0.05)


async def test_probes_and_metrics_get_through_when_clients_hold_all_connections(small: Running, pod: Upstream) -> None:
    port = small.router.layout.inference_port
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(450)]
    try:

        async def fifty_are_refused() -> bool:
            return sum(reader.at_eof() for reader, _ in idle) >= 50

        await eventually(fifty_are_refused)
        base = f"http://127.0.0.1:{small.router.layout.metrics_port}"
        async with aiohttp.ClientSession() as session:
            for path in ("/healthz", "/stats/prometheus"):
                async with session.get(f"{base}{path}") as response:
                    assert response.status == 200
    finally:
        for _, writer in idle:
            writer.transport.abort()
