"""Models that take from 1 to 100 milliseconds: a detector, a transformer, wide layers, and a recogniser of text.

What they share with real ones is where their time goes. Rows of the transformer and of the wide layers are faster
together, for weights are read once for all; rows of the recogniser are slower together, for what lies between its
layers then no longer fits into the processor's caches; and the detector's are too large to be copied. A sentence may
be of any length, so that what a run takes is not known before users have sent some.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .cases import INPUT, IR_VERSION, OPSET, OUTPUT, Array, Case


class _Graph:
    """Nodes and weights, one after the other; `last` is the name of the newest tensor."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.last = INPUT
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(7)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One more node; the first input is `last` unless others are given."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        self.last = name
        return name

    def weight(self, *shape: int, size: int) -> str:
        """Random numbers, so small that sums of `size` of them are about 1."""
        values = self._random.normal(0, size**-0.5, shape).astype(np.float32)
        return self.constant(values)

    def constant(self, values: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def model(self, columns: int) -> onnx.ModelProto:
        """The last tensor is the output, of so many columns."""
        self.nodes[-1].output[0] = OUTPUT
        graph = helper.make_graph(
            self.nodes,
            self.case.name,
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, self.case.free_shape)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", columns])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


def detector(case: Case) -> onnx.ModelProto:
    """Convolutions over an image."""
    graph, channels = _Graph(case), 40
    graph.add("Conv", INPUT, graph.weight(channels, 3, 3, 3, size=27), strides=[2, 2], pads=[1, 1, 1, 1])
    for _ in range(6):
        graph.add("Relu", graph.last)
        kernel = graph.weight(channels, channels, 3, 3, size=9 * channels)
        graph.add("Conv", graph.last, kernel, pads=[1, 1, 1, 1])
    graph.add("Flatten", graph.add("GlobalAveragePool", graph.last))
    return graph.model(channels)


def transformer(case: Case, depth: int = 6) -> onnx.ModelProto:
    """So many layers of attention over the second dimension."""
    graph, width, heads = _Graph(case), 384, 12
    split = graph.constant(np.array([0, 0, heads, width // heads], np.int64))
    whole = graph.constant(np.array([0, 0, width], np.int64))
    scale = graph.constant(np.array((width / heads) ** -0.5, np.float32))
    ones, zeros = graph.constant(np.ones(width, np.float32)), graph.constant(np.zeros(width, np.float32))

    def dense(x: str, size: int, to: int) -> str:
        return graph.add("MatMul", x, graph.weight(size, to, size=size))

    def head(x: str, order: list[int]) -> str:
        return graph.add("Transpose", graph.add("Reshape", dense(x, width, width), split), perm=order)

    x = dense(INPUT, case.shape[2], width)
    for _ in range(depth):
        query, key, value = head(x, [0, 2, 1, 3]), head(x, [0, 2, 3, 1]), head(x, [0, 2, 1, 3])
        weights = graph.add("Softmax", graph.add("Mul", graph.add("MatMul", query, key), scale))
        seen = graph.add("Transpose", graph.add("MatMul", weights, value), perm=[0, 2, 1, 3])
        added = graph.add("Add", dense(graph.add("Reshape", seen, whole), width, width), x)
        x = graph.add("LayerNormalization", added, ones, zeros)
        deep = dense(graph.add("Relu", dense(x, width, 4 * width)), 4 * width, width)
        x = graph.add("LayerNormalization", graph.add("Add", deep, x), ones, zeros)
    axes = graph.constant(np.array([1], np.int64))
    graph.add("ReduceMean", x, axes, keepdims=0)
    return graph.model(width)


def sentences(case: Case) -> onnx.ModelProto:
    """One layer of attention."""
    return transformer(case, 1)


def layers(case: Case) -> onnx.ModelProto:
    """Wide layers, whose weights take longer to read than to multiply."""
    graph, width = _Graph(case), 2048
    graph.add("MatMul", INPUT, graph.weight(case.shape[1], width, size=case.shape[1]))
    for _ in range(4):
        graph.add("MatMul", graph.add("Relu", graph.last), graph.weight(width, width, size=width))
    return graph.model(width)


def recogniser(case: Case) -> onnx.ModelProto:
    """Convolutions along a line, channel by channel, with something to compute at each place between them."""
    graph, channels = _Graph(case), 128
    graph.add("Conv", INPUT, graph.weight(channels, 1, 5, size=5), pads=[2, 2])
    for _ in range(8):
        graph.add("Add", graph.add("Relu", graph.last), graph.nodes[-2].output[0])
        graph.add("Conv", graph.last, graph.weight(channels, 1, 5, size=5), pads=[2, 2], group=channels)
    graph.add("Flatten", graph.add("GlobalMaxPool", graph.last))
    return graph.model(channels)


class _OfAnyLength(Case):
    """The second dimension is free in the model."""

    @property
    def free_shape(self) -> list[int | str]:
        """The model's input shape."""
        return ["n", "length", *self.shape[2:]]


LARGER = (
    Case("detector", "1×3×224×224 floats, seven convolutions: too large to be joined", (1, 3, 224, 224), detector),
    Case("transformer", "1×32×64 floats, six layers of attention", (1, 32, 64), transformer),
    _OfAnyLength("sentences", "1×256×64 floats of any length, one layer of attention", (1, 256, 64), sentences),
    Case("layers", "256 floats, five layers of 2,048: rows are faster together", (1, 256), layers),
    Case("recogniser", "1×1×2,048 floats, a line: rows are slower together", (1, 1, 2048), recogniser),
)
