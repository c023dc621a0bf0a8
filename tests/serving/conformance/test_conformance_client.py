"""Triton's own client, unchanged, in its four forms; and gRPC's tools for health and reflection."""

import queue
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.utils import InferenceServerException

from conformance_servers import Ours
from patience import PATIENCE
from serving_process import Served

X = np.arange(8, dtype=np.float32).reshape(2, 4)
TEXT = np.array([["a"], ["größer"]], object)
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def served(ours: Ours) -> Served:
    return ours.served("mixed")


@pytest.fixture
def http(served: Served) -> Iterator[Any]:
    with http_client.InferenceServerClient(served.address, concurrency=2) as client:
        yield client


@pytest.fixture
def rpc(served: Served) -> Iterator[Any]:
    with grpc_client.InferenceServerClient(served.grpc_address) as client:
        yield client


@pytest.fixture(params=["http.aio", "grpc.aio"])
async def asynchronous(served: Served, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, ModuleType]]:
    module, address = {
        "http.aio": (http_aio, served.address),
        "grpc.aio": (grpc_aio, served.grpc_address),
    }[request.param]
    async with module.InferenceServerClient(address) as client:
        yield client, module


@pytest.fixture(params=["http", "grpc"])
def synchronous(request: pytest.FixtureRequest) -> tuple[Any, ModuleType]:
    return {
        "http": lambda: (request.getfixturevalue("http"), http_client),
        "grpc": lambda: (request.getfixturevalue("rpc"), grpc_client),
    }[request.param]()


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.grpc_address) as channel:
        yield channel


def inputs_of(module: ModuleType, **how: bool) -> list[Any]:
    values = {"X": (X, "FP32"), "AT": (np.array([1]), "INT64"), "TEXT": (TEXT, "BYTES")}
    inputs = []
    for name, (value, datatype) in values.items():
        inputs.append(module.InferInput(name, list(value.shape), datatype))
        inputs[-1].set_data_from_numpy(value, **how)
    return inputs


def check(result: Any, *, binary: bool = True) -> None:
    np.testing.assert_array_equal(result.as_numpy("Y"), X + X)
    said = result.as_numpy("SAID").ravel().tolist()
    assert said == ([b"a", "größer".encode()] if binary else ["a", "größer"])


def test_health(synchronous: tuple[Any, ModuleType]) -> None:
    client, _ = synchronous
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mixed")
    assert client.is_model_ready("mixed", "7")
    assert not client.is_model_ready("other")
    assert not client.is_model_ready("mixed", "8")


def test_metadata_config_statistics_index_http(http: Any) -> None:
    assert "binary_tensor_data" in http.get_server_metadata()["extensions"]
    assert http.get_model_metadata("mixed", "7")["inputs"][0] == {"name": "X", "datatype": "FP32", "shape": [-1, 4]}
    text = {"name": "TEXT", "data_type": "TYPE_STRING", "dims": [-1, 1]}
    assert text in http.get_model_config("mixed")["input"]
    assert [model["state"] for model in http.get_model_repository_index()] == ["READY"]
    before = counted(http)
    http.infer("mixed", inputs_of(http_client))
    assert counted(http) == before + 1


def counted(http: Any) -> int:
    (stats,) = http.get_inference_statistics("mixed")["model_stats"]
    count: int = stats["inference_stats"]["success"]["count"]
    return count


@pytest.mark.parametrize("as_json", [True, False])
def test_metadata_config_statistics_index_grpc(rpc: Any, as_json: bool) -> None:
    metadata = rpc.get_model_metadata("mixed", as_json=as_json)
    config = rpc.get_model_config("mixed", as_json=as_json)
    stats = rpc.get_inference_statistics("mixed", as_json=as_json)
    index = rpc.get_model_repository_index(as_json=as_json)
    if as_json:
        assert metadata["inputs"][0]["shape"] == ["-1", "4"]
        assert config["config"]["input"][2]["data_type"] == "TYPE_STRING"
        assert stats["model_stats"][0]["name"] == "mixed"
        assert index["models"][0]["state"] == "READY"
    else:
        assert rpc.get_server_metadata().name == "headgate"
        assert list(metadata.inputs[0].shape) == [-1, 4]
        assert [one.name for one in config.config.output] == ["Y", "PICK", "SAID"]
        assert stats.model_stats[0].version == "7"
        assert index.models[0].version == "7"


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
@pytest.mark.parametrize("named", [True, False], ids=["outputs named", "all outputs"])
def test_infer_http(http: Any, binary: bool, named: bool) -> None:
    wanted = [http_client.InferRequestedOutput(name, binary_data=binary) for name in ("Y", "SAID")]
    inputs = inputs_of(http_client, binary_data=binary)
    result = http.infer("mixed", inputs, outputs=wanted if named else None, request_id="r1", timeout=10_000_000)
    assert result.get_response()["id"] == "r1"
    check(result, binary=binary or not named)
    assert (result.as_numpy("PICK") is None) == named


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(synchronous: tuple[Any, ModuleType], algorithm: str) -> None:
    client, module = synchronous
    ways = (
        {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        if module is http_client
        else {"compression_algorithm": algorithm}
    )
    check(client.infer("mixed", inputs_of(module), **ways))


def test_infer_grpc(rpc: Any) -> None:
    wanted = [grpc_client.InferRequestedOutput(name) for name in ("Y", "SAID")]
    result = rpc.infer("mixed", inputs_of(grpc_client), outputs=wanted, request_id="r1", client_timeout=PATIENCE)
    assert result.get_response().id == "r1"
    check(result)
    assert result.as_numpy("PICK") is None
    check(rpc.infer("mixed", inputs_of(grpc_client), model_version="7", timeout=10_000_000))


def test_async_infer_http(http: Any) -> None:
    pending = [http.async_infer("mixed", inputs_of(http_client)) for _ in range(5)]
    for one in pending:
        check(one.get_result())


def test_async_infer_grpc(rpc: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    for _ in range(5):
        rpc.async_infer("mixed", inputs_of(grpc_client), lambda result, error: answers.put(error or result))
    for _ in range(5):
        check(answers.get(timeout=PATIENCE))


def test_stream(rpc: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    rpc.start_stream(lambda result, error: answers.put(error or result))
    for number in range(5):
        model = "other" if number == 2 else "mixed"
        rpc.async_stream_infer(model, inputs_of(grpc_client), request_id=str(number))
    said = [answers.get(timeout=PATIENCE) for _ in range(5)]
    rpc.stop_stream()
    failed = said.pop(2)
    assert isinstance(failed, InferenceServerException)
    assert "no model 'other'" in str(failed)
    assert [one.get_response().id for one in said] == ["0", "1", "3", "4"]
    for one in said:
        check(one)


def test_errors_reach_the_caller(synchronous: tuple[Any, ModuleType]) -> None:
    client, module = synchronous
    inputs = inputs_of(module)
    inputs[0].set_shape([4, 2])
    with pytest.raises(InferenceServerException, match=r"expected shape \[-1, 4\].*got \[4, 2\]"):
        client.infer("mixed", inputs)
    with pytest.raises(InferenceServerException, match="no model 'other'"):
        client.get_model_metadata("other")


async def test_asynchronous_clients(asynchronous: tuple[Any, ModuleType]) -> None:
    client, module = asynchronous
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("mixed", "7")
    assert not await client.is_model_ready("other")
    for ask in (client.get_server_metadata, client.get_model_repository_index):
        assert await ask()
    for ask in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        assert await ask("mixed")
    wanted = [module.InferRequestedOutput("Y"), module.InferRequestedOutput("SAID")]
    check(await client.infer("mixed", inputs_of(module), outputs=wanted, request_id="r1"))
    with pytest.raises(InferenceServerException, match="no model 'other'"):
        await client.infer("other", inputs_of(module))


async def test_asynchronous_stream(served: Served) -> None:
    async def asked() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            yield {"model_name": "mixed", "inputs": inputs_of(grpc_aio), "request_id": str(number)}

    async with grpc_aio.InferenceServerClient(served.grpc_address) as client:
        said = [one async for one in client.stream_infer(asked())]
    assert [error for _, error in said] == [None] * 3
    for result, _ in said:
        check(result)


@pytest.mark.parametrize(
    ("service", "status"),
    [
        ("", health_pb2.HealthCheckResponse.SERVING),
        (SERVICE, health_pb2.HealthCheckResponse.SERVING),
        ("mixed", health_pb2.HealthCheckResponse.SERVING),
    ],
)
def test_health_check(channel: grpc.Channel, service: str, status: int) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE).status == status
    watch = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
    assert next(watch).status == status
    watch.cancel()


def test_health_of_what_is_not_there(channel: grpc.Channel) -> None:
    health, asked = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service="other")
    with pytest.raises(grpc.RpcError) as failed:
        health.Check(asked, timeout=PATIENCE)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    watch = health.Watch(asked, timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_reflection_is_enough_to_make_a_call(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    method = pool.FindServiceByName(SERVICE).FindMethodByName("ModelReady")
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    ask = channel.unary_unary(
        f"/{SERVICE}/ModelReady",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    assert ask(request(name="mixed"), timeout=PATIENCE).ready


def test_reflection_of_what_is_not_there(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("inference.Nothing")
    assert isinstance(database.FindFileByName("inference.proto"), descriptor_pb2.FileDescriptorProto)
