"""BF16, which numpy does not have: float32 in this process, ONNX Runtime's own value for a run."""

import ctypes
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..codec.datatypes import Datatype, narrowed, widened

_ONNX_TYPE = 16  # onnx.TensorProto.BFLOAT16

Values = NDArray[Any]


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
