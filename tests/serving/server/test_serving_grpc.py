"""gRPC calls over a loopback socket: messages that are compressed, cut off or too long, deadlines, who leaves."""

import asyncio
import gc
import gzip
import struct
import weakref
import zlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto
from tritonclient.grpc import service_pb2 as pb

import serving_models as models
from headgate_serving.codec import binary as wire
from headgate_serving.codec import compression
from headgate_serving.codec import grpc_codec as tensors
from headgate_serving.codec.oip_messages import MESSAGES
from headgate_serving.http.http2 import Server
from headgate_serving.http.http2_streams import Stream
from headgate_serving.http.listener import Limits
from headgate_serving.runtime.model import load_model
from headgate_serving.runtime.runner import Runner
from headgate_serving.runtime.telemetry import Telemetry
from headgate_serving.server import grpc_app as grpc
from headgate_serving.server import grpc_inference
from headgate_serving.server.grpc_app import Grpc
from headgate_serving.server.grpc_calls import framed
from headgate_serving.server.grpc_inference import ModelStreamInfer
from headgate_serving.server.service import Service, Serving
from http2_client import Client, Reply, head, until

MAX_BODY = 100_000
INFER, STREAM = (f"/inference.GRPCInferenceService/Model{name}Infer" for name in ("", "Stream"))
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
WATCH = "/grpc.health.v1.Health/Watch"
OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 0, 3, 4, 5, 8, 12
UNAVAILABLE = 14


def request(rows: int = 2, **more: str) -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest(model_name="fraud", **more)
    asked.inputs.add(name="X", datatype="FP32", shape=[rows, 2])
    asked.raw_input_contents.append(struct.pack("<f", 1.5) * 2 * rows)
    return asked


BODY = framed(request())


@pytest.fixture
def service() -> Service:
    return Service("fraud", None, Telemetry({"headgate_model": "fraud"}))


@pytest.fixture
async def server(service: Service, tmp_path: Path) -> AsyncIterator[Server]:
    model = load_model(models.score(tmp_path / "model.onnx"))
    limits: dict[str, Any] = {"threads": 1, "max_batch": 32, "max_delay": 0.0, "max_queue": 100, "row_seconds": 0.0}
    runner = Runner(model, None, service.telemetry, **limits)
    service.serve(Serving(model, runner, {}))
    calls = Grpc(service, MAX_BODY)
    server = Server(calls.opened, calls.too_large, Limits(MAX_BODY, 10 * MAX_BODY))
    server.start()
    yield server
    server.close()
    await until(lambda: not server.connections)
    runner.close()


@pytest.fixture
async def port(server: Server) -> AsyncIterator[int]:
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    client = await Client.connect(port)
    yield client
    await client.close()


def answers(reply: Reply) -> list[bytes]:
    """The messages of a body."""
    found, rest = [], reply.data
    while rest:
        length = int.from_bytes(rest[1:5], "big")
        found.append(rest[5 : 5 + length])
        rest = rest[5 + length :]
    return found


def scores(reply: Reply) -> list[bytes]:
    return [pb.ModelInferResponse.FromString(one).raw_output_contents[0] for one in answers(reply)]


SCORES = struct.pack("<ff", 3.0, 3.0)


async def test_infer(client: Client, service: Service) -> None:
    reply = await client.ask(BODY, head(INFER))
    assert (reply.status, scores(reply)) == (OK, [SCORES])
    assert service.telemetry.in_flight == 0


async def test_a_message_in_many_frames(client: Client) -> None:
    number = await client.begin(head(INFER))
    for at in range(len(BODY)):
        await client.send(number, BODY[at : at + 1], end=at == len(BODY) - 1)
    assert scores(await client.reply(number)) == [SCORES]


COMPRESSED = {
    "gzip": gzip.compress(BODY[5:]),
    "deflate": zlib.compress(BODY[5:]),
}


@pytest.mark.parametrize("encoding", COMPRESSED)
@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_compressed_messages(client: Client, server: Server, path: str, encoding: str) -> None:
    message = COMPRESSED[encoding]
    framed_message = b"\1" + len(message).to_bytes(4, "big") + message
    number = await client.begin(head(path, (b"grpc-encoding", encoding.encode())))
    await client.send(number, framed_message, end=True)
    reply = await client.reply(number)
    assert (reply.status, len(answers(reply))) == (OK, 1)
    assert server.held == 0


@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_what_a_message_becomes_counts(client: Client, server: Server, path: str) -> None:
    server.limits = Limits(MAX_BODY, 5000)
    message = gzip.compress(request(1000).SerializeToString())
    number = await client.begin(head(path, (b"grpc-encoding", b"gzip")))
    await client.send(number, prefixed(1, len(message), message), end=True)
    assert (await client.reply(number)).status == RESOURCE_EXHAUSTED
    await client.send(number := await client.begin(head(path)), BODY, end=True)
    assert (await client.reply(number)).status == OK
    assert server.held == 0


def typed(rows: int) -> bytes:
    """A message whose values are typed contents."""
    asked = pb.ModelInferRequest(model_name="fraud")
    tensor = asked.inputs.add(name="X", datatype="FP32", shape=[rows, 2])
    tensor.contents.fp32_contents.extend([1.5, 2.25] * rows)
    return framed(asked)


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_inference, "LARGE", 1000)
    monkeypatch.setattr(grpc_inference, "_MUCH", 1000)
    monkeypatch.setattr(tensors, "_PIECE", 100)


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_typed_contents_of_a_large_message_are_read_in_pieces(
    client: Client, server: Server, service: Service, path: str, pieces: list[None]
) -> None:
    number = await client.begin(head(path))
    await client.send(number, typed(2000), end=True)
    reply = await client.reply(number)
    assert len(pieces) == 2 + 40, "others have their turn before and after it is parsed, and between them"
    assert (reply.status, service.telemetry.in_flight) == (OK, 0)
    (message,) = answers(reply)
    if path == INFER:
        answer = pb.ModelInferResponse.FromString(message)
    else:
        answer = pb.ModelStreamInferResponse.FromString(message).infer_response
    assert answer.raw_output_contents[0] == struct.pack("<f", 3.75) * 2000
    assert server.held == 0


@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_a_message_of_medium_size_whose_bytes_are_tensors_is_read_at_once(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, pieces: list[None]
) -> None:
    monkeypatch.setattr(grpc_inference, "LARGE", 1000)
    number = await client.begin(head(path))
    await client.send(number, framed(request(2000)), end=True)
    reply = await client.reply(number)
    assert (reply.status, len(pieces)) == (OK, 0)


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_tensors_of_typed_contents_count(client: Client, server: Server, path: str) -> None:
    body = typed(2000)
    server.limits = Limits(MAX_BODY, len(body) + 1000)
    number = await client.begin(head(path))
    await client.send(number, body, end=True)
    reply = await client.reply(number)
    if path == INFER:
        assert reply.status == RESOURCE_EXHAUSTED
    else:
        (message,) = answers(reply)
        assert "waiting already" in pb.ModelStreamInferResponse.FromString(message).error_message
    assert server.held == 0


@pytest.mark.usefixtures("in_small_pieces")
async def test_wrong_values_of_a_large_message_are_refused(client: Client, server: Server) -> None:
    asked = pb.ModelInferRequest.FromString(typed(2000)[5:])
    asked.inputs[0].shape[0] = 1999
    number = await client.begin(head(INFER))
    await client.send(number, framed(asked), end=True)
    assert (await client.reply(number)).status == INVALID_ARGUMENT
    assert server.held == 0


@pytest.fixture
def pieces(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each piece of work in which others have their turn."""
    done, take_turns = list[None](), service.turns.add

    def counted(work: Iterator[None]) -> Iterator[None]:
        for piece in work:
            done.append(piece)
            yield

    monkeypatch.setattr(service.turns, "add", lambda work: take_turns(counted(work)))
    return done


@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_a_small_message_that_becomes_a_large_one_is_decompressed_in_pieces(
    client: Client, server: Server, path: str, pieces: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_PLAIN_PIECE", 1000)
    message = gzip.compress(request(10_000).SerializeToString())
    number = await client.begin(head(path, GZIP))
    await client.send(number, prefixed(1, len(message), message), end=True)
    reply = await client.reply(number)
    assert len(pieces) >= 80
    assert (reply.status, len(answers(reply)), server.held) == (OK, 1, 0)


async def test_a_damaged_message_ends_a_stream_though_it_is_found_late(
    client: Client, server: Server, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_PLAIN_PIECE", 1000)
    whole = gzip.compress(request(10_000).SerializeToString())
    damaged = whole[:-8] + bytes(8)
    number = await client.begin(head(STREAM, GZIP))
    await client.send(number, prefixed(1, len(damaged), damaged) + prefixed(1, len(whole), whole), end=True)
    reply = await client.reply(number)
    assert reply.status == INVALID_ARGUMENT
    assert (service.telemetry.in_flight, server.held) == (0, 0)


async def test_what_is_no_inference_is_asked_with_few_bytes(client: Client, server: Server) -> None:
    """Others are read at once: a bomb would keep everybody waiting."""
    path = "/inference.GRPCInferenceService/ModelMetadata"
    message = gzip.compress(bytes(MAX_BODY - 1))
    reply = await client.ask(prefixed(1, len(message), message), head(path, GZIP))
    assert reply.status == RESOURCE_EXHAUSTED
    assert server.held == 0


@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_much_text_is_read_and_written_in_pieces(
    client: Client,
    server: Server,
    service: Service,
    path: str,
    pieces: list[None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (grpc_inference, tensors):
        monkeypatch.setattr(module, "LARGE", 1000)
    monkeypatch.setattr(wire, "_TEXTS", 100)
    model = load_model(models.identity(tmp_path / "text.onnx", TensorProto.STRING))
    limits: dict[str, Any] = {"threads": 1, "max_batch": 32, "max_delay": 0.0, "max_queue": 100, "row_seconds": 0.0}
    runner = Runner(model, None, service.telemetry, **limits)
    service.serve(Serving(model, runner, {}))
    asked = pb.ModelInferRequest(model_name="fraud")
    asked.inputs.add(name="IN", datatype="BYTES", shape=[1600, 2])
    asked.raw_input_contents.append(b"\4\0\0\0text\0\0\0\0" * 1600)
    number = await client.begin(head(path))
    await client.send(number, framed(asked), end=True)
    reply = await client.reply(number)
    runner.close()
    assert len(pieces) >= 31 + 32, "32 to read, of which the first is read at once; 32 to write"
    (message,) = answers(reply)
    kind = pb.ModelInferResponse if path == INFER else pb.ModelStreamInferResponse
    answer = kind.FromString(message)
    answer = answer if path == INFER else answer.infer_response
    assert answer.raw_output_contents[0] == asked.raw_input_contents[0]
    assert (service.telemetry.in_flight, server.held) == (0, 0)


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize("field", [b"\x2a\0", b"\x32\0", b"\x0b\x0c", b"\x98\6\1", b"\x9d\6abcd", b"\x99\6abcdefgh"])
async def test_a_message_of_many_empty_fields_is_not_parsed(client: Client, server: Server, field: bytes) -> None:
    message = request().SerializeToString() + field * 5000
    reply = await client.ask(prefixed(0, len(message), message), head(INFER))
    assert reply.status == INVALID_ARGUMENT
    assert b"more than 4096" in reply.heads[-1][b"grpc-message"]
    assert server.held == 0


def prefixed(flag: int, length: int, data: bytes) -> bytes:
    return bytes([flag]) + length.to_bytes(4, "big") + data


GZIP = (b"grpc-encoding", b"gzip")
WRONG = {
    "no message": (b"", (), INVALID_ARGUMENT, "got 0"),
    "two messages": (BODY * 2, (), INVALID_ARGUMENT, "got 2"),
    "half a prefix": (BODY[:3], (), INVALID_ARGUMENT, "a part of one"),
    "half a message": (BODY[:-1], (), INVALID_ARGUMENT, "a part of one"),
    "more than a message": (BODY + b"x", (), INVALID_ARGUMENT, "a part of one"),
    "a message that is announced as too long": (
        prefixed(0, MAX_BODY + 1, b"x"),
        (),
        RESOURCE_EXHAUSTED,
        f"a message of {MAX_BODY + 1} bytes",
    ),
    "a message that is too long": (
        prefixed(0, MAX_BODY + 1, bytes(MAX_BODY + 1)),
        (),
        RESOURCE_EXHAUSTED,
        "bytes of requests",
    ),
    "a message of another kind": (prefixed(0, 3, b"\xff\xff\xff"), (), INVALID_ARGUMENT, "no inference.ModelInfer"),
    "compressed, but nobody knows how": (b"\1" + BODY[1:], (), INVALID_ARGUMENT, "grpc-encoding does not say how"),
    "gzip that is none": (b"\1" + BODY[1:], (GZIP,), INVALID_ARGUMENT, "no gzip"),
    "an encoding that nobody knows": (
        b"\1" + BODY[1:],
        ((b"grpc-encoding", b"snappy"),),
        UNIMPLEMENTED,
        "snappy",
    ),
    "a gzip bomb": (
        prefixed(1, len(bomb := gzip.compress(bytes(MAX_BODY + 1))), bomb),
        (GZIP,),
        RESOURCE_EXHAUSTED,
        "decompressed",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_body_is_refused(client: Client, server: Server, service: Service, name: str) -> None:
    body, headers, status, said = WRONG[name]
    reply = await client.ask(body, head(INFER, *headers))
    assert reply.status == status
    assert said.encode() in reply.heads[-1][b"grpc-message"]
    assert (service.telemetry.in_flight, server.held) == (0, 0)
    assert scores(await client.ask(BODY, head(INFER))) == [SCORES]


@pytest.mark.parametrize("name", [name for name in WRONG if name not in ("no message", "two messages")])
@pytest.mark.parametrize("path", [STREAM, REFLECT])
async def test_a_wrong_body_ends_a_stream(
    client: Client, server: Server, service: Service, name: str, path: str
) -> None:
    body, headers, status, _ = WRONG[name]
    if name == "a message of another kind" and path == STREAM:
        return  # there it is one answer of many
    reply = await client.ask(body, head(path, *headers))
    assert reply.status == status
    assert len([one for one in reply.heads if b":status" in one]) == 1
    assert (service.telemetry.in_flight, server.held) == (0, 0)


async def test_a_stream_that_brings_more_than_its_window(client: Client, server: Server, service: Service) -> None:
    number = await client.begin(head(STREAM))
    message = framed(request(10_000))
    for done in range(30):
        await client.send(number, message, end=done == 29)
        await client.until(partial(client.has, number, done * 30_000 + 1))
    reply = await client.reply(number)
    assert (reply.status, len(answers(reply))) == (OK, 30)
    assert (service.telemetry.in_flight, server.held) == (0, 0)


async def test_in_a_stream_each_answer_says_that_it_is_the_last_one_to_its_request(client: Client) -> None:
    number = await client.begin(head(STREAM))
    wrong = request(id="b")
    wrong.inputs[0].datatype = "INT8"
    await client.send(number, b"".join(map(framed, (request(id="a"), wrong))), end=True)
    said = [pb.ModelStreamInferResponse.FromString(one) for one in answers(await client.reply(number))]
    assert [one.infer_response.id for one in said] == ["a", "b"]
    assert [bool(one.error_message) for one in said] == [False, True]
    assert all(one.infer_response.parameters["triton_final_response"].bool_param for one in said)


async def test_a_stream_whose_answers_nobody_takes_takes_no_more_requests(port: int, server: Server) -> None:
    client = await Client.connect(port, INITIAL_WINDOW_SIZE=100)
    client.reads = False
    number = await client.begin(head(STREAM))
    for _ in range(20):
        await client.send(number, framed(request(1000)))
    await client.until(lambda: len(client.replies[number].data) == 100)
    await client.until(lambda: server.held > 15 * 8000)  # they wait as requests, which the window bounds
    await client.close()


PATHS = ["/", "/inference.GRPCInferenceService/Nothing", "/grpc.health.v1.Health/Nothing"]


@pytest.mark.parametrize("path", PATHS)
async def test_unknown_methods(client: Client, path: str) -> None:
    reply = await client.ask(BODY, head(path))
    assert reply.status == UNIMPLEMENTED


async def test_what_is_no_grpc(client: Client) -> None:
    headers = [(name, b"application/json" if name == b"content-type" else value) for name, value in head(INFER)]
    reply = await client.ask(b"{}", headers)
    assert reply.heads[0][b":status"] == b"415"
    assert reply.data.startswith(b"this port answers gRPC: POST with content-type: application/grpc")
    assert reply.status == 3


@pytest.mark.parametrize("within", [b"1n", b"0S", b"1u"])
@pytest.mark.parametrize("path", [INFER, STREAM])
async def test_a_deadline_that_passes(client: Client, service: Service, path: str, within: bytes) -> None:
    number = await client.begin(head(path, (b"grpc-timeout", within)))
    await client.send(number, BODY, end=True)
    reply = await client.reply(number)
    if path == INFER:
        assert reply.status == DEADLINE_EXCEEDED
    else:
        (said,) = answers(reply)
        assert "deadline" in pb.ModelStreamInferResponse.FromString(said).error_message
    assert service.telemetry.in_flight == 0


@pytest.mark.parametrize("within", [b"99999999H", b"10S", b"", b"x", b"10", b"-1S", b"123456789S", b"1\xb2S"])
async def test_a_deadline_that_does_not_pass_or_is_none(client: Client, within: bytes) -> None:
    assert (await client.ask(BODY, head(INFER, (b"grpc-timeout", within)))).status == OK


@pytest.mark.parametrize("path", [INFER, STREAM])
@pytest.mark.parametrize("sent", [b"", BODY[:20]], ids=["headers", "half a message"])
@pytest.mark.parametrize("leave", ["reset", "hang up"])
async def test_who_leaves_is_not_in_flight(
    client: Client, server: Server, service: Service, path: str, sent: bytes, leave: str
) -> None:
    number = await client.begin(head(path))
    await client.send(number, sent)
    await until(lambda: server.held == len(sent) and service.telemetry.in_flight == (path == INFER))
    if leave == "reset":
        client.h2.reset_stream(number, 8)
        await client.flush()
    else:
        await client.close()
    await until(lambda: service.telemetry.in_flight == 0 and server.held == 0)


async def test_nothing_of_a_stream_that_was_left_waits_for_the_collector(
    client: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[weakref.ref[ModelStreamInfer]] = []

    def open_stream(service: Service, stream: Stream, max_body: int) -> None:
        opened.append(weakref.ref(ModelStreamInfer(service, stream, max_body)))

    monkeypatch.setattr(grpc, "ModelStreamInfer", open_stream)
    gc.disable()
    try:
        await client.send(await client.begin(head(STREAM)), framed(request(1000))[:-1])
        await until(lambda: server.held > 8000)
        await client.close()
        await until(lambda: not server.connections)
        await until(lambda: opened[0]() is None)
    finally:
        gc.enable()


async def test_watching_tells_of_the_drain(client: Client, service: Service) -> None:
    asked = MESSAGES["grpc.health.v1.HealthCheckRequest"](service="fraud")
    number = await client.begin(head(WATCH))
    await client.send(number, framed(asked), end=True)
    await client.until(lambda: len(answers(client.replies[number])) == 1)
    service.drain()
    await client.until(lambda: len(answers(client.replies[number])) == 2)
    kind = MESSAGES["grpc.health.v1.HealthCheckResponse"]
    assert [kind.FromString(one).status for one in answers(client.replies[number])] == [1, 2]


async def test_calls_without_an_end_are_ended_when_the_server_ends(client: Client, server: Server) -> None:
    asked = MESSAGES["grpc.health.v1.HealthCheckRequest"](service="fraud")
    watch, stream, reflect = [await client.begin(head(path)) for path in (WATCH, STREAM, REFLECT)]
    await client.send(watch, framed(asked), end=True)
    await client.send(stream, BODY)
    await client.until(lambda: len(answers(client.replies[stream])) == 1 and bool(client.replies[watch].data))
    server.drain()
    server.wind_up()
    assert [(await client.reply(number)).status for number in (watch, stream, reflect)] == [UNAVAILABLE] * 3


@pytest.mark.parametrize("path", [WATCH, STREAM])
async def test_a_call_without_an_end_that_comes_last_is_ended_too(client: Client, server: Server, path: str) -> None:
    """The client has not heard yet that it should open no more."""
    server.wind_up()
    number = await client.begin(head(path))
    if path == WATCH:
        await client.send(number, framed(MESSAGES["grpc.health.v1.HealthCheckRequest"]()), end=True)
    assert (await client.reply(number)).status == UNAVAILABLE


async def test_a_stream_answers_what_it_was_asked_before_the_server_ends(port: int, server: Server) -> None:
    client = await Client.connect(port, INITIAL_WINDOW_SIZE=10)
    client.reads = False
    number = await client.begin(head(STREAM))
    await client.send(number, BODY * 3)
    await client.until(lambda: len(client.replies[number].data) == 10)
    server.drain()
    server.wind_up()
    client.h2.increment_flow_control_window(1 << 20, number)
    await client.flush()
    reply = await client.reply(number)
    assert (reply.status, len(answers(reply))) == (UNAVAILABLE, 3)
    assert server.held == 0
    await client.close()


async def test_reflection_waits_for_its_reader(port: int, server: Server) -> None:
    client = await Client.connect(port, INITIAL_WINDOW_SIZE=100)
    client.reads = False
    asked = MESSAGES["grpc.reflection.v1.ServerReflectionRequest"](file_containing_symbol="inference.ModelConfig")
    number = await client.begin(head(REFLECT))
    await client.send(number, framed(asked) * 50, end=True)
    await client.until(lambda: len(client.replies[number].data) == 100)
    assert server.held == 49 * len(framed(asked))
    client.reads = True
    client.h2.increment_flow_control_window(1 << 30, number)
    client.h2.increment_flow_control_window(1 << 30)
    await client.flush()
    reply = await client.reply(number)
    assert (reply.status, len(answers(reply))) == (OK, 50)
    await client.close()
