"""gRPC from clients that get it wrong: whatever comes is a request, or an error that we know; nothing stays in memory.

HEADGATE_EXAMPLES=100000 tries that many of each.
"""

import os
from collections.abc import Callable
from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import serving_models as models
from headgate_serving.codec.grpc_codec import decode_message
from headgate_serving.codec.oip_messages import MESSAGES
from headgate_serving.codec.rest_codec import InferRequest
from headgate_serving.errors import RequestError
from headgate_serving.http.http2 import Server
from headgate_serving.http.http2_frames import PREFACE, frame
from headgate_serving.http.http2_streams import Stream
from headgate_serving.http.listener import Limits
from headgate_serving.runtime.model import Model, load_model
from headgate_serving.server.grpc_calls import parsed

EXAMPLES = int(os.environ.get("HEADGATE_EXAMPLES", "300"))
Request = MESSAGES["inference.ModelInferRequest"]

names = st.sampled_from(["X", "AT", "TEXT", "Y", "", "x", "\0", "ü" * 50])
datatypes = st.sampled_from(["FP32", "INT64", "BYTES", "BF16", "BOOL", "", "fp32"])
dims = st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**62, -(2**63), 2**63 - 1]))
shapes = st.one_of(st.sampled_from([[1, 4], [2], [1, 1]]), st.lists(dims, max_size=5))
texts = st.binary(max_size=12).map(lambda text: len(text).to_bytes(4, "little") + text)
raws = st.one_of(st.binary(max_size=64), st.sampled_from([bytes(16), bytes(8), b"\xff" * 16]), texts)
numbers = st.integers(-(2**31), 2**31 - 1)
floats = st.floats(width=32)
contents = st.one_of(
    st.builds(lambda values: {"fp32_contents": values}, st.lists(floats, max_size=8)),
    st.builds(lambda values: {"int64_contents": values}, st.lists(numbers, max_size=4)),
    st.builds(lambda values: {"int_contents": values}, st.lists(numbers, max_size=4)),
    st.builds(lambda values: {"bytes_contents": values}, st.lists(st.binary(max_size=9), max_size=3)),
)
parameters = st.dictionaries(
    st.sampled_from(["timeout", "binary_data_size", "shared_memory_region", "x"]),
    st.one_of(
        st.builds(lambda value: {"int64_param": value}, st.integers(-(2**63), 2**63 - 1)),
        st.builds(lambda value: {"string_param": value}, st.text(max_size=5)),
        st.builds(lambda value: {"double_param": value}, st.floats()),
    ),
    max_size=2,
)


@st.composite
def inputs(draw: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """Often all that the model wants, sometimes not."""
    good = [("X", "FP32", [1, 4]), ("AT", "INT64", [1]), ("TEXT", "BYTES", [1, 1])]
    chosen = good if draw(st.booleans()) else draw(st.lists(st.tuples(names, datatypes, shapes), max_size=4))
    made = [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in chosen]
    for tensor in made:
        if draw(st.booleans()):
            changes = {"contents": contents, "shape": shapes, "name": names}
            tensor.update(draw(st.fixed_dictionaries({}, optional=changes)))
    return made


@st.composite
def messages(draw: Callable[[Any], Any]) -> bytes:
    """A message, sometimes with some bytes changed, cut off or put in."""
    request = Request(model_name="fraud", id=draw(st.text(max_size=3)), inputs=draw(inputs()))
    for key, value in draw(parameters).items():
        request.parameters[key].MergeFrom(MESSAGES["inference.InferParameter"](**value))
    if draw(st.booleans()):
        request.raw_input_contents.extend(draw(st.lists(raws, max_size=4)))
    for name in draw(st.lists(st.sampled_from(["Y", "PICK", "SAID", "no", ""]), max_size=3)):
        request.outputs.add(name=name)
    raw: bytes = request.SerializeToString()
    if draw(st.integers(0, 2)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=6)) + raw[at + draw(st.integers(0, 6)) :]
    return raw


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(models.mixed(tmp_path_factory.mktemp("fuzz") / "model.onnx"))


@given(raw=st.one_of(messages(), st.binary(max_size=80)))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_message_is_a_request_or_an_error_that_we_know(model: Model, raw: bytes) -> None:
    try:
        request = decode_message(parsed(Request, raw), model)
    except RequestError as error:
        assert 0 < len(str(error)) < 2000
    else:
        assert isinstance(request, InferRequest)
        assert all(tensor.size for tensor in request.inputs.values())


CALL = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    ("content-type", "application/grpc"),
]
blocks = st.one_of(st.just(hpack.Encoder().encode(CALL)), st.just(b"\x82"), st.binary(max_size=40))
flags = st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D, 0xFF])
streams = st.sampled_from([0, 1, 1, 1, 2, 3, 5, 7, 2**31 - 1])
payloads = st.one_of(
    blocks, st.binary(max_size=40), st.sampled_from([bytes(4), bytes(5), bytes(6), bytes(8), b"\0" * 99])
)
frames = st.builds(frame, st.integers(0, 11), flags, streams, payloads)


class Transport:
    """Takes what is written, and forgets it."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        assert data

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        assert parts

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        """Nothing is read here."""

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        return 0


@given(sent=st.lists(frames, max_size=12), cut=st.integers(1, 50), answers=st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_frames_leave_nothing_behind(sent: list[bytes], cut: int, answers: bool) -> None:
    def opened(stream: Stream) -> None:
        stream.on_end = lambda: stream.answer(b"\x88", b"data", b"\x88") if answers else None

    server = Server(opened, lambda stream, _: stream.refuse(b"\x88"), Limits(1000, 3000))
    connection, transport = server(), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    raw = PREFACE + b"".join(sent)
    for at in range(0, len(raw), cut):
        connection.data_received(raw[at : at + cut])
    connection.connection_lost(None)
    assert server.held == 0
    assert not server.connections
    assert not connection._streams
