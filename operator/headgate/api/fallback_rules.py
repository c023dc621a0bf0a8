"""Rules of `spec.traffic.fallback`, in CEL and in Python as those of `rules`. Used by `spec` and the schema."""

from collections.abc import Callable
from math import prod
from typing import Any, Literal

from headgate.api.rules import Rule

Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "BF16", "FP32", "FP64",
    "BYTES",
]  # fmt: skip

_LARGEST: dict[str, float] = {
    "BOOL": 1,
    **{f"{sign}INT{bits}": 2.0 ** (bits if sign else bits - 1) - 1 for sign in ("", "U") for bits in (8, 16, 32)},
    # As far as JSON's numbers are exact.
    **{"INT64": 2.0**53, "UINT64": 2.0**53},
    **{"FP16": 65504.0, "BF16": 3.3895313892515355e38, "FP32": 3.4028234663852886e38, "FP64": 1.7976931348623157e308},
    "BYTES": 0,
}
FRACTIONS = ("FP16", "BF16", "FP32", "FP64")


def _least(datatype: str) -> float:
    if datatype in ("BOOL", "BYTES") or datatype.startswith("UINT"):
        return 0.0
    return -_LARGEST[datatype] - (datatype in ("INT8", "INT16", "INT32"))


def _has_values_of_datatype(output: Any) -> bool:
    low, high = _least(output.datatype), _LARGEST[output.datatype]
    return all(low <= x <= high and (output.datatype in FRACTIONS or x == int(x)) for x in output.data)


def _table(of: Callable[[str], float]) -> str:
    return "{" + ", ".join(f"'{datatype}': {of(datatype)!r}" for datatype in _LARGEST) + "}[self.datatype]"


VALUES_OF_DATATYPE = Rule(
    cel=f"self.data.all(x, x >= {_table(_least)} && x <= {_table(lambda name: float(_LARGEST[name]))}) && "
    f"(self.datatype in {list(FRACTIONS)} || self.data.all(x, x == double(int(x))))",
    holds=_has_values_of_datatype,
    message="data has a value that the datatype can't hold (whole numbers of 64 bits: up to 2^53)",
    field="data",
)

SIZES = Rule(
    cel="self.all(size, size != 0) && self.filter(size, size == -1).size() == (self[0] == -1 ? 1 : 0)",
    holds=lambda shape: 0 not in shape and -1 not in shape[1:],
    message="must have sizes from 1, and -1 only as the first: as many as the request has rows",
)


def _as_many_values_as_shape(output: Any) -> bool:
    values, other = (output.text, output.data) if output.datatype == "BYTES" else (output.data, output.text)
    return not other and len(values) == prod(size for size in output.shape if size > 0)


AS_MANY_VALUES_AS_SHAPE = Rule(
    cel="(self.datatype == 'BYTES' ? self.data.size() : self.text.size()) == 0 && "
    "(self.datatype == 'BYTES' ? self.text.size() : self.data.size()) == "
    + " * ".join(f"(self.shape.size() > {at} && self.shape[{at}] > 0 ? self.shape[{at}] : 1)" for at in range(4)),
    holds=_as_many_values_as_shape,
    message="must have as many values as its shape says (of one row, if that begins with -1): in text for BYTES, "
    "in data otherwise",
    field="data",
)

OUTPUTS_DIFFER = Rule(
    cel="self.all(one, self.exists_one(other, other.name == one.name))",
    holds=lambda outputs: len({output.name for output in outputs}) == len(outputs),
    message="must have different names",
)

MODEL_OR_STATIC = Rule(
    cel="has(self.modelDeployment) != has(self.static)",
    holds=lambda fallback: (fallback.modelDeployment is None) != (fallback.static is None),
    message="must name a modelDeployment or a static answer, and not both",
)

# The API server also judges the default of `traffic`, {}, before it fills in the defaults inside.
_LAST_IS_STATIC = (
    "has(self.fallback) && self.fallback.size() > 0 && has(self.fallback[self.fallback.size() - 1].static)"
)


def _ends_static(traffic: Any) -> bool:
    return bool(traffic.fallback) and traffic.fallback[-1].static is not None


STATIC_ANSWER_ENDS = Rule(
    cel=f"!has(self.fallback) || self.fallback.filter(each, has(each.static)).size() == ({_LAST_IS_STATIC} ? 1 : 0)",
    holds=lambda traffic: sum(each.static is not None for each in traffic.fallback) == _ends_static(traffic),
    message="a static answer must be the last fallback: nobody is asked after it",
    field="fallback",
)

LOW_CONFIDENCE_ENDS_STATIC = Rule(
    cel=f"!has(self.fallbackOnLowConfidence) || !self.fallbackOnLowConfidence || {_LAST_IS_STATIC}",
    holds=lambda traffic: not traffic.fallbackOnLowConfidence or _ends_static(traffic),
    message="fallbackOnLowConfidence needs a fallback that ends with a static answer: an unsure answer must not "
    "become an error",
    field="fallbackOnLowConfidence",
)


NOT_ITSELF = Rule(
    cel="!has(self.spec.traffic) || !has(self.spec.traffic.fallback) || self.spec.traffic.fallback.all(each, "
    "!has(each.modelDeployment) || each.modelDeployment != self.metadata.name)",
    holds=lambda _: True,
    message="spec.traffic.fallback must name other models: none can stand in for itself",
    field="spec.traffic.fallback",
)
