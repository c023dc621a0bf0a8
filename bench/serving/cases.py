"""What is served: four small models, one input for each, and the answer that ONNX Runtime itself gives.

The models take so little time that what is measured is the servers. They are made here, from fixed seeds; those of
`larger.py` take longer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

INPUT, OUTPUT, MODEL_NAME = "x", "y", "bench"
OPSET, IR_VERSION = 20, 9
_WORDS = 2000


@dataclass(frozen=True)
class Case:
    """A model's kind of input; `profiled` if `headgate profile` has features to count in it, `make` makes the model."""

    name: str
    about: str
    shape: tuple[int, ...]
    make: "Callable[[Case], onnx.ModelProto]"
    datatype: str = "FP32"
    profiled: bool = False

    @property
    def free_shape(self) -> list[int | str]:
        """The model's input shape."""
        return ["n", *self.shape[1:]]

    def rows(self, count: int) -> Array:
        """Inputs as a user might send them: numbers with four decimals, pixels, or a sentence a row."""
        random = np.random.default_rng(5)
        if self.datatype == "BYTES":
            said = [" ".join(f"word{number}" for number in random.zipf(1.3, 30) % _WORDS) for _ in range(count)]
            return np.array(said, object).reshape(count, 1)
        shape = (count, *self.shape[1:])
        values = random.integers(0, 256, shape) / 255 if len(shape) == 4 else random.normal(0, 1, shape)
        return np.round(values, 4).astype(np.float32)

    @property
    def input(self) -> Array:
        """The one that every request carries."""
        return self.rows(1)

    def model(self) -> onnx.ModelProto:
        """The model itself."""
        return self.make(self)


def write_model(case: Case, folder: Path) -> Path:
    """`model.onnx` in a folder; returns the file."""
    file = folder / "model.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(case.model(), file)
    return file


def answer_of(model: Path, given: Array) -> Array:
    """What a right server answers."""
    return np.asarray(
        ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run([OUTPUT], {INPUT: given})[0]
    )


def _weights(name: str, *shape: int) -> onnx.TensorProto:
    random = np.random.default_rng(len(name) + sum(shape))
    return numpy_helper.from_array((random.normal(0, 1, shape) / shape[0] ** 0.5).astype(np.float32), name)


def _graph(case: Case, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], classes: int) -> onnx.ModelProto:
    kind = TensorProto.STRING if case.datatype == "BYTES" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        case.name,
        [helper.make_tensor_value_info(INPUT, kind, case.free_shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", classes])],
        weights,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 4)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def _numbers(case: Case) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", [INPUT, "w1"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["h2"]),
        helper.make_node("MatMul", ["h2", "w2"], ["h3"]),
        helper.make_node("Softmax", ["h3"], [OUTPUT]),
    ]
    return _graph(case, nodes, [_weights("w1", case.shape[1], 16), _weights("w2", 16, 2)], 2)


def _image(case: Case) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", [INPUT, "kernel"], ["h1"], strides=[16, 16]),
        helper.make_node("Relu", ["h1"], ["h2"]),
        helper.make_node("GlobalAveragePool", ["h2"], ["h3"]),
        helper.make_node("Flatten", ["h3"], ["h4"]),
        helper.make_node("MatMul", ["h4", "w"], ["h5"]),
        helper.make_node("Softmax", ["h5"], [OUTPUT]),
    ]
    return _graph(case, nodes, [_weights("kernel", 8, 3, 16, 16), _weights("w", 8, 10)], 10)


def _text(case: Case) -> onnx.ModelProto:
    words = [f"word{number}" for number in range(_WORDS)]
    nodes = [
        helper.make_node("StringSplit", [INPUT], ["words", "counts"]),
        helper.make_node(
            "LabelEncoder", ["words"], ["ids"], domain="ai.onnx.ml",
            keys_strings=words, values_int64s=range(_WORDS), default_int64=0,
        ),
        helper.make_node("Gather", ["embeddings", "ids"], ["h1"], axis=0),
        helper.make_node("ReduceMean", ["h1", "axes"], ["h2"], keepdims=0),
        helper.make_node("MatMul", ["h2", "w"], ["h3"]),
        helper.make_node("Softmax", ["h3"], [OUTPUT]),
    ]  # fmt: skip
    axes = numpy_helper.from_array(np.array([1, 2], np.int64), "axes")
    return _graph(case, nodes, [_weights("embeddings", _WORDS, 16), axes, _weights("w", 16, 4)], 4)


CASES = (
    Case("tabular", "30 floats, two layers", (1, 30), _numbers, profiled=True),
    Case("wide", "1,000 floats, two layers", (1, 1000), _numbers, profiled=True),
    Case("image", "1×3×224×224 floats (602 kB), a small CNN", (1, 3, 224, 224), _image),
    Case("text", "BYTES: a sentence of 30 words, bag of embeddings", (1, 1), _text, "BYTES"),
)
