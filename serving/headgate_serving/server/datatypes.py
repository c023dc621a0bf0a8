"""The protocol's datatypes, and what they are in ONNX Runtime and in numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Datatype:
    """`kind` as in numpy: b(ool), i(nteger), u(nsigned), f(loat), O(bject: text)."""

    name: str
    dtype: np.dtype[Any]
    low: int = 0
    high: int = 0

    @property
    def kind(self) -> str:
        """The letter of numpy's dtype."""
        return self.dtype.kind


def _integer(name: str, scalar: type[np.integer[Any]]) -> Datatype:
    limits = np.iinfo(scalar)
    return Datatype(name, np.dtype(scalar), int(limits.min), int(limits.max))


BYTES = Datatype("BYTES", np.dtype(object))

BY_ONNX = {
    "tensor(bool)": Datatype("BOOL", np.dtype(np.bool_)),
    "tensor(uint8)": _integer("UINT8", np.uint8),
    "tensor(uint16)": _integer("UINT16", np.uint16),
    "tensor(uint32)": _integer("UINT32", np.uint32),
    "tensor(uint64)": _integer("UINT64", np.uint64),
    "tensor(int8)": _integer("INT8", np.int8),
    "tensor(int16)": _integer("INT16", np.int16),
    "tensor(int32)": _integer("INT32", np.int32),
    "tensor(int64)": _integer("INT64", np.int64),
    "tensor(float16)": Datatype("FP16", np.dtype(np.float16)),
    "tensor(float)": Datatype("FP32", np.dtype(np.float32)),
    "tensor(double)": Datatype("FP64", np.dtype(np.float64)),
    "tensor(string)": BYTES,
}
