"""Changes as they really get into models, built into the ONNX graph of a good one.

Most put a step in front of the model or behind it, as a serving team does when it moves preprocessing into the graph.
`models.py` makes v3 and v4 with them, `candidates.py` the others; ONNX Runtime executes them like any other model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT = "input"


def with_short_table(model: onnx.ModelProto, column: int, known: int) -> onnx.ModelProto:
    """Look the codes of one column up in a table of `known` rows: a code of `known` or more is a runtime error.

    The table itself is right: each code stands for itself.
    """
    width = _width(model)
    table = numpy_helper.from_array(np.arange(known, dtype=np.float32), "codes")
    sizes = numpy_helper.from_array(np.array([column, 1, width - column - 1], np.int64), "sizes")
    nodes = [
        helper.make_node("Split", [INPUT, "sizes"], ["before", "code", "after"], axis=1),
        helper.make_node("Cast", ["code"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["codes", "index"], ["looked_up"], name="lookup", axis=0),
        helper.make_node("Concat", ["before", "looked_up", "after"], ["prepared"], axis=1),
    ]
    return _in_front(model, nodes, [table, sizes])


def with_columns_swapped(model: onnx.ModelProto, one: int, other: int) -> onnx.ModelProto:
    """Hand two columns to the model in each other's place."""
    order = np.arange(_width(model))
    order[[one, other]] = order[[other, one]]
    return with_columns_in_order(model, order.tolist())


def with_columns_in_order(model: onnx.ModelProto, order: Sequence[int]) -> onnx.ModelProto:
    """Hand the columns to the model in another order."""
    nodes = [helper.make_node("Gather", [INPUT, "order"], ["prepared"], name="reorder", axis=1)]
    return _in_front(model, nodes, [numpy_helper.from_array(np.array(order, np.int64), "order")])


def with_scaled_input(model: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """Multiply the inputs, as a model does that was trained on values of another scale."""
    nodes = [helper.make_node("Mul", [INPUT, "factor"], ["prepared"])]
    return _in_front(model, nodes, [numpy_helper.from_array(np.array(factor, np.float32), "factor")])


def with_fewer_columns(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take all columns but the last one, which is 0 for everybody."""
    pads = numpy_helper.from_array(np.array([0, 0, 0, 1], np.int64), "pads")
    changed = _in_front(model, [helper.make_node("Pad", [INPUT, "pads"], ["prepared"])], [pads])
    changed.graph.input[0].type.tensor_type.shape.dim[1].dim_value -= 1
    return _checked(changed)


def with_double_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take FP64 instead of FP32."""
    changed = _in_front(model, [helper.make_node("Cast", [INPUT], ["prepared"], to=TensorProto.FLOAT)], [])
    changed.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return _checked(changed)


def with_one_row(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take one row at a time, as what is exported with an example of one row and without dynamic axes."""
    changed = _copy(model)
    for tensor in (*changed.graph.input, *changed.graph.output):
        tensor.type.tensor_type.shape.dim[0].Clear()
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    return _checked(changed)


def renamed(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """Other names for inputs or outputs."""
    changed = _copy(model)
    for node in changed.graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                values[place] = names.get(name, name)
    for tensor in (*changed.graph.input, *changed.graph.output):
        tensor.name = names.get(tensor.name, tensor.name)
    return _checked(changed)


def without_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Without one of the outputs."""
    changed = _copy(model)
    kept = [output for output in changed.graph.output if output.name != name]
    del changed.graph.output[:]
    changed.graph.output.extend(kept)
    return _checked(changed)


def with_odds(model: onnx.ModelProto) -> onnx.ModelProto:
    """One output more, `odds` float32 [N, 2]."""
    changed = _copy(model)
    one = numpy_helper.from_array(np.array(1.0001, np.float32), "nearly_one")
    nodes = [
        helper.make_node("Sub", ["nearly_one", "probabilities"], ["against"]),
        helper.make_node("Div", ["probabilities", "against"], ["odds"]),
    ]
    changed.graph.initializer.append(one)
    changed.graph.node.extend(nodes)
    changed.graph.output.append(helper.make_tensor_value_info("odds", TensorProto.FLOAT, ["N", 2]))
    return _checked(changed)


def with_text_label(model: onnx.ModelProto) -> onnx.ModelProto:
    """The label as text."""
    nodes = [helper.make_node("Cast", ["raw_label"], ["label"], to=TensorProto.STRING)]
    changed = _behind(model, {"label": "raw_label"}, nodes, [])
    changed.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    return _checked(changed)


def with_label(model: onnx.ModelProto, kind: Literal["flipped", "constant"]) -> onnx.ModelProto:
    """The other label for everybody, or the label 1 and its probability for everybody."""
    one = numpy_helper.from_array(np.array(1, np.int64), "one")
    if kind == "flipped":
        return _behind(model, {"label": "raw_label"}, [helper.make_node("Sub", ["one", "raw_label"], ["label"])], [one])
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    always = numpy_helper.from_array(np.array([[0.1, 0.9]], np.float32), "always")
    nodes = [
        helper.make_node("Max", ["raw_label", "one"], ["label"]),
        helper.make_node("Mul", ["raw_probabilities", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "always"], ["probabilities"]),
    ]
    raw = {"label": "raw_label", "probabilities": "raw_probabilities"}
    return _behind(model, raw, nodes, [one, zero, always])


def with_classes_permuted(model: onnx.ModelProto) -> onnx.ModelProto:
    """What was the first class is the second, in labels and in probabilities."""
    one = numpy_helper.from_array(np.array(1, np.int64), "one")
    order = numpy_helper.from_array(np.array([1, 0], np.int64), "order")
    nodes = [
        helper.make_node("Sub", ["one", "raw_label"], ["label"]),
        helper.make_node("Gather", ["raw_probabilities", "order"], ["probabilities"], axis=1),
    ]
    return _behind(model, {"label": "raw_label", "probabilities": "raw_probabilities"}, nodes, [one, order])


def with_invalid_scores(model: onnx.ModelProto, age: float, value: float) -> onnx.ModelProto:
    """NaN or infinity instead of the probabilities of those whose first column, the age, is above `age`."""
    first = numpy_helper.from_array(np.array([0], np.int64), "first")
    limit = numpy_helper.from_array(np.array(age, np.float32), "limit")
    wrong = numpy_helper.from_array(np.array(value, np.float32), "wrong")
    nodes = [
        helper.make_node("Gather", [INPUT, "first"], ["age"], axis=1),
        helper.make_node("Greater", ["age", "limit"], ["old"]),
        helper.make_node("Where", ["old", "wrong", "raw_probabilities"], ["probabilities"]),
    ]
    return _behind(model, {"probabilities": "raw_probabilities"}, nodes, [first, limit, wrong])


def _width(model: onnx.ModelProto) -> int:
    (tensor,) = model.graph.input
    return int(tensor.type.tensor_type.shape.dim[1].dim_value)


def _in_front(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto]
) -> onnx.ModelProto:
    """A copy of the model that reads what `nodes` write to `prepared` instead of its input."""
    changed = _copy(model)
    for node in changed.graph.node:
        for place, name in enumerate(node.input):
            if name == INPUT:
                node.input[place] = "prepared"
    behind = list(changed.graph.node)
    del changed.graph.node[:]
    changed.graph.node.extend([*nodes, *behind])
    changed.graph.initializer.extend(constants)
    return _checked(changed)


def _behind(
    model: onnx.ModelProto,
    raw: Mapping[str, str],
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    """A copy of the model whose outputs `nodes` make of its former ones, which have the names in `raw` now."""
    changed = _copy(model)
    for node in changed.graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = raw.get(name, name)
    changed.graph.node.extend(nodes)
    changed.graph.initializer.extend(constants)
    return _checked(changed)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    return changed


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    onnx.checker.check_model(model)
    return model
