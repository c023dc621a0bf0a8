"""Tensors as raw bytes, as the binary tensor extension has them: little-endian, row-major; text as length and bytes."""

import math
import sys
from collections.abc import Generator

import numpy as np

from ..errors import MalformedRequest
from ..turns import at_once
from .accounting import Deferred, Fill
from .datatypes import BF16, Datatype, narrowed, widened
from .tensor import Tensor, TensorSpec

_LENGTH = 4
_TEXTS = 2 << 10  # that are read or written at once, if they are short
_BYTES = 64 << 10  # of texts at once, if they are long
_NUMBERS = 64 << 10


def from_binary(
    raw: memoryview, size: int, spec: TensorSpec, shape: tuple[int, ...], deferred: Deferred | None = None
) -> Tensor:
    """A view of the bytes where numpy can have one; MalformedRequest if they are not `shape` values of the type.

    With `deferred`, what can't be a view is only prepared.
    """
    if len(raw) != size:
        raise MalformedRequest("binary", f"input {spec.name!r}: {size} bytes are announced, {len(raw)} are there")
    if spec.datatype.kind == "O":
        return _text(raw, spec.name, math.prod(shape), deferred).reshape(shape)
    expected = math.prod(shape) * spec.datatype.size
    if size != expected:
        raise MalformedRequest(
            "binary",
            f"input {spec.name!r}: shape {list(shape)} of {spec.datatype.name} takes {expected} bytes, got {size}",
        )
    if spec.datatype.kind == "b" or spec.datatype is BF16:
        if deferred:
            return deferred.tensor(math.prod(shape), spec.datatype.dtype, _numbers(raw, spec.datatype)).reshape(shape)
        return _converted(raw, spec.datatype).reshape(shape)
    tensor = np.frombuffer(raw, spec.datatype.dtype)
    return (tensor if tensor.flags.aligned else tensor.copy()).reshape(shape)


def to_binary(tensor: Tensor, datatype: Datatype) -> bytes:
    """The bytes of a result."""
    if datatype is BF16:
        return narrowed(tensor).tobytes()
    if datatype.kind != "O":
        return tensor.tobytes()
    return at_once(text_to_binary(tensor))


def text_to_binary(tensor: Tensor) -> Generator[None, None, bytes]:
    """The same for text, in pieces."""
    flat, parts = tensor.reshape(-1), list[bytes]()
    for at in range(0, len(flat), _TEXTS):
        piece = list[bytes]()
        for value in flat[at : at + _TEXTS].tolist():
            text = value.encode() if isinstance(value, str) else bytes(value)
            piece += [len(text).to_bytes(_LENGTH, "little"), text]
        parts.append(b"".join(piece))
        yield
    return b"".join(parts)


def text_of(raw: bytes | memoryview, name: str, at: int) -> str:
    """One element of a BYTES tensor; MalformedRequest if it is no text."""
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest("binary", f"input {name!r}: element {at} is no UTF-8") from error


def _converted(raw: memoryview, datatype: Datatype) -> Tensor:
    """Values that numpy has in another form."""
    return widened(np.frombuffer(raw, np.uint16)) if datatype is BF16 else np.frombuffer(raw, np.uint8).astype(np.bool_)


def _numbers(raw: memoryview, datatype: Datatype) -> Fill:
    def fill(tensor: Tensor) -> Generator[int, None, None]:
        for at in range(0, len(tensor), _NUMBERS):
            piece = raw[at * datatype.size : (at + _NUMBERS) * datatype.size]
            tensor[at : at + _NUMBERS] = _converted(piece, datatype)
            yield 0

    return fill


def _text(raw: memoryview, name: str, count: int, deferred: Deferred | None) -> Tensor:
    if count > len(raw):  # before there is room for them
        raise MalformedRequest("binary", f"input {name!r}: the shape needs {count} elements, got {len(raw)} bytes")

    def fill(tensor: Tensor) -> Generator[int, None, None]:
        return _texts(tensor, raw, name)

    if deferred:
        return deferred.tensor(count, object, fill)
    tensor = np.empty(count, object)
    at_once(fill(tensor))
    return tensor


def _texts(tensor: Tensor, raw: memoryview, name: str) -> Generator[int, None, None]:
    at, offset, count = 0, 0, len(tensor)
    while at < count:
        piece, enough = list[str](), offset + _BYTES
        for place in range(at, min(at + _TEXTS, count)):
            if offset == len(raw):
                raise MalformedRequest("binary", f"input {name!r}: the shape needs {count} elements, got {place}")
            start = offset + _LENGTH
            end = start + int.from_bytes(raw[offset:start], "little")
            if start > len(raw) or end > len(raw):
                raise MalformedRequest("binary", f"input {name!r}: element {place} is cut off")
            piece.append(text_of(raw[start:end], name, place))
            offset = end
            if offset > enough:
                break
        tensor[at : at + len(piece)] = piece
        at += len(piece)
        yield sum(map(sys.getsizeof, piece))
    if offset < len(raw):
        raise MalformedRequest(
            "binary", f"input {name!r}: the shape needs {count} elements, got {len(raw) - offset} bytes more"
        )
