"""Answers that the model is not sure of: marked over both protocols, counted by row."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2, service_pb2_grpc

import serving_models as models
from headgate_serving.runtime.confidence import Confidence, confidence_of
from headgate_serving.runtime.model import load_model
from serving_process import Served


@pytest.mark.parametrize(
    ("table", "unsure"),
    [
        ([[0.5, 0.5], [0.1, 0.9], [0.3, 0.7]], [True, False, False]),
        ([[2.0, 3.0], [0.5, 0.5]], [False, True]),  # the first row is no probabilities
        ([[np.nan, 0.5], [0.4, 0.6]], [False, True]),
    ],
)
def test_the_largest_probability_of_each_row_counts(table: list[list[float]], unsure: list[bool]) -> None:
    found = Confidence("P", 0.65).unsure({"P": np.array(table, np.float32)}, len(table))
    assert found is not None
    assert found.tolist() == unsure


@pytest.mark.parametrize("shape", [(3,), (3, 1), (2, 2)])
def test_another_shape_says_nothing(shape: tuple[int, ...]) -> None:
    assert Confidence("P", 0.65).unsure({"P": np.full(shape, 0.5)}, 3) is None


def test_a_model_without_probabilities_has_none(tmp_path: Path) -> None:
    assert confidence_of(load_model(models.score(tmp_path / "score.onnx")), 0.9) is None
    classifier = load_model(models.classifier(tmp_path / "classifier.onnx"))
    assert confidence_of(classifier, 0.0) is None
    assert confidence_of(classifier, 0.9) == Confidence("P", 0.9)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    process = Served(models.classifier(tmp_path / "model.onnx"), "--min-confidence", "0.9", log=tmp_path / "log")
    yield process
    process.stop()


def label_over_rest(served: Served, x: float) -> bool:
    """Ask for the label alone; whether the answer says low_confidence."""
    given = tritonclient.http.InferInput("X", [1, 1], "FP32").set_data_from_numpy(np.array([[x]], np.float32))
    with tritonclient.http.InferenceServerClient(served.address) as client:
        answer = client.infer("fraud", [given], outputs=[tritonclient.http.InferRequestedOutput("L")]).get_response()
    said: bool = answer.get("parameters", {}).get("low_confidence", False)
    return said


def label_over_grpc(served: Served, x: float) -> bool:
    given = tritonclient.grpc.InferInput("X", [1, 1], "FP32").set_data_from_numpy(np.array([[x]], np.float32))
    with tritonclient.grpc.InferenceServerClient(served.grpc_address) as client:
        answer = client.infer("fraud", [given], outputs=[tritonclient.grpc.InferRequestedOutput("L")]).get_response()
    said: bool = answer.parameters["low_confidence"].bool_param
    return said


@pytest.mark.parametrize("ask", [label_over_rest, label_over_grpc])
def test_unsure_answers_are_marked_and_counted(served: Served, ask: Callable[[Served, float], bool]) -> None:
    assert [ask(served, x) for x in (0.0, 9.0)] == [True, False]
    assert [v for k, v in served.metrics().items() if k.startswith("headgate_low_confidence_total")] == [1]


def test_the_answers_head_says_it_too(served: Served) -> None:
    """Who stands between the client and the model reads no bodies."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(served.grpc_address))
    for x, said in ((0.0, "true"), (9.0, None)):
        tensor = {"name": "X", "datatype": "FP32", "shape": [1, 1]}
        answer = served.client.post("/v2/models/fraud/infer", json={"inputs": [{**tensor, "data": [x]}]})
        assert answer.headers.get("x-headgate-low-confidence") == said
        request = service_pb2.ModelInferRequest(model_name="fraud", inputs=[tensor])
        request.raw_input_contents.append(np.array([x], np.float32).tobytes())
        _, call = stub.ModelInfer.with_call(request)
        assert dict(call.initial_metadata()).get("x-headgate-low-confidence") == said
