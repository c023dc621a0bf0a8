"""Answers in which a number is NaN or infinite: marked over both protocols."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

import serving_models as models
from headgate.api import contract
from headgate_serving.runtime.finite import all_finite
from headgate_serving.runtime.runner import Job, mark_invalid
from serving_process import Served

WRONG = (np.nan, np.inf, -np.inf)


@given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    )
)
def test_all_numbers_are_looked_at(tensor: NDArray[Any]) -> None:
    assert all_finite(tensor) == np.isfinite(tensor).all()
    assert all_finite(tensor.T) == np.isfinite(tensor).all()


@pytest.mark.parametrize("size", [1, 9_999, 10_001, 200_000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_single_wrong_number_is_enough_and_a_large_one_is_not_wrong(size: int, dtype: type) -> None:
    tensor: NDArray[Any] = np.full(size, np.finfo(dtype).max, dtype)
    assert all_finite(tensor)
    for wrong in WRONG:
        tensor[-1] = wrong
        assert not all_finite(tensor)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    process = Served(models.score(tmp_path / "model.onnx"), log=tmp_path / "log")
    yield process
    process.stop()


def test_the_answers_head_says_it(served: Served) -> None:
    """Who stands between the client and the model reads no bodies."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(served.grpc_address))
    about = served.client.get("/v2/models/fraud").json()["inputs"][0]
    width = abs(about["shape"][-1])
    for x, said in ((1.0, None), (np.nan, "true"), (np.inf, "true"), (2.0, None)):
        values = np.full((2, width), 1.0, np.float32)
        values[1, 0] = x
        tensor = {"name": about["name"], "datatype": "FP32", "shape": [2, width]}
        request = service_pb2.ModelInferRequest(model_name="fraud", inputs=[tensor])
        request.raw_input_contents.append(values.tobytes())
        answer, call = stub.ModelInfer.with_call(request)
        is_wrong = not np.isfinite(np.frombuffer(answer.raw_output_contents[0], np.float32)).all()
        assert is_wrong == (said is not None)
        assert dict(call.initial_metadata()).get(contract.INVALID_HEADER) == said
        body = {"inputs": [{**tensor, "data": [None if np.isnan(v) else float(v) for v in values.ravel()]}]}
        if np.isinf(x):
            continue  # JSON has no such number
        answered = served.client.post("/v2/models/fraud/infer", json=body)
        assert answered.headers.get(contract.INVALID_HEADER) == said


def test_of_requests_that_share_a_run_each_has_its_own_mark() -> None:
    """The run is looked at once; only where something is wrong each request's rows are."""
    jobs = [Job(), Job(), Job()]
    for job, rows, outputs in zip(jobs, (1, 2, 1), (("Y", "Z"), ("Y",), ("Z",)), strict=True):
        job.rows, job.outputs = rows, outputs
    results = {"Y": np.array([[1.0], [2.0], [np.nan], [np.inf]]), "Z": np.zeros((4, 1))}
    mark_invalid(jobs, results, ("Y", "Z"))
    assert [job.invalid for job in jobs] == [False, True, False]
