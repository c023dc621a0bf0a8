"""Small ONNX models for the tests, made here and nowhere downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Value = tuple[str, int, Any]
"""Of a graph: name, type, and shape or none."""


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    *,
    weights: Sequence[onnx.TensorProto] = (),
    ir_version: int = 8,
    checked: bool = True,
) -> Path:
    """Each input and output is (name, TensorProto type, shape)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info(*item) for item in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=ir_version)
    if checked:
        onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def mixed(path: Path) -> Path:
    """Y = X + X of [N,4] floats, PICK = X[AT] (an index out of range fails inside of ONNX Runtime), TEXT as given."""
    return save(
        path,
        [
            helper.make_node("Add", ["X", "X"], ["Y"]),
            helper.make_node("Gather", ["X", "AT"], ["PICK"], axis=0),
            helper.make_node("Identity", ["TEXT"], ["SAID"]),
        ],
        [
            ("X", TensorProto.FLOAT, ["n", 4]),
            ("AT", TensorProto.INT64, ["m"]),
            ("TEXT", TensorProto.STRING, ["n", 1]),
        ],
        [
            ("Y", TensorProto.FLOAT, ["n", 4]),
            ("PICK", TensorProto.FLOAT, ["m", 4]),
            ("SAID", TensorProto.STRING, ["n", 1]),
        ],
    )


def classifier(path: Path) -> Path:
    """`P`, the probabilities of two classes by the sign of X, and `L`, the likelier one."""
    return save(
        path,
        [
            helper.make_node("Neg", ["X"], ["less"]),
            helper.make_node("Concat", ["less", "X"], ["both"], axis=1),
            helper.make_node("Softmax", ["both"], ["P"], axis=1),
            helper.make_node("ArgMax", ["P"], ["L"], axis=1, keepdims=0),
        ],
        [("X", TensorProto.FLOAT, ["n", 1])],
        [("P", TensorProto.FLOAT, ["n", 2]), ("L", TensorProto.INT64, ["n"])],
    )


def three_classes(path: Path, weights: np.ndarray) -> Path:
    """`P`, the probabilities of three classes by `weights` of X (NaN where a value is), and `L`, the likeliest."""
    values = numpy_helper.from_array(weights.astype(np.float32))
    return save(
        path,
        [
            helper.make_node("Constant", [], ["W"], value=values),
            helper.make_node("MatMul", ["X", "W"], ["sums"]),
            helper.make_node("Softmax", ["sums"], ["P"], axis=1),
            helper.make_node("ArgMax", ["P"], ["L"], axis=1, keepdims=0),
        ],
        [("X", TensorProto.FLOAT, ["n", len(weights)])],
        [("P", TensorProto.FLOAT, ["n", 3]), ("L", TensorProto.INT64, ["n"])],
    )


def score(path: Path) -> Path:
    """`score`, the sum of two features, and `label`, whether it is positive."""
    return save(
        path,
        [
            helper.make_node("Constant", [], ["axes"], value_ints=[1]),
            helper.make_node("ReduceSum", ["X", "axes"], ["score"], keepdims=0),
            helper.make_node("Constant", [], ["zero"], value_float=0.0),
            helper.make_node("Greater", ["score", "zero"], ["label"]),
        ],
        [("X", TensorProto.FLOAT, ["n", 2])],
        [("score", TensorProto.FLOAT, ["n"]), ("label", TensorProto.BOOL, ["n"])],
    )


def identity(path: Path, onnx_type: int) -> Path:
    """OUT = IN of [N,2]."""
    return one_of(path, onnx_type, ["n", 2])


def one_of(path: Path, onnx_type: int, shape: list[int | str]) -> Path:
    """OUT = IN of any shape."""
    return save(
        path, [helper.make_node("Identity", ["IN"], ["OUT"])], [("IN", onnx_type, shape)], [("OUT", onnx_type, shape)]
    )


def looping(path: Path) -> Path:
    """OUT = IN, and 1 more for each of TIMES rounds of a loop: it takes as long as one likes, and can be stopped."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still_on"]), helper.make_node("Add", ["sum", "one"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("at", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
    )
    return save(
        path,
        [
            helper.make_node("Constant", [], ["one"], value_float=1.0),
            helper.make_node("Squeeze", ["TIMES"], ["times"]),
            helper.make_node("Loop", ["times", "", "IN"], ["OUT"], body=body),
        ],
        [("IN", TensorProto.FLOAT, ["n"]), ("TIMES", TensorProto.INT64, [1])],
        [("OUT", TensorProto.FLOAT, ["n"])],
    )


def endless(path: Path) -> Path:
    """OUT = IN of [N,2] floats where their sum is 0; for any other row it never comes, but can be stopped."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("sum", "more")]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("on", "still_on")]
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still_on"]), helper.make_node("Identity", ["sum"], ["more"])],
        "body",
        [helper.make_tensor_value_info("at", TensorProto.INT64, []), flags[0], values[0]],
        [flags[1], values[1]],
    )
    return save(
        path,
        [
            helper.make_node("ReduceSum", ["IN"], ["all"], keepdims=0),
            helper.make_node("Cast", ["all"], ["goes_on"], to=TensorProto.BOOL),
            helper.make_node("Loop", ["", "goes_on", "all"], ["last"], body=body),
            helper.make_node("Add", ["IN", "last"], ["OUT"]),
        ],
        [("IN", TensorProto.FLOAT, ["n", 2])],
        [("OUT", TensorProto.FLOAT, ["n", 2])],
    )


def long_rows(path: Path) -> Path:
    """OUT = the largest of each three neighbours of [N,1,K] floats: K has to be 3 or more."""
    return save(
        path,
        [helper.make_node("MaxPool", ["IN"], ["OUT"], kernel_shape=[3])],
        [("IN", TensorProto.FLOAT, ["n", 1, "k"])],
        [("OUT", TensorProto.FLOAT, ["n", 1, "l"])],
    )


def from_the_fourth(path: Path, columns: int | str) -> Path:
    """OUT = all but the first three columns of IN."""
    return save(
        path,
        [
            helper.make_node("Constant", [], ["from"], value_ints=[3]),
            helper.make_node("Constant", [], ["to"], value_ints=[1 << 40]),
            helper.make_node("Constant", [], ["axes"], value_ints=[1]),
            helper.make_node("Slice", ["IN", "from", "to", "axes"], ["OUT"]),
        ],
        [("IN", TensorProto.FLOAT, ["n", columns])],
        [("OUT", TensorProto.FLOAT, ["n", None])],
    )


def beside_a_million(path: Path) -> Path:
    """OUT = a column of about a million for each row, which is right, and X normalised over the rows."""
    return save(
        path,
        [
            helper.make_node("Constant", [], ["million"], value_float=1e6),
            helper.make_node("Add", ["X", "million"], ["amount"]),
            helper.make_node("LpNormalization", ["X"], ["share"], axis=0, p=1),
            helper.make_node("Concat", ["amount", "share"], ["OUT"], axis=1),
        ],
        [("X", TensorProto.FLOAT, ["n", 1])],
        [("OUT", TensorProto.FLOAT, ["n", 2])],
    )


def by_rows(path: Path, operator: str, columns: int | str = 2, **attributes: Any) -> Path:
    """OUT = the operator of [N,2] floats (or another number of columns), which may look at all rows."""
    axis = [] if operator != "CumSum" else [helper.make_node("Constant", [], ["axis"], value_int=0)]
    given = ["IN"] if operator != "CumSum" else ["IN", "axis"]
    return save(
        path,
        [*axis, helper.make_node(operator, given, ["OUT"], **attributes)],
        [("IN", TensorProto.FLOAT, ["n", columns])],
        [("OUT", TensorProto.FLOAT, ["n", columns])],
    )


def column_by_column(path: Path, count: int, columns: int | str = 1) -> Path:
    """OUT = the sum of so many inputs of [N,1] floats (or another number of columns)."""
    names = [f"IN{at}" for at in range(count)]
    return save(
        path,
        [helper.make_node("Sum", names, ["OUT"])],
        [(name, TensorProto.FLOAT, ["n", columns]) for name in names],
        [("OUT", TensorProto.FLOAT, ["n", columns])],
    )


def with_weights(path: Path, location: str) -> Path:
    """OUT = IN of [N,K] floats plus a weight of one number; it and 100,000 others are in a file of their own."""
    weights = [
        numpy_helper.from_array(np.ones(size, np.float32), name) for name, size in (("one", 1), ("others", 100_000))
    ]
    nodes = [
        helper.make_node("Add", ["IN", "one"], ["more"]),
        helper.make_node("ReduceMax", ["others"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["more", "largest"], ["OUT"]),
    ]
    save(
        path,
        nodes,
        [("IN", TensorProto.FLOAT, ["n", "k"])],
        [("OUT", TensorProto.FLOAT, ["n", "k"])],
        weights=weights,
    )
    (path.parent / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def table(path: Path) -> Path:
    """OUT = 10 times IN, which has to be below 4: any other number fails inside of ONNX Runtime."""
    return save(
        path,
        [
            helper.make_node("Constant", [], ["tens"], value_floats=[0.0, 10.0, 20.0, 30.0]),
            helper.make_node("Gather", ["tens", "IN"], ["OUT"]),
        ],
        [("IN", TensorProto.INT64, ["n"])],
        [("OUT", TensorProto.FLOAT, ["n"])],
    )


def broadcast(path: Path) -> Path:
    """SUM = A + B of [N] and [M] floats: one of them may have a single row."""
    return save(
        path,
        [helper.make_node("Add", ["A", "B"], ["SUM"])],
        [("A", TensorProto.FLOAT, ["n"]), ("B", TensorProto.FLOAT, ["m"])],
        [("SUM", TensorProto.FLOAT, ["k"])],
    )


def zipmap(path: Path, classes: Sequence[int] | Sequence[str] = (0, 1), *, only_ml: bool = False) -> Path:
    """What skl2onnx makes of a classifier's probabilities by default: a sequence of maps.

    OUT has them of IN, and SUM the sums of IN's rows; with `only_ml` the file names no opset but that of ZipMap, and
    has no SUM.
    """
    text = isinstance(classes[0], str)
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.STRING if text else TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        )
    )
    names: dict[str, Any] = {"classlabels_strings" if text else "classlabels_int64s": list(classes)}
    nodes = [helper.make_node("ZipMap", ["IN"], ["OUT"], domain="ai.onnx.ml", **names)]
    outputs = [helper.make_value_info("OUT", maps)]
    opsets = [helper.make_opsetid("ai.onnx.ml", 3)]
    if not only_ml:
        nodes += [
            helper.make_node("Constant", [], ["axes"], value_ints=[1]),
            helper.make_node("ReduceSum", ["IN", "axes"], ["SUM"], keepdims=0),
        ]
        outputs += [helper.make_tensor_value_info("SUM", TensorProto.FLOAT, ["n"])]
        opsets += [helper.make_opsetid("", 17)]
    inputs = [helper.make_tensor_value_info("IN", TensorProto.FLOAT, ["n", len(classes)])]
    graph = helper.make_graph(nodes, "test", inputs, outputs, value_info=[outputs[0]])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def sequence(path: Path, more: str = "MORE") -> Path:
    """What skl2onnx makes of the probabilities of several targets: OUT is a sequence of IN and of MORE, its double."""
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["IN", "IN"], [more]),
            helper.make_node("SequenceConstruct", ["IN", more], ["OUT"]),
        ],
        "test",
        [helper.make_tensor_value_info("IN", TensorProto.FLOAT, ["n", 2])],
        [helper.make_value_info("OUT", kind)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def shapeless(path: Path) -> Path:
    """Y = X + X where the file tells no shape of X; TWICE = ONE + ONE of a scalar."""
    return save(
        path,
        [helper.make_node("Add", ["X", "X"], ["Y"]), helper.make_node("Add", ["ONE", "ONE"], ["TWICE"])],
        [("X", TensorProto.FLOAT, None), ("ONE", TensorProto.FLOAT, [])],
        [("Y", TensorProto.FLOAT, None), ("TWICE", TensorProto.FLOAT, [])],
        checked=False,
    )


def with_defaults(path: Path, ir_version: int = 8) -> Path:
    """Y = X times SCALE, which is 3 where a request gives none; an IR version of 3 lists weights among the inputs."""
    return save(
        path,
        [helper.make_node("Mul", ["X", "SCALE"], ["Y"])],
        [("X", TensorProto.FLOAT, ["n"]), ("SCALE", TensorProto.FLOAT, ["k"])],
        [("Y", TensorProto.FLOAT, ["n"])],
        weights=[numpy_helper.from_array(np.array([3], np.float32), "SCALE")],
        ir_version=ir_version,
    )


def with_external_data(path: Path, *, location: str = "weights/w.bin") -> Path:
    """Y = X + W where W is in a file of its own, and once more W2 within a branch."""
    value = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("Identity", ["W2"], ["B"])],
        "branch",
        [],
        [value("B", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.full((1, 4), 2, "f4"), "W2")],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["W"], ["C"])], "other", [], [value("C", TensorProto.FLOAT, [1, 4])]
    )
    graph = helper.make_graph(
        [
            helper.make_node("If", ["COND"], ["D"], then_branch=branch, else_branch=other),
            helper.make_node("Add", ["X", "D"], ["Y"]),
        ],
        "test",
        [value("X", TensorProto.FLOAT, ["n", 4])],
        [value("Y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.ones((1, 4), "f4"), "W"), numpy_helper.from_array(np.array(True), "COND")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "weights").mkdir(exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, location="weights/w.bin", size_threshold=4)
    if location != "weights/w.bin":
        path.write_bytes(path.read_bytes().replace(b"weights/w.bin", location.encode().ljust(13)[:13]))
    return path
