"""BF16, which numpy does not have: float32 inside of the server, the upper 16 bits of it outside."""

import ctypes
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .datatypes import Datatype, widened

_ONNX_TYPE = 16  # onnx.TensorProto.BFLOAT16

Values = NDArray[Any]


def narrowed(values: Values) -> NDArray[np.uint16]:
    """The nearest BF16, ties to even, as bits; NaN stays NaN."""
    wide = np.ascontiguousarray(values, np.float32)
    bits = wide.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(wide), (bits >> 16) | 0x40, rounded).astype(np.uint16).reshape(np.shape(values))


def to_ort(values: Values, datatype: Datatype) -> Any:
    """The tensor as ONNX Runtime's own value."""
    if datatype.name == "BF16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(narrowed(values), _ONNX_TYPE)
    return ort.OrtValue.ortvalue_from_numpy(values)


def from_ort(value: Any) -> Values:
    """ONNX Runtime's own value as a tensor."""
    if value.element_type() != _ONNX_TYPE:
        tensor: Values = value.numpy()
        return tensor
    shape = value.shape()
    size = int(np.prod(shape, dtype=np.int64)) * 2
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return widened(np.frombuffer(raw, np.uint16)).reshape(shape)
