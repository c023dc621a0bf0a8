"""What goes in and out of an ONNX model, as far as ONNX Runtime's Python API does not tell; and a model without ZipMap.

`server/model.py` reads with it whether `[]` is the shape of a scalar or stands for a shape that the file does not tell,
and loads a classifier whose probabilities end in a ZipMap (a sequence of maps from class to probability, which no
tensor protocol can carry) as one whose probabilities are the matrix that goes into it. skl2onnx, onnxmltools and
CatBoost export their classifiers so. The file stays as it is: only what is handed to ONNX Runtime has the change.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .onnx_file import NotOnnx, fields, parts, text_of, varint, view_of

# Field numbers of onnx.proto.
_GRAPH, _OPSET_IMPORT = 7, 8
_NODE, _INPUT, _OUTPUT, _VALUE_INFO = 1, 11, 12, 13
_NAME, _TYPE = 1, 2
_TENSOR, _SEQUENCE, _SHAPE = 1, 4, 2
_NODE_INPUT, _NODE_OUTPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7
_INTS, _STRINGS = 8, 9

_FLOAT = 1
_IDENTITY_SINCE = 13

Class = str | int


@dataclass(frozen=True)
class ZipMap:
    """The last step before an output: `tensor`, with a column for each of `classes`, becomes the maps `output`."""

    output: str
    tensor: str
    classes: tuple[Class, ...]


@dataclass(frozen=True)
class Ends:
    """Names of inputs and outputs whose shape the file does not tell, and the ZipMaps that make an output."""

    shapeless: frozenset[str] = frozenset()
    zipmaps: tuple[ZipMap, ...] = ()


def read_ends(file: Path) -> Ends:
    """What the file says of its inputs and outputs; nothing if it can't be read: ONNX Runtime says best what is wrong.

    Nodes are looked at only where an output is a sequence, weights never.
    """
    try:
        return _ends(view_of(file))
    except NotOnnx:
        return Ends()


def without_zipmaps(file: Path, zipmaps: tuple[ZipMap, ...]) -> bytes:
    """The model's bytes, with the tensors that go into the ZipMaps as outputs, under the names that the maps had."""
    left_out = {zipmap.output: zipmap for zipmap in zipmaps}
    pieces: list[bytes | memoryview] = []
    known = False
    for field, value, whole in parts(view_of(file)):
        if isinstance(value, memoryview) and field == _GRAPH:
            pieces.append(_part(_GRAPH, _graph_without(value, left_out)))
            continue
        known |= isinstance(value, memoryview) and field == _OPSET_IMPORT and _text(value, 1) in ("", "ai.onnx")
        pieces.append(whole)
    if not known:
        pieces.append(_part(_OPSET_IMPORT, _number(2, _IDENTITY_SINCE)))
    return b"".join(pieces)


def _ends(view: memoryview) -> Ends:
    shapeless, sequences, nodes = set[str](), set[str](), list[memoryview]()
    for field, value in _in_graph(view):
        if field == _NODE:
            nodes.append(value)
        elif field in (_INPUT, _OUTPUT):
            kind = _message(value, _TYPE)
            tensor = _message(kind, _TENSOR)
            if tensor is not None and _message(tensor, _SHAPE) is None:
                shapeless.add(_text(value, _NAME))
            if field == _OUTPUT and _message(kind, _SEQUENCE) is not None:
                sequences.add(_text(value, _NAME))
    zipmaps = [_zipmap(node) for node in nodes if _makes_maps(node, sequences)] if sequences else []
    return Ends(frozenset(shapeless), tuple(zipmaps))


def _in_graph(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    for field, graph in fields(view):
        if field == _GRAPH and isinstance(graph, memoryview):
            for inner, value in fields(graph):
                if isinstance(value, memoryview):
                    yield inner, value


def _makes_maps(node: memoryview, outputs: set[str]) -> bool:
    return _text(node, _OPERATOR) == "ZipMap" and _text(node, _NODE_OUTPUT) in outputs


def _zipmap(node: memoryview) -> ZipMap:
    classes = [name for attribute in _messages(node, _ATTRIBUTE) for name in _classes(attribute)]
    return ZipMap(_text(node, _NODE_OUTPUT), _text(node, _NODE_INPUT), tuple(classes))


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


def _graph_without(graph: memoryview, left_out: Mapping[str, ZipMap]) -> bytes:
    pieces: list[bytes | memoryview] = []
    for field, value, whole in parts(graph):
        if field == _NODE and isinstance(value, memoryview) and _makes_maps(value, set(left_out)):
            pieces.append(_part(_NODE, _identity(left_out[_text(value, _NODE_OUTPUT)])))
        elif field in (_OUTPUT, _VALUE_INFO) and isinstance(value, memoryview) and _text(value, _NAME) in left_out:
            pieces.append(_part(_OUTPUT, _matrix(left_out[_text(value, _NAME)])) if field == _OUTPUT else b"")
        else:
            pieces.append(whole)
    return b"".join(pieces)


def _identity(zipmap: ZipMap) -> bytes:
    """A node that gives the tensor the name of the maps."""
    names = [(_NODE_INPUT, zipmap.tensor), (_NODE_OUTPUT, zipmap.output), (_OPERATOR, "Identity")]
    return b"".join(_part(field, name.encode()) for field, name in names)


def _matrix(zipmap: ZipMap) -> bytes:
    """The description of a float32 tensor [any number of rows, classes]."""
    shape = _part(1, b"") + _part(1, _number(1, len(zipmap.classes)))
    kind = _part(_TENSOR, _number(1, _FLOAT) + _part(_SHAPE, shape))
    return _part(_NAME, zipmap.output.encode()) + _part(_TYPE, kind)


def _messages(view: memoryview | None, field: int) -> list[memoryview]:
    if view is None:
        return []
    return [value for number, value in fields(view) if number == field and isinstance(value, memoryview)]


def _message(view: memoryview | None, field: int) -> memoryview | None:
    return next(iter(_messages(view, field)), None)


def _text(view: memoryview, field: int) -> str:
    found = _message(view, field)
    return "" if found is None else text_of(found)


def _part(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
