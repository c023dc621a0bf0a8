"""Counts samples with the monitor that the runtime counts all of its requests with. Called by `sidecar`.

What the model takes and gives is what its engine says of it; how it is counted is in the version's profile.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate_serving.codec.datatypes import BY_NAME
from headgate_serving.codec.lenient import Tensor, Unreadable, inputs_of, outputs_of
from headgate_serving.monitor import InputForm, Monitor, Profile, monitor_of
from headgate_serving.sidecar.batch import Sample


class Watched:
    """A version, from the time on at which its engine has said what it serves."""

    def __init__(self, monitor: Monitor | None, first: str) -> None:
        self.monitor = monitor
        self._first = first

    @classmethod
    def of(cls, metadata: Mapping[str, Any], own: Profile | None, others: Sequence[Profile]) -> "Watched":
        """`metadata` as `GET /v2/models/NAME` has it. ValueError if it says nothing of the tensors."""
        try:
            inputs = {
                each["name"]: InputForm.of([int(dim) for dim in each["shape"]], BY_NAME[each["datatype"]])
                for each in metadata["inputs"]
            }
            outputs = [str(each["name"]) for each in metadata["outputs"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"the engine's metadata of the model can't be read: {error!r}") from error
        return cls(monitor_of(own, others, inputs, outputs), next(iter(inputs), ""))

    def count(self, samples: Sequence[Sample]) -> int:
        """How many of them could be read and counted."""
        return sum(map(self._count, samples))

    def _count(self, sample: Sample) -> bool:
        try:
            inputs = inputs_of(sample.request, is_grpc=sample.is_grpc)
            outputs = outputs_of(sample.answer, is_grpc=sample.is_grpc)
            rows = _rows(inputs[self._first])
            if self.monitor:
                needed = {name: _array(inputs[name]) for name in self.monitor.inputs}
                given = {name: _array(outputs[name]) for name in self.monitor.outputs if name in outputs}
                self.monitor.observe(needed, given, rows)
        except (Unreadable, KeyError):
            return False
        return True


def _rows(tensor: Tensor) -> int:
    """The length of the first axis of a request's first input."""
    return tensor.shape[0] if tensor.shape else 1


def _array(tensor: Tensor) -> NDArray[Any]:
    """As the runtime has it: with its shape, and text as text."""
    values = tensor.values
    if values.dtype.kind == "O":
        values = np.array([_text(value) for value in values], object)
    return values.reshape(tensor.shape)


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
