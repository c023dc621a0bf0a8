"""The chain as the spec has it, its static answers, and what they read of a request."""

import asyncio
from contextlib import suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, Literal

import aiohttp
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from headgate.api.policy import Fallback, StaticAnswer, StaticOutput
from headgate.api.stored import adapter
from headgate_serving.codec.datatypes import BY_ONNX
from headgate_serving.codec.grpc_codec import encode_message
from headgate_serving.codec.oip_messages import MESSAGES
from headgate_serving.codec.rest_codec import InferRequest, encode
from headgate_serving.router.envoy.config import Layout
from headgate_serving.router.envoy.config.budget import candidate_try_ms, stable_try_ms, whole_ms
from headgate_serving.router.envoy.files import XdsFolder
from headgate_serving.router.fallback.chain import Chain, Unanswered, for_models
from headgate_serving.router.fallback.marks import marked_json, passed_on
from headgate_serving.router.fallback.requests import Malformed, StaticRequest, of_message, of_rest
from headgate_serving.router.fallback.rest import Rest
from headgate_serving.router.fallback.server import FallbackServer
from headgate_serving.router.fallback.static import MOST_BYTES, StaticResponder, TooLarge
from virtual_time import run

READ = StaticAnswer("safe", (StaticOutput("label", "INT64", (-1,), (0,)),))


WIDTHS: dict[int, Literal[16, 32, 64]] = {2: 16, 4: 32, 8: 64}
NUMBERS = {
    datatype.name: st.floats(width=WIDTHS[datatype.size], allow_nan=False, allow_infinity=False)
    if datatype.kind == "f" and datatype.name != "BF16"
    else st.integers(max(datatype.low, -(1 << 53)), min(datatype.high, 1 << 53))
    for datatype in BY_ONNX.values()
    if datatype.kind in "iuf"
} | {"BOOL": st.integers(0, 1), "BYTES": st.text(max_size=5), "BF16": st.integers(-256, 256)}
TYPES = {datatype.name: datatype for datatype in BY_ONNX.values()}


@st.composite
def tensors(draw: Any) -> Any:
    name = draw(st.sampled_from(sorted(NUMBERS)))
    tail = draw(st.lists(st.integers(1, 3), max_size=2))
    first = draw(st.sampled_from([-1, 1, 2]))
    count = max(first, 1) * int(np.prod(tail, dtype=int))
    values = draw(st.lists(NUMBERS[name], min_size=count, max_size=count))
    return {"name": "y", "datatype": name, "shape": [first, *tail], "text" if name == "BYTES" else "data": values}


@given(tensors(), st.integers(1, 3), st.booleans())
def test_a_static_answer_is_what_the_runtime_would_send(output: Any, rows: Any, binary: Any) -> None:
    """Whatever the datatype is, in JSON, and byte for byte in binary and over gRPC."""
    static = adapter(StaticAnswer).validate_python({"name": "safe", "outputs": [output]})
    shape = [rows, *output["shape"][1:]] if output["shape"][0] == -1 else output["shape"]
    times = rows if output["shape"][0] == -1 else 1
    datatype = TYPES[output["datatype"]]
    values = (output.get("data") or output.get("text")) * times
    tensor = np.array(values, datatype.dtype).reshape(shape)
    spec: Any = SimpleNamespace(datatype=datatype)
    request = InferRequest("r", {}, ("y",), frozenset(["y"] if binary else []), rows)
    expected = encode("fraud", None, request, {"y": tensor}, {"y": spec}, {"fallback": "safe"})
    answer = StaticResponder(static)
    body, length = answer.rest(StaticRequest("fraud", "r", rows, ("y",), request.binary))
    head, tail = body[:length], body[len(body) if length is None else length :]
    told, wanted = orjson.loads(head), orjson.loads(expected.body[: expected.header_length])
    for each in (told, wanted):
        if data := each["outputs"][0].pop("data", None):
            # Numbers are as the spec writes them, with more digits than the datatype has.
            assert np.array(data, datatype.dtype).tolist() == tensor.reshape(-1).tolist()
    assert told == wanted
    assert tail == (expected.body[expected.header_length :] if binary else b"")
    message = answer.message(StaticRequest("fraud", "r", rows))
    wanted = encode_message("fraud", "", request, {"y": tensor}, SimpleNamespace(output_by_name={"y": spec}))
    wanted.parameters["fallback"].string_param = "safe"
    assert message == wanted


TWO = StaticAnswer("safe", (StaticOutput("a", "INT8", (-1,), (1,)), StaticOutput("b", "INT8", (1,), (2,))))


@pytest.mark.parametrize(
    ("outputs", "given"), [((), "ab"), (("b",), "b"), (("b", "a"), "ba"), (("b", "c"), "b"), (("c",), "ab")]
)
def test_a_request_gets_the_outputs_that_it_asks_for_as_far_as_there_are_any(outputs: Any, given: Any) -> None:
    body, length = StaticResponder(TWO).rest(StaticRequest("fraud", outputs=outputs))
    assert "".join(each["name"] for each in orjson.loads(body)["outputs"]) == given
    assert length is None


def test_nobody_gets_an_answer_for_more_rows_than_fit() -> None:
    with pytest.raises(TooLarge):
        StaticResponder(TWO).rest(StaticRequest("fraud", rows=MOST_BYTES))


def body(**changes: Any) -> Any:
    return orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [0] * 6}]} | changes)


def test_of_a_request_over_rest_what_an_answer_has_to_fit_is_read() -> None:
    assert of_rest("m", body(), None, "", 1000) == StaticRequest("m", rows=2)
    assert of_rest("m", b"raw", "0", "", 1000) == StaticRequest("m", all_binary=True)
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    asked = of_rest("m", body(id="i", outputs=outputs, parameters={"binary_data_output": True}), None, "", 1000)
    assert asked == StaticRequest("m", "i", 2, ("a", "b"), frozenset("a"), True)


@pytest.mark.parametrize(
    ("sent", "length", "encoding"),
    [
        (b"", None, ""),
        (b"[]", None, ""),
        (b"{}", None, ""),
        (body(id=5), None, ""),
        (body(parameters=5), None, ""),
        (body(outputs=[5]), None, ""),
        (body(outputs=[{"name": "a", "parameters": 5}]), None, ""),
        (body(inputs=[5]), None, ""),
        (body(inputs=[{"shape": [1 << 40]}]), None, ""),
        (body(inputs=[{"shape": [0]}]), None, ""),
        (body(inputs=[{"shape": [True]}]), None, ""),
        (body(), "1000", ""),
        (body(), "x", ""),
        (body(), None, "br"),
        (body(), None, "gzip"),
    ],
)
def test_what_is_no_request_is_refused(sent: Any, length: Any, encoding: Any) -> None:
    with pytest.raises(Malformed):
        of_rest("m", sent, length, encoding, 1000)


@given(st.binary(max_size=60), st.sampled_from([None, "0", "5"]))
def test_whatever_comes_is_read_or_refused(sent: Any, length: Any) -> None:
    with suppress(Malformed):
        assert 1 <= of_rest("m", sent, length, "", 1000).rows <= max(1, len(sent))


def test_of_a_message_the_same_is_read() -> None:
    request = MESSAGES["inference.ModelInferRequest"](id="i")
    request.inputs.add(name="x", shape=[2, 3])
    request.outputs.add(name="a")
    assert of_message("m", request, 100) == StaticRequest("m", "i", 2, ("a",))
    with pytest.raises(Malformed):
        of_message("m", request, 1)


def test_headers_between_two_hops_stay_there() -> None:
    headers = {"Host": "a", "X-User": "u", "Accept-Encoding": "gzip", "headgate-fallback-for": "x", "content-type": "c"}
    headers["x-envoy-expected-rq-timeout-ms"] = "5"
    assert dict(passed_on(headers.items())) == {"x-user": "u"}
    assert dict(passed_on(headers.items(), "content-type")) == {"x-user": "u", "content-type": "c"}


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"outputs": 5}', b"\xff"])
def test_what_is_no_answer_is_not_marked(answer: Any) -> None:
    with pytest.raises(ValueError):
        marked_json(answer, None, "simple")


def counted(registry: Any, name: Any, outcome: Any) -> Any:
    labels = {"headgate_namespace": "ns", "headgate_model": "fraud", "fallback": name, "outcome": outcome}
    return registry.get_sample_value("headgate_fallback_total", labels)


def test_each_model_has_a_part_of_the_time_and_all_is_counted() -> None:
    registry, given_time = CollectorRegistry(), dict[str, float]()
    chain = Chain("ns", "fraud", registry)
    chain.follow(Fallback(("hangs", "fails", "answers", "idle"), READ))
    assert counted(registry, "answers", "answered") == 0

    async def story(clock: Any) -> None:
        async def ask(name: Any, seconds: Any) -> Any:
            given_time[name] = seconds
            if name == "hangs":
                await asyncio.sleep(3600)
            if name == "fails":
                await asyncio.sleep(0.03)
                raise Unanswered("failed", "broken")
            return name

        answer, why = await chain.first(clock() + 0.36, ask)
        assert answer == "answers"
        assert why == ["hangs: no answer within 90 ms", "fails: broken"]
        assert clock() == pytest.approx(1000.12)

    run(story)
    assert given_time == pytest.approx({"hangs": 0.09, "fails": 0.09, "answers": 0.12})
    outcomes = [counted(registry, *of) for of in (("hangs", "late"), ("fails", "failed"), ("answers", "answered"))]
    assert outcomes == [1, 1, 1]


@given(st.integers(20, 3_600_000), st.booleans(), st.floats(0, 1))
def test_the_static_answer_is_due_before_the_timeout_and_may_be_late_by_an_eighth_of_it(
    timeout_ms: Any, rescued: Any, passed: Any
) -> None:
    """When the models of a chain have used up their time, whenever the tries before it have failed."""
    tries = 2 * candidate_try_ms(timeout_ms, fallback=True) if rescued else stable_try_ms(timeout_ms)
    a_try = candidate_try_ms(timeout_ms, fallback=True) if rescued else tries
    asked_at = passed * tries
    # As Envoy says it: no longer than a try, nor than is left of the whole.
    waits = int(min(a_try, whole_ms(timeout_ms, fallback=True) - asked_at))
    due = asked_at + 1000 * for_models(waits / 1000)
    assert due <= timeout_ms * 1.025 + 10
    late = min(a_try + asked_at, whole_ms(timeout_ms, fallback=True)) - due
    assert late >= min(timeout_ms / 8, 0.4 * a_try) - 1
    assert late >= min(59, 2 / 3 * waits) - 1


@pytest.mark.parametrize(
    ("timeout_ms", "models_have", "late_by"),
    [(100, 25, 50), (200, 40, 60), (400, 90, 60), (1200, 270, 180), (60_000, 13_500, 9_000)],
)
def test_where_stable_hangs_the_models_have_what_is_left_of_a_quarter(
    timeout_ms: Any, models_have: Any, late_by: Any
) -> None:
    whole = whole_ms(timeout_ms, fallback=True)
    waits = min(stable_try_ms(timeout_ms), whole - stable_try_ms(timeout_ms))
    assert 1000 * for_models(waits / 1000) == pytest.approx(models_have, abs=1)
    assert waits - models_have == pytest.approx(late_by, abs=1)


async def test_of_a_large_request_the_time_counts_that_it_takes_to_come_and_to_be_read(tmp_path: Path) -> None:
    """Or the static answer for it would come too late."""
    loop, left = asyncio.get_running_loop(), list[float]()

    class Watched(Chain):
        async def first(self, deadline: Any, ask: Any) -> Any:
            left.append(deadline - loop.time())
            return None, []

    chain = Watched("ns", "fraud", CollectorRegistry())
    chain.follow(Fallback(("simple",), READ))
    server = Rest(chain, lambda name: "http://127.0.0.1:1")
    await server.serve(PurePosixPath(tmp_path, "socket"))
    body = orjson.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}).ljust(8 << 20)
    session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "socket")))
    async with (
        session,
        session.post(
            "http://agent/v2/models/fraud/infer", data=BytesIO(body), headers={"x-envoy-expected-rq-timeout-ms": "5000"}
        ) as answer,
    ):
        assert (answer.status, answer.headers["x-headgate-fallback"]) == (200, "safe")
    await server.cleanup()
    assert left[0] <= 0.6 * 5 - 0.25


async def test_an_agent_that_starts_anew_has_the_chain_before_it_has_an_api_server(tmp_path: Path) -> None:
    folder = XdsFolder(Layout(PurePosixPath(tmp_path)))
    folder.prepare()
    first = FallbackServer("ns", "fraud", folder, CollectorRegistry())
    await first.follow(Fallback(("simple",), READ))
    await first.cleanup()
    again, registry = XdsFolder(Layout(PurePosixPath(tmp_path))), CollectorRegistry()
    again.prepare()
    fallback_server = FallbackServer("ns", "fraud", again, registry)
    await fallback_server.begin()
    await fallback_server.cleanup()
    assert counted(registry, "simple", "answered") == counted(registry, "safe", "answered") == 0


def test_a_socket_that_cannot_be_made_is_tried_again_and_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = XdsFolder(Layout(PurePosixPath(tmp_path)))
    folder.prepare()
    in_the_way = Path(folder.layout.fallback_sockets["http"])
    in_the_way.mkdir()
    chain = Fallback((), READ)

    async def follow_twice() -> None:
        fallback_server = FallbackServer("ns", "fraud", folder, CollectorRegistry())
        await fallback_server.follow(chain)
        assert "the fallback servers can't be started" in caplog.text
        await asyncio.to_thread(in_the_way.rmdir)
        await fallback_server.follow(chain)
        assert await asyncio.to_thread(in_the_way.is_socket)
        await fallback_server.cleanup()

    asyncio.run(follow_twice())
