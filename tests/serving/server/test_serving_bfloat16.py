"""BF16 against ml_dtypes, which is what the makers of models write it with, and through a real model."""

from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from onnx import TensorProto

import serving_models as models
from headgate_serving.codec.datatypes import narrowed, widened
from serving_process import Served
from serving_tried import tried

INFER = "/v2/models/fraud/infer"
EVERY = np.arange(1 << 16, dtype=np.uint16)


def test_every_number_there_and_back() -> None:
    wide = widened(EVERY)
    np.testing.assert_array_equal(wide, EVERY.view(ml_dtypes.bfloat16).astype(np.float32))
    quiet = np.where(np.isnan(wide), EVERY | 0x40, EVERY)
    np.testing.assert_array_equal(narrowed(wide), quiet)


@settings(max_examples=300, deadline=None)
@given(np_st.arrays(np.float32, np_st.array_shapes(min_dims=0, max_dims=3), elements=st.floats(width=32)))
def test_a_number_becomes_the_nearest_one(values: np.ndarray) -> None:
    bits = narrowed(values)
    assert bits.dtype == np.uint16
    assert bits.shape == values.shape
    expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(widened(bits), expected)


def test_what_lies_apart_in_memory() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, 1::2]
    np.testing.assert_array_equal(widened(narrowed(values)), values)


@pytest.mark.parametrize("shape", [[], [1], ["n"], ["n", 2], [2, 3]])
def test_a_model_gives_back_what_it_got(tmp_path: Path, shape: list[int | str]) -> None:
    model = tried(models.one_of(tmp_path / "model.onnx", TensorProto.BFLOAT16, shape))
    values = np.full([3 if dim == "n" else int(dim) for dim in shape], 1.5, np.float32)
    result = model.run({"IN": values}, ("OUT",))["OUT"]
    assert result.shape == values.shape
    np.testing.assert_array_equal(result, values)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("bf16")
    models.identity(folder / "model.onnx", TensorProto.BFLOAT16)
    process = Served(folder, log=folder / "termination-log")
    yield process
    assert process.stop() == 0


def test_in_json(served: Served) -> None:
    item = {"name": "IN", "datatype": "BF16", "shape": [2, 2], "data": [1.5, None, 3.14159, -1e38]}
    output = served.client.post(INFER, json={"inputs": [item]}).json()["outputs"][0]
    nearest = np.array([3.14159, -1e38], np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)
    assert output["datatype"] == "BF16"
    assert output["data"][:2] == [1.5, None]
    np.testing.assert_allclose(output["data"][2:], nearest, rtol=1e-6)


def test_as_bytes(served: Served) -> None:
    body = np.array([[1.5, np.inf], [np.nan, -2]], np.float32).astype(ml_dtypes.bfloat16).tobytes()
    answer = served.client.post(INFER, content=body, headers={"Inference-Header-Content-Length": "0"})
    assert answer.status_code == 200
    assert answer.content[int(answer.headers["Inference-Header-Content-Length"]) :] == body


def test_its_datatype_is_said(served: Served) -> None:
    about = served.client.get("/v2/models/fraud").json()
    assert about["inputs"] == [{"name": "IN", "datatype": "BF16", "shape": [-1, 2]}]
    assert about["headgate"]["batching"] == "on"
