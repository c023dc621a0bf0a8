"""Two faults as they really get into models, built into the ONNX graph of a good one.

Both put a step in front of the model, as a serving team does when it moves preprocessing into the graph.
`models.py` makes v3 and v4 with them; ONNX Runtime executes them like any other model.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    order = np.arange(_width(model), dtype=np.int64)
    order[[one, other]] = order[[other, one]]
    nodes = [helper.make_node("Gather", [INPUT, "order"], ["prepared"], name="reorder", axis=1)]
    return _in_front(model, nodes, [numpy_helper.from_array(order, "order")])


def _width(model: onnx.ModelProto) -> int:
    (tensor,) = model.graph.input
    return int(tensor.type.tensor_type.shape.dim[1].dim_value)


def _in_front(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto]
) -> onnx.ModelProto:
    """A copy of the model that reads what `nodes` write to `prepared` instead of its input."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        for place, name in enumerate(node.input):
            if name == INPUT:
                node.input[place] = "prepared"
    behind = list(changed.graph.node)
    del changed.graph.node[:]
    changed.graph.node.extend([*nodes, *behind])
    changed.graph.initializer.extend(constants)
    onnx.checker.check_model(changed)
    return changed
