"""Models whose file does not tell all of their shapes, inputs that have a value of their own, outputs that are maps.

Each is asked as clients ask, in JSON, in binary and by gRPC's message, and answers as ONNX Runtime does.
"""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import orjson
import pytest
from onnx import TensorProto, helper, numpy_helper
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2 as pb

import serving_models as models
from headgate_serving.codec.grpc_codec import decode_message
from headgate_serving.codec.oip_messages import MESSAGES
from headgate_serving.codec.rest_codec import InferRequest, decode
from headgate_serving.errors import MalformedRequest
from headgate_serving.runtime.model import Model, load_model
from headgate_serving.runtime.runner import Runner
from headgate_serving.runtime.telemetry import Telemetry
from serving_jobs import Asked, Watched
from serving_process import Served
from serving_tried import taught, tried

Values = np.ndarray[Any, Any]


def asked_for(model: Model, **inputs: Values) -> list[InferRequest]:
    """The same request in every form in which it may come."""
    items: list[dict[str, Any]] = [
        {"name": name, "datatype": "FP32", "shape": list(values.shape)} for name, values in inputs.items()
    ]
    raw = [values.tobytes() for values in inputs.values()]
    plain = [item | {"data": values.ravel().tolist()} for item, values in zip(items, inputs.values(), strict=True)]
    sized = [item | {"parameters": {"binary_data_size": len(one)}} for item, one in zip(items, raw, strict=True)]
    header = orjson.dumps({"inputs": sized})
    message = pb.ModelInferRequest(model_name="m", inputs=[pb.ModelInferRequest.InferInputTensor(**i) for i in items])
    message.raw_input_contents.extend(raw)
    return [
        decode(orjson.dumps({"inputs": plain}), None, model),
        decode(b"".join([header, *raw]), b"%d" % len(header), model),
        decode_message(message, model),
    ]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 0, 2), (2, 1, 3, 1)])
def test_a_shape_that_the_file_does_not_tell_is_any_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = load_model(models.shapeless(tmp_path / "model.onnx"))
    given = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    for request in asked_for(model, X=given, ONE=np.array([1], np.float32).reshape(())):
        answer = model.run(request.inputs, request.outputs)
        assert answer["Y"].tolist() == (given + given).tolist()
        assert answer["TWICE"] == 2


def test_a_scalar_is_not_any_shape(tmp_path: Path) -> None:
    model = tried(models.shapeless(tmp_path / "model.onnx"))
    ones = np.ones(1, np.float32)
    with pytest.raises(MalformedRequest, match=r"'ONE': expected shape \[\] .*, got \[1\]"):
        asked_for(model, X=ones, ONE=ones)
    assert [spec.metadata() for spec in model.inputs] == [
        {"name": "X", "datatype": "FP32", "shape": [], "parameters": {"any_shape": True}},
        {"name": "ONE", "datatype": "FP32", "shape": []},
    ]
    assert not model.batches


@pytest.mark.parametrize("shape", [[1] * 33, "[1]", [-1], [1.0], [True]])
def test_what_is_no_shape_is_refused_where_any_may_be(tmp_path: Path, shape: object) -> None:
    model = load_model(models.shapeless(tmp_path / "model.onnx"))
    given = {"name": "X", "datatype": "FP32", "shape": shape, "data": [1]}
    with pytest.raises(MalformedRequest, match="expected any shape of at most 32 dimensions"):
        decode(orjson.dumps({"inputs": [given]}), None, model)


def test_a_raw_body_does_not_tell_a_shape_that_the_model_does_not(tmp_path: Path) -> None:
    path = models.one_of(tmp_path / "model.onnx", TensorProto.FLOAT, ["n"])
    whole = onnx.load(path)
    whole.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(whole, path)
    with pytest.raises(MalformedRequest, match="do not say which shape they have in any shape"):
        decode(b"\0" * 4, b"0", load_model(path))


def test_an_input_with_a_value_of_its_own_may_be_given(tmp_path: Path) -> None:
    model = load_model(models.with_defaults(tmp_path / "model.onnx"))
    rows = np.array([1, 2], np.float32)
    for request in asked_for(model, X=rows):
        assert model.run(request.inputs, request.outputs)["Y"].tolist() == [3, 6]
    for request in asked_for(model, X=rows, SCALE=np.array([10, 20], np.float32)):
        assert model.run(request.inputs, request.outputs)["Y"].tolist() == [10, 40]
    assert [spec.metadata() for spec in (*model.inputs, *model.optional)] == [
        {"name": "X", "datatype": "FP32", "shape": [-1]},
        {"name": "SCALE", "datatype": "FP32", "shape": [-1], "parameters": {"optional": True}},
    ]


def test_it_does_not_stand_for_one_that_is_needed(tmp_path: Path) -> None:
    model = load_model(models.with_defaults(tmp_path / "model.onnx"))
    with pytest.raises(MalformedRequest, match="input 'X' is missing; the model needs 'X'"):
        asked_for(model, SCALE=np.array([1], np.float32))
    with pytest.raises(MalformedRequest, match="no input 'Z'; it has 'X', 'SCALE'"):
        asked_for(model, Z=np.array([1], np.float32))


def test_weights_of_an_old_exporter_are_no_inputs(tmp_path: Path) -> None:
    model = load_model(models.with_defaults(tmp_path / "model.onnx", ir_version=3))
    assert [spec.name for spec in (*model.inputs, *model.optional)] == ["X"]
    with pytest.raises(MalformedRequest, match="no input 'SCALE'"):
        asked_for(model, X=np.array([1], np.float32), SCALE=np.array([1], np.float32))


async def test_a_request_that_gives_one_has_a_run_for_itself(tmp_path: Path) -> None:
    model = tried(models.with_defaults(tmp_path / "model.onnx"))
    assert model.batches
    watched = Watched(model)
    options: dict[str, Any] = {"threads": 1, "max_batch": 32, "max_delay": 0.0, "max_queue": 100, "row_seconds": 1e-9}
    runner = taught(Runner(model, None, Telemetry({}), **options))
    jobs = [Asked(model, X=[1.0, 2.0]) for _ in range(6)]
    for at in (2, 3):
        jobs[at].inputs["SCALE"] = np.array([10, 20 * at], np.float32)
    for job in jobs:
        runner.submit(job)
    answers = [(await job.answer())["Y"].tolist() for job in jobs]
    runner.close()
    assert answers == [[3, 6], [3, 6], [10, 80], [10, 120], [3, 6], [3, 6]]
    assert watched.rows == [4, 2, 2, 4]


@pytest.mark.parametrize("classes", [(0, 1), (-7, 3, 1 << 40), ("no", "yes", "völlig")])
def test_the_matrix_before_a_zipmap_is_the_output(tmp_path: Path, classes: tuple[int, ...] | tuple[str, ...]) -> None:
    path = models.zipmap(tmp_path / "model.onnx", classes)
    before = path.read_bytes()
    model = tried(path)
    rows = np.random.default_rng(1).random((4, len(classes)), np.float32)
    maps, sums = ort.InferenceSession(path).run(["OUT", "SUM"], {"IN": rows})
    for request in asked_for(model, IN=rows):
        answer = model.run(request.inputs, request.outputs)
        assert [dict(zip(classes, row, strict=True)) for row in answer["OUT"].tolist()] == maps
        assert answer["SUM"].tolist() == sums.tolist()
    assert model.output_by_name["OUT"].metadata() == {
        "name": "OUT",
        "datatype": "FP32",
        "shape": [-1, len(classes)],
        "parameters": {"classes": list(classes)},
    }
    assert model.batches
    assert path.read_bytes() == before


def test_the_tensors_of_a_sequence_are_the_outputs(tmp_path: Path) -> None:
    model = load_model(models.sequence(tmp_path / "model.onnx"))
    rows = np.array([[1, 2], [3, 4]], np.float32)
    for request in asked_for(model, IN=rows):
        answer = model.run(request.inputs, request.outputs)
        assert {name: values.tolist() for name, values in answer.items()} == {
            "OUT_0": [[1, 2], [3, 4]],
            "OUT_1": [[2, 4], [6, 8]],
        }
    assert [spec.shape for spec in model.outputs] == [(-1, 2), (-1, 2)]


def test_probabilities_of_double_precision(tmp_path: Path) -> None:
    """Which ONNX Runtime's ZipMap does not take: skl2onnx writes such files, and nobody else can load them."""
    whole = onnx.load(models.zipmap(tmp_path / "model.onnx"))
    whole.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    whole.graph.output[1].type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(whole, tmp_path / "model.onnx")
    with pytest.raises(Exception, match="ZipMap"):
        ort.InferenceSession(tmp_path / "model.onnx")
    model = load_model(tmp_path / "model.onnx")
    assert model.output_by_name["OUT"].datatype.name == "FP64"
    assert model.run({"IN": np.array([[1, 2]], np.float64)}, ["OUT"])["OUT"].tolist() == [[1, 2]]


def test_a_file_that_names_no_opset_but_that_of_the_zipmap(tmp_path: Path) -> None:
    model = load_model(models.zipmap(tmp_path / "model.onnx", only_ml=True))
    assert model.run({"IN": np.array([[1, 2]], np.float32)}, ["OUT"])["OUT"].tolist() == [[1, 2]]


def test_the_bytes_without_a_zipmap_are_not_kept(tmp_path: Path) -> None:
    """The session has the weights; a forest of hundreds of megabytes would be there twice."""
    model = load_model(models.zipmap(tmp_path / "model.onnx"))
    assert not [value for value in vars(model._session).values() if isinstance(value, bytes) and len(value) > 100]


def test_weights_beside_a_model_with_a_zipmap_are_found(tmp_path: Path) -> None:
    whole = onnx.load(models.zipmap(tmp_path / "model.onnx"))
    whole.graph.node[0].input[0] = "plus"
    whole.graph.node.insert(0, helper.make_node("Add", ["IN", "W"], ["plus"]))
    whole.graph.initializer.append(numpy_helper.from_array(np.array([[1, 2]], np.float32), "W"))
    onnx.save(whole, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    model = load_model(tmp_path)
    assert model.run({"IN": np.array([[1, 1]], np.float32)}, ["OUT"])["OUT"].tolist() == [[2, 3]]


async def test_metadata_says_it_in_both_protocols(tmp_path: Path) -> None:
    whole = onnx.load(models.zipmap(tmp_path / "model.onnx", ("no", "yes")))
    whole.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [1]))
    whole.graph.initializer.append(numpy_helper.from_array(np.array([1], np.float32), "W"))
    whole.graph.node[0].input[0] = "times"
    whole.graph.node.insert(0, helper.make_node("Mul", ["IN", "W"], ["times"]))
    onnx.save(whole, tmp_path / "model.onnx")
    process = await asyncio.to_thread(Served, tmp_path, log=tmp_path / "termination-log")
    try:
        rest = process.client.get("/v2/models/fraud").json()
        config = process.client.get("/v2/models/fraud/config").json()
        client = triton.InferenceServerClient(process.grpc_address)
        said, told = client.get_model_metadata("fraud"), client.get_model_config("fraud").config
        client.close()
    finally:
        process.stop()
    assert [item.get("parameters") for item in rest["inputs"]] == [None, {"optional": True}]
    assert rest["outputs"][0]["parameters"] == {"classes": ["no", "yes"]}
    assert [item.get("optional", False) for item in config["input"]] == [False, True]
    assert [item.optional for item in told.input] == [False, True]
    message = MESSAGES["inference.ModelMetadataResponse"].FromString(said.SerializeToString())
    assert dict(message.inputs[0].parameters) == {}
    assert message.inputs[1].parameters["optional"].bool_param
    assert message.outputs[0].parameters["classes"].string_param == '["no", "yes"]'
