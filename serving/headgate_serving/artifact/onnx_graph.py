"""What goes in and out of an ONNX model, as far as ONNX Runtime does not tell; and a model that ends in tensors.

`runtime/model.py` reads with it whether `[]` is the shape of a scalar or stands for one that the file does not tell,
and loads a model that ends in a sequence, which no tensor protocol can carry, without the step that makes it one:

| last step | instead |
|---|---|
| ZipMap: maps from class to probability, of classifiers by skl2onnx, CatBoost, … | the matrix that goes into it |
| SequenceConstruct: a tensor for each target, of skl2onnx's MultiOutputClassifier | `name_0`, `name_1`, … |

The file stays as it is: only what is handed to ONNX Runtime has the change.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..codec.tensor import Class
from .onnx_file import NotOnnx, fields, parts, text_of, varint, view_of

# Field numbers of onnx.proto.
_GRAPH, _OPSET_IMPORT = 7, 8
_NODE, _INPUT, _OUTPUT, _VALUE_INFO = 1, 11, 12, 13
_NAME, _TYPE = 1, 2
_TENSOR, _SEQUENCE, _SHAPE = 1, 4, 2
_ZIPMAP, _CONSTRUCT = "ZipMap", "SequenceConstruct"
_NODE_INPUT, _NODE_OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5
_NAMED = {_NODE: _NODE_OUTPUT, _OUTPUT: _NAME, _VALUE_INFO: _NAME}  # parts of a graph by where their name is
_INTS, _STRINGS = 8, 9
_IDENTITY_SINCE = 13


@dataclass(frozen=True)
class LastStep:
    """What makes the sequence `output` of tensors: a ZipMap of one, with a column for each of `classes`; or of many."""

    output: str
    tensors: tuple[str, ...]
    classes: tuple[Class, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tensors as outputs."""
        if self.classes:
            return (self.output,)
        return tuple(f"{self.output}_{number}" for number in range(len(self.tensors)))


@dataclass(frozen=True)
class Ends:
    """Names of inputs and outputs whose shape the file does not tell, and the steps that make sequences of outputs."""

    shapeless: frozenset[str] = frozenset()
    steps: tuple[LastStep, ...] = ()

    def classes(self, output: str) -> tuple[Class, ...]:
        """The names of its columns, or none."""
        return next((step.classes for step in self.steps if step.output == output), ())


def read_ends(file: Path) -> Ends:
    """What the file says of its inputs and outputs; nothing if it can't be read: ONNX Runtime says best what is wrong.

    Nodes are looked at only where an output is a sequence, weights never.
    """
    try:
        return _ends(view_of(file))
    except NotOnnx:
        return Ends()


def without(steps: Iterable[LastStep], file: Path) -> bytes:
    """The model's bytes, with the tensors that go into these steps as outputs; nothing but them is copied."""
    left_out = {step.output: step for step in steps}
    pieces: list[bytes | memoryview] = []
    known = False
    for field, value, whole in parts(view_of(file)):
        if isinstance(value, memoryview) and field == _GRAPH:
            graph = _graph_without(value, left_out)
            pieces += [_head(_GRAPH, sum(map(len, graph))), *graph]
            continue
        known |= isinstance(value, memoryview) and field == _OPSET_IMPORT and _text(value, 1) in ("", "ai.onnx")
        pieces.append(whole)
    if not known:
        pieces.append(_part(_OPSET_IMPORT, _number(2, _IDENTITY_SINCE)))
    return b"".join(pieces)


def _ends(view: memoryview) -> Ends:
    shapeless, sequences, taken, nodes = set[str](), set[str](), set[str](), list[memoryview]()
    for field, value in _in_graph(view):
        if field == _NODE:
            nodes.append(value)
        elif field in (_INPUT, _OUTPUT):
            taken.add(_text(value, _NAME))
            kind = _message(value, _TYPE)
            tensor = _message(kind, _TENSOR)
            if tensor is not None and _message(tensor, _SHAPE) is None:
                shapeless.add(_text(value, _NAME))
            if field == _OUTPUT and _message(kind, _SEQUENCE) is not None:
                sequences.add(_text(value, _NAME))
    steps = [_step(node) for node in nodes if _text(node, _NODE_OUTPUT) in sequences] if sequences else []
    found = [step for step in steps if step]
    taken.update(name for node in nodes if found for name in _texts(node, _NODE_OUTPUT))
    free = [step for step in found if step.classes or taken.isdisjoint(step.names)]
    return Ends(frozenset(shapeless | {name for step in free for name in step.names}), tuple(free))


def _in_graph(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    for field, graph in fields(view):
        if field == _GRAPH and isinstance(graph, memoryview):
            for inner, value in fields(graph):
                if isinstance(value, memoryview):
                    yield inner, value


def _step(node: memoryview) -> LastStep | None:
    """None if it is another operator."""
    operator, tensors = _text(node, _OPERATOR), tuple(_texts(node, _NODE_INPUT))
    if operator not in (_ZIPMAP, _CONSTRUCT):
        return None
    classes = [name for attribute in _messages(node, _ATTRIBUTE) for name in _classes(attribute)]
    return LastStep(_text(node, _NODE_OUTPUT), tensors, tuple(classes)) if classes or operator == _CONSTRUCT else None


def _classes(attribute: memoryview) -> Iterator[Class]:
    """Of classlabels_int64s, packed or not, and of classlabels_strings: the only lists that a ZipMap has."""
    for field, value in fields(attribute):
        if field == _STRINGS and isinstance(value, memoryview):
            yield text_of(value)
        elif field == _INTS and isinstance(value, int):
            yield _signed(value)
        elif field == _INTS and isinstance(value, memoryview):
            at = 0
            while at < len(value):
                number, at = varint(value, at)
                yield _signed(number)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _graph_without(graph: memoryview, left_out: Mapping[str, LastStep]) -> list[bytes | memoryview]:
    pieces: list[bytes | memoryview] = []
    for field, value, whole in parts(graph):
        named = _NAMED.get(field)
        name = _text(value, named) if named and isinstance(value, memoryview) else ""
        if name not in left_out:
            pieces.append(whole)
        elif field == _NODE:
            pieces += [_part(_NODE, node) for node in _identities(left_out[name])]
        elif field == _OUTPUT:  # of which ONNX Runtime finds out the type and, mostly, the shape
            pieces += [_part(_OUTPUT, _part(_NAME, output.encode())) for output in left_out[name].names]
    return pieces


def _identities(step: LastStep) -> Iterator[bytes]:
    """Nodes that give the tensors the names of outputs."""
    for tensor, name in zip(step.tensors, step.names, strict=True):
        said = [(_NODE_INPUT, tensor), (_NODE_OUTPUT, name), (_OPERATOR, "Identity")]
        yield b"".join(_part(field, text.encode()) for field, text in said)


def _messages(view: memoryview | None, field: int) -> list[memoryview]:
    if view is None:
        return []
    return [value for number, value in fields(view) if number == field and isinstance(value, memoryview)]


def _message(view: memoryview | None, field: int) -> memoryview | None:
    return next(iter(_messages(view, field)), None)


def _text(view: memoryview, field: int) -> str:
    return next(_texts(view, field), "")


def _texts(view: memoryview, field: int) -> Iterator[str]:
    return map(text_of, _messages(view, field))


def _part(field: int, value: bytes) -> bytes:
    return _head(field, len(value)) + value


def _head(field: int, length: int) -> bytes:
    return _varint(field << 3 | 2) + _varint(length)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
