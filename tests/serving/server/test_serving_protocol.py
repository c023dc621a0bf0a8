"""Tensors in and out, for every datatype, in JSON and in binary."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from onnx import TensorProto
from tritonclient.grpc import service_pb2 as pb

import serving_models as models
from headgate_serving.codec.grpc_codec import decode_message
from headgate_serving.codec.rest_codec import decode, encode
from headgate_serving.errors import MalformedRequest
from headgate_serving.runtime.model import Model, load_model
from serving_tried import tried

TYPES = {
    "BOOL": (TensorProto.BOOL, np.bool_),
    "UINT8": (TensorProto.UINT8, np.uint8),
    "UINT16": (TensorProto.UINT16, np.uint16),
    "UINT32": (TensorProto.UINT32, np.uint32),
    "UINT64": (TensorProto.UINT64, np.uint64),
    "INT8": (TensorProto.INT8, np.int8),
    "INT16": (TensorProto.INT16, np.int16),
    "INT32": (TensorProto.INT32, np.int32),
    "INT64": (TensorProto.INT64, np.int64),
    "FP16": (TensorProto.FLOAT16, np.float16),
    "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64),
    "BYTES": (TensorProto.STRING, object),
}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("echo")
    return {name: load_model(models.identity(folder / f"{name}.onnx", kind)) for name, (kind, _) in TYPES.items()}


def tensors(datatype: str) -> st.SearchStrategy[np.ndarray]:
    shape = st.tuples(st.integers(1, 5), st.just(2))
    if datatype == "BYTES":
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        return shape.flatmap(
            lambda dims: st.lists(text, min_size=dims[0] * 2, max_size=dims[0] * 2).map(
                lambda values: np.array([*values, None], object)[:-1].reshape(dims)
            )
        )
    return np_st.arrays(TYPES[datatype][1], shape)


def binary_body(datatype: str, tensor: np.ndarray) -> tuple[bytes, bytes]:
    if datatype == "BYTES":
        raw = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in tensor.ravel())
    else:
        raw = tensor.tobytes()
    item = {"name": "IN", "datatype": datatype, "shape": tensor.shape, "parameters": {"binary_data_size": len(raw)}}
    header = orjson.dumps({"inputs": [item], "parameters": {"binary_data_output": True}})
    return header + raw, length_of(header)


def length_of(header: bytes) -> bytes:
    return b"%d" % len(header)


def json_body(datatype: str, tensor: np.ndarray, nested: bool) -> bytes:
    data = (tensor if nested else tensor.ravel()).tolist()
    return orjson.dumps({"inputs": [{"name": "IN", "datatype": datatype, "shape": tensor.shape, "data": data}]})


def finite(tensor: np.ndarray) -> np.ndarray:
    """As JSON can carry it: infinity is null, and null is NaN."""
    return np.where(np.isfinite(tensor), tensor, np.nan) if tensor.dtype.kind == "f" else tensor


@pytest.mark.parametrize("datatype", TYPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), nested=st.booleans())
def test_json_goes_in_and_out_unchanged(
    echo: dict[str, Model], datatype: str, data: st.DataObject, nested: bool
) -> None:
    tensor, model = data.draw(tensors(datatype)), echo[datatype]
    request = decode(json_body(datatype, tensor, nested), None, model)
    expected = finite(tensor)
    np.testing.assert_array_equal(request.inputs["IN"], expected)
    assert request.inputs["IN"].dtype == tensor.dtype
    assert request.rows == len(tensor)
    results = model.run(request.inputs, request.outputs)
    answer = orjson.loads(encode("m", None, request, results, model.output_by_name).body)
    shown = answer["outputs"][0]
    values = np.array(shown["data"], tensor.dtype).reshape(shown["shape"])
    np.testing.assert_array_equal(values, expected)
    assert "model_version" not in answer


@pytest.mark.parametrize("datatype", TYPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_binary_goes_in_and_out_unchanged(echo: dict[str, Model], datatype: str, data: st.DataObject) -> None:
    tensor, model = data.draw(tensors(datatype)), echo[datatype]
    body, length = binary_body(datatype, tensor)
    request = decode(body, length, model)
    np.testing.assert_array_equal(request.inputs["IN"], tensor)
    encoded = encode("m", "1", request, model.run(request.inputs, request.outputs), model.output_by_name)
    assert encoded.header_length
    assert encoded.body[encoded.header_length :] == body[int(length) :]
    described = orjson.loads(encoded.body[: encoded.header_length])["outputs"][0]
    assert described["parameters"]["binary_data_size"] == len(body) - int(length)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_comes_is_taken_or_refused_by_name(echo: dict[str, Model], data: st.DataObject) -> None:
    """Bodies that are nearly right: members replaced by any JSON, bytes cut off, lengths that lie."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=6,
    )
    datatype = data.draw(st.sampled_from(list(TYPES)))
    item = {"name": "IN", "datatype": datatype, "shape": [1, 2], "data": data.draw(st.lists(anything, max_size=3))}
    item |= data.draw(
        st.dictionaries(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), anything, max_size=1)
    )
    request = {"inputs": [item]}
    request |= data.draw(st.dictionaries(st.sampled_from(["id", "outputs", "parameters"]), anything, max_size=2))
    body = orjson.dumps(request) + data.draw(st.binary(max_size=4))
    length = data.draw(st.none() | st.integers(-1, len(body) + 1).map(b"%d".__mod__) | st.binary(max_size=2))
    try:
        taken = decode(body, length, echo[datatype])
    except MalformedRequest:
        return
    assert taken.inputs["IN"].dtype == echo[datatype].inputs[0].datatype.dtype
    assert taken.inputs["IN"].shape == ((len(taken.inputs["IN"]), 2) if length == b"0" else (1, 2))


@pytest.mark.parametrize("datatype", [name for name in TYPES if name != "BYTES"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_raw_body_is_the_only_input(echo: dict[str, Model], datatype: str, data: st.DataObject) -> None:
    tensor, model = data.draw(tensors(datatype)), echo[datatype]
    request = decode(tensor.tobytes(), b"0", model)
    np.testing.assert_array_equal(request.inputs["IN"], tensor)
    assert request.rows == len(tensor)
    encoded = encode("m", None, request, model.run(request.inputs, request.outputs), model.output_by_name)
    assert encoded.header_length
    assert encoded.body[encoded.header_length :] == tensor.tobytes()


def test_a_raw_body_may_be_one_text(tmp_path: Path) -> None:
    model = load_model(models.one_of(tmp_path / "model.onnx", TensorProto.STRING, ["n"]))
    request = decode("grün".encode(), b"0", model)
    assert request.inputs["IN"].tolist() == ["grün"]
    with pytest.raises(MalformedRequest, match="no UTF-8"):
        decode(b"\xff", b"0", model)


RAW: dict[str, tuple[list[int | str], bytes, str]] = {
    "an odd number of bytes": (["n", 2], b"\0" * 9, "takes 8 bytes, got 9"),
    "half a row": (["n", 2], b"\0" * 12, "do not say which shape"),
    "nothing, of a free and an empty dimension": (["n", 0], b"", "do not say which shape"),
    "something, where the model takes nothing": ([0], b"\0" * 4, "do not say which shape"),
    "two free dimensions": (["n", "m"], b"\0" * 8, "do not say which shape"),
    "another number than the fixed one": ([2, 2], b"\0" * 8, "do not say which shape"),
}


EMPTY = [(["n", 2], [0, 2]), ([0], [0]), (["a", 2, "b", 4], [1, 2, 0, 4]), (["a", 2, "b", 4], [0, 2, 0, 4])]


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize(("declared", "shape"), EMPTY)
def test_any_dimension_may_be_empty(tmp_path: Path, datatype: str, declared: list[int | str], shape: list[int]) -> None:
    """In every form in which a request may come, as ONNX Runtime has it."""
    model = tried(models.one_of(tmp_path / "model.onnx", TYPES[datatype][0], declared))
    given = {"name": "IN", "datatype": datatype, "shape": shape}
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(**given)
    nested = np.empty(shape).tolist()
    header = orjson.dumps({"inputs": [given | {"parameters": {"binary_data_size": 0}}]})
    asked = [
        decode(orjson.dumps({"inputs": [given | {"data": []}]}), None, model),
        decode(orjson.dumps({"inputs": [given | {"data": nested}]}), None, model),
        decode(header, b"%d" % len(header), model),
        *([decode_message(message, model)] if datatype not in ("FP16", "BF16") else []),
    ]
    message.raw_input_contents.append(b"")
    asked.append(decode_message(message, model))
    if declared[0] in ("n", 0) and datatype != "BYTES":
        asked.append(decode(b"", b"0", model))
    for request in asked:
        result = model.run(request.inputs, request.outputs)["OUT"]
        assert result.shape == tuple(shape)
        assert request.inputs["IN"].dtype == TYPES[datatype][1]
        assert request.rows == shape[0]
        encoded = encode("m", None, request._replace(binary=frozenset()), {"OUT": result}, model.output_by_name)
        (told,) = orjson.loads(encoded.body)["outputs"]
        assert (told["shape"], told["data"]) == (shape, [])


@pytest.mark.parametrize(
    ("declared", "shape", "says"),
    [
        ([0], [1], r"expected shape \[0\] .*, got \[1\]"),
        ([2], [0], r"expected shape \[2\] .*, got \[0\]"),
        (["n"], [-1], r"any length\), got \[-1\]"),
        (["n", "m"], [0, (1 << 20) + 1], "at most 1048576"),
        (["n", "m", "k"], [1 << 62, 0, 1 << 62], "at most 1048576"),
    ],
)
def test_an_empty_dimension_that_can_not_be(
    tmp_path: Path, declared: list[int | str], shape: list[int], says: str
) -> None:
    model = load_model(models.one_of(tmp_path / "model.onnx", TensorProto.FLOAT, declared))
    with pytest.raises(MalformedRequest, match=says):
        decode(orjson.dumps({"inputs": [{"name": "IN", "datatype": "FP32", "shape": shape, "data": []}]}), None, model)


@pytest.mark.parametrize("name", RAW)
def test_a_raw_body_that_does_not_fit(tmp_path: Path, name: str) -> None:
    shape, body, reason = RAW[name]
    model = load_model(models.one_of(tmp_path / "model.onnx", TensorProto.FLOAT, shape))
    with pytest.raises(MalformedRequest, match=reason):
        decode(body, b"0", model)


def test_a_raw_body_needs_a_model_with_one_input(tmp_path: Path) -> None:
    with pytest.raises(MalformedRequest, match="3 inputs"):
        decode(b"\0" * 8, b"0", load_model(models.mixed(tmp_path / "model.onnx")))


def with_timeout(timeout: object) -> bytes:
    item = {"name": "IN", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    return orjson.dumps({"inputs": [item], "parameters": {"timeout": timeout}})


def test_a_timeout_in_microseconds_is_a_deadline(echo: dict[str, Model]) -> None:
    before = time.monotonic()
    deadline = decode(with_timeout(2_000_000), None, echo["FP32"]).deadline
    assert deadline
    assert before + 2 <= deadline <= time.monotonic() + 2
    assert decode(with_timeout(0), None, echo["FP32"]).deadline is None
    assert decode(with_timeout(2**64 - 1), None, echo["FP32"]).deadline
    refused: tuple[object, ...] = (-1, 1.5, "1", True, None, [], {})
    for wrong in refused:
        with pytest.raises(MalformedRequest, match="'timeout' has to be whole microseconds"):
            decode(with_timeout(wrong), None, echo["FP32"])


LONG = {
    "deep lists": b"[" * 900 + b"1" + b"]" * 900,
    "deep objects": b'{"a":[' * 450 + b"1" + b"]}" * 450,
    "long texts": orjson.dumps(["x" * 100_000] * 3),
    "a long text": orjson.dumps("x" * 100_000),
    "many numbers": orjson.dumps(list(range(100_000))),
}


@pytest.mark.parametrize("where", ["data", "timeout", "shape", "datatype", "name"])
@pytest.mark.parametrize("name", LONG)
def test_what_is_long_or_deep_is_shown_briefly(echo: dict[str, Model], where: str, name: str) -> None:
    members = {"name": b'"IN"', "datatype": b'"FP32"', "shape": b"[1,2]", "data": b"[1,2]", "timeout": b"1"}
    members[where] = LONG[name]
    body = b'{"inputs": [{"name": %(name)b, "datatype": %(datatype)b, "shape": %(shape)b, "data": %(data)b}], '
    body += b'"parameters": {"timeout": %(timeout)b}}'
    with pytest.raises(MalformedRequest) as caught:
        decode(body % {key.encode(): value for key, value in members.items()}, None, echo["FP32"])
    assert len(str(caught.value)) < 300


def test_a_long_text_among_numbers_takes_no_more_memory_than_it_has(echo: dict[str, Model]) -> None:
    """numpy would make texts of all numbers, as long as the longest: here of 40 GB."""
    body = b'{"inputs": [{"name": "IN", "datatype": "FP32", "shape": [50000, 2], "data": ["%b"%b]}]}'
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest, match="FP32 takes numbers"):
            decode(body % (b"x" * 100_000, b",1" * 99_999), None, echo["FP32"])
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


BINARY = {
    "length is no number": (b"x", b"", "Inference-Header-Content-Length"),
    "length is too long": (b"9999", b"", "Inference-Header-Content-Length"),
    "bytes are missing": (None, b"\0" * 3, "8 bytes are announced, 3 are there"),
    "bytes are left over": (None, b"\0" * 9, "9 bytes follow the JSON, the inputs take 8"),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_that_does_not_add_up(echo: dict[str, Model], name: str) -> None:
    length, raw, reason = BINARY[name]
    item = {"name": "IN", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    header = orjson.dumps({"inputs": [item]})
    with pytest.raises(MalformedRequest, match=reason):
        decode(header + raw, length or length_of(header), echo["FP32"])


TEXT = {
    "cut off": (b"\x05\0\0\0abc\0", "element 0 is cut off"),
    "no UTF-8": (b"\x01\0\0\0\xff\x01\0\0\0a", "element 0 is no UTF-8"),
    "too few": (b"\x01\0\0\0a", "needs 2 elements, got 1"),
    "no length": (b"\x01\0\0\0a\x01", "element 1 is cut off"),
}


@pytest.mark.parametrize("name", TEXT)
def test_binary_text_that_does_not_add_up(echo: dict[str, Model], name: str) -> None:
    raw, reason = TEXT[name]
    item = {"name": "IN", "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": len(raw)}}
    header = orjson.dumps({"inputs": [item]})
    with pytest.raises(MalformedRequest, match=reason):
        decode(header + raw, length_of(header), echo["BYTES"])


def test_a_wrong_number_of_bytes_for_the_shape(echo: dict[str, Model]) -> None:
    item = {"name": "IN", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 8}}
    header = orjson.dumps({"inputs": [item]})
    with pytest.raises(MalformedRequest, match="takes 16 bytes, got 8"):
        decode(header + b"\0" * 8, length_of(header), echo["FP32"])


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("UINT8", 256), ("UINT8", -1), ("INT8", 128), ("INT32", 2**31), ("UINT64", -1), ("INT64", 2**63), ("FP16", 1e5)],
)
def test_a_value_that_does_not_fit_is_never_wrapped(echo: dict[str, Model], datatype: str, value: float) -> None:
    body = {"inputs": [{"name": "IN", "datatype": datatype, "shape": [1, 2], "data": [0, value]}]}
    with pytest.raises(MalformedRequest, match=f"does not fit into {datatype}"):
        decode(orjson.dumps(body), None, echo[datatype])


def test_unsigned_numbers_keep_all_their_digits(echo: dict[str, Model]) -> None:
    body = {"inputs": [{"name": "IN", "datatype": "UINT64", "shape": [1, 2], "data": [2**64 - 1, 1]}]}
    assert decode(orjson.dumps(body), None, echo["UINT64"]).inputs["IN"].tolist() == [[2**64 - 1, 1]]


def test_missing_text_is_empty_text(echo: dict[str, Model], tmp_path: Path) -> None:
    body = {"inputs": [{"name": "IN", "datatype": "BYTES", "shape": [1, 2], "data": [None, "a"]}]}
    assert decode(orjson.dumps(body), None, echo["BYTES"]).inputs["IN"].tolist() == [["", "a"]]
