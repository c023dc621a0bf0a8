"""Tensors as raw bytes, as the binary tensor extension has them: little-endian, row-major; text as length and bytes."""

import math
from typing import Any

import numpy as np

from ..errors import MalformedRequest
from .bfloat16 import narrowed
from .datatypes import BF16, Datatype, widened
from .model import Tensor, TensorSpec

_LENGTH = 4


def from_binary(raw: memoryview, size: int, spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    """A view of the bytes where numpy can have one; MalformedRequest if they are not `shape` values of the type."""
    if len(raw) != size:
        raise MalformedRequest("binary", f"input {spec.name!r}: {size} bytes are announced, {len(raw)} are there")
    if spec.datatype.kind == "O":
        return _text(raw, spec.name, math.prod(shape)).reshape(shape)
    expected = math.prod(shape) * spec.datatype.size
    if size != expected:
        raise MalformedRequest(
            "binary",
            f"input {spec.name!r}: shape {list(shape)} of {spec.datatype.name} takes {expected} bytes, got {size}",
        )
    if spec.datatype.kind == "b":
        return np.frombuffer(raw, np.uint8).astype(np.bool_).reshape(shape)
    if spec.datatype is BF16:
        return widened(np.frombuffer(raw, np.uint16)).reshape(shape)
    tensor = np.frombuffer(raw, spec.datatype.dtype)
    return (tensor if tensor.flags.aligned else tensor.copy()).reshape(shape)


def to_binary(tensor: Tensor, datatype: Datatype) -> bytes:
    """The bytes of a result."""
    if datatype is BF16:
        return narrowed(tensor).tobytes()
    if datatype.kind != "O":
        return tensor.tobytes()
    parts = []
    for value in tensor.reshape(-1).tolist():
        text = value.encode() if isinstance(value, str) else bytes(value)
        parts += [len(text).to_bytes(_LENGTH, "little"), text]
    return b"".join(parts)


def text_of(raw: bytes | memoryview, name: str, at: int) -> str:
    """One element of a BYTES tensor; MalformedRequest if it is no text."""
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest("binary", f"input {name!r}: element {at} is no UTF-8") from error


def _text(raw: memoryview, name: str, count: int) -> Tensor:
    values: list[Any] = []
    offset = 0
    while offset < len(raw):
        start = offset + _LENGTH
        end = start + int.from_bytes(raw[offset:start], "little")
        if start > len(raw) or end > len(raw):
            raise MalformedRequest("binary", f"input {name!r}: element {len(values)} is cut off")
        values.append(text_of(raw[start:end], name, len(values)))
        offset = end
    if len(values) != count:
        raise MalformedRequest("binary", f"input {name!r}: the shape needs {count} elements, got {len(values)}")
    return np.array(values, object)
