"""The test cases that the `onnx` package brings for backends: models of one operator or a few, and some whole nets."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from .check import Case

KINDS = ("node", "pytorch-converted", "pytorch-operator", "simple", "real")
IR_VERSION = 13
"""The newest that ONNX Runtime knows. The package writes newer ones, and uses nothing of what is new in them."""


def tests() -> list[Any]:
    """All of them, ordered by name, as the package's loader has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, while it computes what is expected
        found = [test for kind in KINDS for test in load_model_tests(kind=kind)]
    return sorted(found, key=lambda test: str(test.name))


def case_of(test: Any, folder: Path) -> Case:
    """The case, with its model in a folder of its own."""
    place = folder / test.name
    place.mkdir(parents=True, exist_ok=True)
    model = _model(test)
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.save(model, place / "model.onnx")
    return Case(test.name, place / "model.onnx", list(_requests(test, model)))


def _model(test: Any) -> onnx.ModelProto:
    if test.model is not None:
        copied = onnx.ModelProto()
        copied.CopyFrom(test.model)
        return copied
    if test.model_dir is not None:
        return onnx.load(Path(test.model_dir) / "model.onnx")
    return onnx.load(Path(onnx.__file__).parent.parent / test.url)


def _requests(test: Any, model: onnx.ModelProto) -> Iterator[dict[str, Any]]:
    names = [value.name for value in model.graph.input]
    if test.data_sets is not None:
        for inputs, _ in test.data_sets:
            yield dict(zip(names, map(_array, inputs), strict=False))
    elif test.model_dir is not None:
        for folder in sorted(Path(test.model_dir).glob("test_data_set_*")):
            files = sorted(folder.glob("input_*.pb"), key=lambda file: int(file.stem.partition("_")[2]))
            yield {name: _read(file) for name, file in zip(names, files, strict=False)}
    else:
        yield _drawn(model)


def _read(file: Path) -> Any:
    tensor = onnx.TensorProto.FromString(file.read_bytes())
    return _array(tensor) if tensor.data_type else None


def _array(values: Any) -> Any:
    """A tensor; what is none stays what it is: no server is asked for it."""
    if isinstance(values, onnx.TensorProto):
        return numpy_helper.to_array(values)
    return np.asarray(values) if isinstance(values, np.generic) else values


def _drawn(model: onnx.ModelProto) -> dict[str, Any]:
    """A whole net that comes without data is asked random numbers."""
    weights = {tensor.name for tensor in model.graph.initializer}
    random = np.random.default_rng(1)
    return {
        value.name: random.random([dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim], np.float32)
        for value in model.graph.input
        if value.name not in weights
    }
