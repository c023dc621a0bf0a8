"""Samples for a monitor beside an engine: the real Envoy, and the real runtime as an engine that counts by itself.

What the monitor counts of all requests has to be what the runtime counted.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from prometheus_client import CollectorRegistry, generate_latest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import serialize_byte_tensor

import serving_models as models
from headgate_serving.monitor import build_profile
from headgate_serving.monitor.profile import Column
from headgate_serving.router.mirror import bounds, forwarding, tap
from headgate_serving.router.mirror.controller import MirrorController
from headgate_serving.router.policy.endpoints import Endpoint
from headgate_serving.router.policy.traffic import Intent, Target
from headgate_serving.runtime.model import load_model
from headgate_serving.sidecar.process import Sidecar
from headgate_serving.sidecar.settings import read_settings
from patience import PATIENCE
from ports import free_ports
from router_envoy import Router
from serving_process import LABELS, Served

INFER = "/v2/models/fraud/infer"
CITIES = np.array(["Oslo", "Rome", "Åre", ""], object)
RNG = np.random.default_rng(11)
_numbers = count(100)

Rows = tuple[NDArray[np.float32], NDArray[Any]]
Ask = Callable[["Scene", Rows], Awaitable[None]]


def some_rows(number: int, shift: float = 0) -> Rows:
    """Numbers, and the cities that belong to them; some are missing."""
    x = (RNG.normal(size=(number, 3)) + shift).astype(np.float32)
    x[RNG.random(x.shape) < 0.02] = np.nan
    return x, RNG.choice(CITIES, (number, 1))


def write_artifact(folder: Path, shift: float = 0) -> None:
    """A model of both, with its profile."""
    nodes = [
        helper.make_node("Softmax", ["X"], ["P"], axis=1),
        helper.make_node("ArgMax", ["P"], ["L"], axis=1, keepdims=0),
        helper.make_node("Identity", ["CITY"], ["SAID"]),
    ]
    inputs = [("X", TensorProto.FLOAT, ["n", 3]), ("CITY", TensorProto.STRING, ["n", 1])]
    outputs = [("P", TensorProto.FLOAT, ["n", 3]), ("L", TensorProto.INT64, ["n"])]
    path = models.save(folder / "model.onnx", nodes, inputs, [*outputs, ("SAID", TensorProto.STRING, ["n", 1])])
    x, city = some_rows(1000, shift)
    columns = [*(Column(f"x{at}", "X", at, x[:, at]) for at in range(3)), Column("city", "CITY", 0, city[:, 0])]
    profile, _ = build_profile(columns, load_model(path).run({"X": x, "CITY": city}, ["P", "L", "SAID"]))
    (folder / "profile.json").write_text(profile.to_json())


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    write_artifact(folder / "own")
    write_artifact(folder / "baseline", 0.5)
    return folder


@pytest.fixture(scope="module")
def engine(artifacts: Path) -> Iterator[Served]:
    served = Served(artifacts / "own", "--baseline", str(artifacts / "baseline"), log=artifacts / "last-words")
    yield served
    served.stop()


@dataclass
class Monitored:
    """The monitor that is beside an engine in its pod."""

    port: int
    sidecar: Sidecar

    def bins(self) -> dict[str, float]:
        return bins_in(generate_latest(self.sidecar.registry).decode())


@dataclass
class Scene:
    """Users of an engine behind Envoy, and the agent's part of the sampling."""

    router: Router
    engine: Served
    monitored: Monitored
    session: aiohttp.ClientSession
    channel: grpc.aio.Channel
    revision: str = field(default_factory=lambda: f"fraud-5a3b1{next(_numbers):03}")
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.copies = MirrorController("ns", "fraud", self.router.layout.copies_socket, self.registry)

    def pod(self, samples_port: int) -> Endpoint:
        http, rpc = (int(address.rpartition(":")[2]) for address in (self.engine.address, self.engine.grpc_address))
        return Endpoint("127.0.0.1", http, "engine", grpc_port=rpc, samples_port=samples_port)

    async def follow(self, percent: float, samples_port: int | None = None) -> None:
        """As the agent does, and until both workers of Envoy do."""
        pod = self.pod(self.monitored.port if samples_port is None else samples_port)
        intent = Intent((Target(self.revision, "stable", 1000, sample=round(10 * percent)),))
        self.copies.follow(intent, {self.revision: (pod,)})
        await self.router.follow(intent, {self.revision: (pod,)})
        await until(self.router.follows_routes)

    async def post(self, body: bytes, **headers: str) -> int:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(f"{self.router.url}{INFER}", data=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def outcomes(self) -> dict[str, int]:
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        found = {s.labels["outcome"]: int(s.value) for s in samples if s.name == "headgate_samples_total"}
        return {outcome: number for outcome, number in found.items() if number}

    async def until_outcomes(self, **expected: int) -> None:
        expected = {name.replace("_", "-"): number for name, number in expected.items()}

        async def there() -> bool:
            return sum((await self.outcomes()).values()) >= sum(expected.values())

        await until(there)
        assert await self.outcomes() == expected


def bins_in(text: str) -> dict[str, float]:
    """The series of the monitor's contract; not those of the process."""
    ours = ("headgate_feature_", "headgate_prediction_")
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(ours))
    return {series: float(value) for series, _, value in lines if "_created{" not in series}


async def settled(scene: Scene) -> None:
    """Wait until no more samples come."""

    async def so() -> bool:
        before = await scene.outcomes()
        await asyncio.sleep(0.5)
        return bool(before) and before == await scene.outcomes()

    await until(so)


async def until(done: Callable[[], Awaitable[object]], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not await done():  # noqa: ASYNC110 - asks Envoy, or waits for a count
            await asyncio.sleep(0.02)


@pytest.fixture
async def scene(
    router: Router, engine: Served, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    monkeypatch.setattr(tap, "RateLimiter", lambda: bounds.RateLimiter(10_000))
    monkeypatch.setattr(forwarding, "TOGETHER_SECONDS", 0.05)
    (port,) = free_ports(1)
    folders = ["--artifact", str(artifacts / "own"), "--baseline", str(artifacts / "baseline")]
    where = ["--model", "fraud", "--engine", f"http://{engine.address}", "--host", "127.0.0.1", "--port", str(port)]
    sidecar = Sidecar(read_settings([*folders, *where], LABELS))
    runner = await sidecar.listen()
    await sidecar.prepare()
    async with (
        aiohttp.ClientSession() as session,
        grpc.aio.insecure_channel(router.url.removeprefix("http://")) as channel,
    ):
        found = Scene(router, engine, Monitored(port, sidecar), session, channel)
        yield found
        await found.copies.close()
    await runner.cleanup()


def described(rows: Rows) -> list[dict[str, Any]]:
    x, city = rows
    return [
        {"name": "X", "datatype": "FP32", "shape": list(x.shape)},
        {"name": "CITY", "datatype": "BYTES", "shape": list(city.shape)},
    ]


def json_body(rows: Rows) -> bytes:
    x, city = rows
    data: list[Any] = [[None if np.isnan(v) else float(v) for v in row] for row in x]
    given = [one | {"data": values} for one, values in zip(described(rows), (data, city.tolist()), strict=True)]
    return json.dumps({"inputs": given}).encode()


async def over_json(scene: Scene, rows: Rows) -> None:
    assert await scene.post(json_body(rows)) == 200


async def over_json_compressed(scene: Scene, rows: Rows) -> None:
    assert await scene.post(gzip.compress(json_body(rows)), content_encoding="gzip") == 200


async def over_binary(scene: Scene, rows: Rows) -> None:
    raw = [rows[0].tobytes(), bytes(serialize_byte_tensor(rows[1]).item())]
    given = [
        one | {"parameters": {"binary_data_size": len(part)}} for one, part in zip(described(rows), raw, strict=True)
    ]
    head = json.dumps({"inputs": given, "parameters": {"binary_data_output": True}}).encode()
    assert await scene.post(b"".join([head, *raw]), inference_header_content_length=str(len(head))) == 200


async def over_grpc(scene: Scene, rows: Rows) -> None:
    request = service_pb2.ModelInferRequest(model_name="fraud")
    for one in described(rows):
        request.inputs.add(**one)
    request.raw_input_contents.extend([rows[0].tobytes(), serialize_byte_tensor(rows[1]).item()])
    await service_pb2_grpc.GRPCInferenceServiceStub(scene.channel).ModelInfer(request)


async def over_grpc_typed(scene: Scene, rows: Rows) -> None:
    request = service_pb2.ModelInferRequest(model_name="fraud")
    x, city = (request.inputs.add(**one) for one in described(rows))
    x.contents.fp32_contents.extend(rows[0].ravel().tolist())
    city.contents.bytes_contents.extend(text.encode() for text in rows[1].ravel())
    await service_pb2_grpc.GRPCInferenceServiceStub(scene.channel).ModelInfer(request)


@pytest.mark.parametrize("ask", [over_json, over_json_compressed, over_binary, over_grpc, over_grpc_typed])
async def test_the_bins_of_all_requests_are_those_that_the_runtime_counts_itself(scene: Scene, ask: Ask) -> None:
    await scene.follow(100)
    before = bins_in(await asyncio.to_thread(engine_metrics, scene))
    for number in RNG.integers(1, 20, 60).tolist():
        await ask(scene, some_rows(number, shift=0.3))
    await scene.until_outcomes(counted=60)
    own = bins_in(await asyncio.to_thread(engine_metrics, scene))
    moved = {series: value - (0 if "_reference{" in series else before[series]) for series, value in own.items()}
    assert scene.monitored.bins() == moved
    assert sum(value for series, value in moved.items() if 'output="L"' in series and "_bin_" in series) > 600


def engine_metrics(scene: Scene) -> str:
    return scene.engine.client.get(scene.engine.metrics_url).text


async def test_a_part_is_sampled_and_how_large_it_is_is_said(scene: Scene) -> None:
    await scene.follow(10)
    assert scene.registry.get_sample_value(
        "headgate_sample_fraction",
        {"headgate_namespace": "ns", "headgate_model": "fraud", "headgate_revision": scene.revision},
    ) == pytest.approx(0.1)
    for _ in range(20):
        await asyncio.gather(*(over_json(scene, some_rows(1)) for _ in range(50)))
    await settled(scene)
    outcomes = await scene.outcomes()
    assert set(outcomes) == {"counted"}
    assert 50 <= outcomes["counted"] <= 160


async def test_what_was_refused_is_no_sample_and_is_said(scene: Scene) -> None:
    await scene.follow(100)
    assert await scene.post(b"{}") == 400
    await over_json(scene, some_rows(1))
    await scene.until_outcomes(counted=1, unanswered=1)


async def test_without_a_monitor_requests_go_on_and_samples_are_lost_and_said(scene: Scene) -> None:
    await scene.follow(100, samples_port=0)
    await over_json(scene, some_rows(1))
    await scene.until_outcomes(no_pod=1)
    await scene.follow(100, samples_port=free_ports(1)[0])
    await over_json(scene, some_rows(1))
    await scene.until_outcomes(no_pod=1, failed=1)
    await scene.follow(100)
    await over_json(scene, some_rows(1))
    await scene.until_outcomes(no_pod=1, failed=1, counted=1)


async def test_nothing_is_copied_where_nothing_is_sampled(scene: Scene) -> None:
    await scene.follow(100)
    await scene.follow(0)
    await over_json(scene, some_rows(1))
    await asyncio.sleep(0.3)
    assert await scene.outcomes() == {}
    assert b"headgate_sample_fraction{" not in generate_latest(scene.registry)


async def test_a_shadow_and_samples_share_the_copies(scene: Scene) -> None:
    """The candidate is the same engine, so it agrees; its answers are no samples, for no user got them."""
    candidate = f"fraud-ca5a3{next(_numbers):03}"
    targets = Target(scene.revision, "stable", 1000, sample=500), Target(candidate, "candidate", 0, 1000, sample=500)
    intent = Intent(targets)
    pods = {name: (scene.pod(scene.monitored.port),) for name in (scene.revision, candidate)}
    scene.copies.follow(intent, pods)
    await scene.router.follow(intent, pods)
    await until(scene.router.follows_routes)
    for _ in range(100):
        await over_json(scene, some_rows(1))
    await settled(scene)

    def pairs() -> float | None:
        names = ("headgate_namespace", "headgate_model", "headgate_revision", "headgate_baseline", "agree")
        labels = dict(zip(names, ("ns", "fraud", candidate, scene.revision, "yes"), strict=True))
        return scene.registry.get_sample_value("headgate_shadow_pairs_total", labels)

    async def all_compared() -> bool:
        return pairs() == 100

    await until(all_compared)
    assert 20 <= (await scene.outcomes())["counted"] <= 80
