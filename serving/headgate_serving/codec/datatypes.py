"""The protocol's datatypes, and what they are in ONNX Runtime and in numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Datatype:
    """`kind` as in numpy: b(ool), i(nteger), u(nsigned), f(loat), O(bject: text); `size` in bytes, 0 for text."""

    name: str
    dtype: np.dtype[Any]
    size: int
    low: int = 0
    high: int = 0

    @property
    def kind(self) -> str:
        """The letter of numpy's dtype."""
        return self.dtype.kind

    @property
    def converted(self) -> bool:
        """Whether its values have another form in numpy than in the protocol's binary tensors."""
        return self.kind in "bO" or self.name == "BF16"

    @property
    def triton(self) -> int:
        """Its number in Triton's model configuration."""
        return _TRITON.index(self.name) + 1


_WHOLE = [f"{kind}{bits}" for kind in ("UINT", "INT") for bits in (8, 16, 32, 64)]
_TRITON = ("BOOL", *_WHOLE, "FP16", "FP32", "FP64", "BYTES", "BF16")


def _integer(name: str, scalar: type[np.integer[Any]]) -> Datatype:
    limits = np.iinfo(scalar)
    return Datatype(name, np.dtype(scalar), np.dtype(scalar).itemsize, int(limits.min), int(limits.max))


def _simple(name: str, scalar: type[np.generic]) -> Datatype:
    return Datatype(name, np.dtype(scalar), np.dtype(scalar).itemsize)


BYTES = Datatype("BYTES", np.dtype(object), 0)
BF16 = Datatype("BF16", np.dtype(np.float32), 2)

BY_ONNX = {
    "tensor(bool)": _simple("BOOL", np.bool_),
    "tensor(uint8)": _integer("UINT8", np.uint8),
    "tensor(uint16)": _integer("UINT16", np.uint16),
    "tensor(uint32)": _integer("UINT32", np.uint32),
    "tensor(uint64)": _integer("UINT64", np.uint64),
    "tensor(int8)": _integer("INT8", np.int8),
    "tensor(int16)": _integer("INT16", np.int16),
    "tensor(int32)": _integer("INT32", np.int32),
    "tensor(int64)": _integer("INT64", np.int64),
    "tensor(bfloat16)": BF16,
    "tensor(float16)": _simple("FP16", np.float16),
    "tensor(float)": _simple("FP32", np.float32),
    "tensor(double)": _simple("FP64", np.float64),
    "tensor(string)": BYTES,
}

BY_NAME = {datatype.name: datatype for datatype in BY_ONNX.values()}


def widened(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """float32 of the same value as the bits of a BF16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrowed(values: NDArray[Any]) -> NDArray[np.uint16]:
    """The nearest BF16, ties to even, as bits; NaN stays NaN."""
    wide = np.ascontiguousarray(values, np.float32)
    bits = wide.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(wide), (bits >> 16) | 0x40, rounded).astype(np.uint16).reshape(np.shape(values))
