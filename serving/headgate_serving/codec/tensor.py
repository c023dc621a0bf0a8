"""A tensor, and what a model says of those that go in and out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from .datatypes import Datatype

Tensor = NDArray[Any]

Class = str | int
"""The name of a class: what a classifier answers with, or the number of one."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; a free dimension is -1.

    `shape` is None where the model does not even tell the number of dimensions. `optional` is an input that has a value
    where a request gives none; `classes` are the names of an output's columns, if the model has names for them.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...] | None
    optional: bool = False
    classes: tuple[Class, ...] = ()

    @property
    def assumed(self) -> tuple[int, ...]:
        """The shape; where the model tells none, that of a table."""
        return (-1, -1) if self.shape is None else self.shape

    @property
    def first(self) -> int | None:
        """The first dimension; None if there is none, or if that is not known."""
        return self.shape[0] if self.shape else None

    def metadata(self) -> dict[str, Any]:
        """As in the protocol's model metadata; what that has no place for is in `parameters`."""
        described: dict[str, Any] = {
            "name": self.name,
            "datatype": self.datatype.name,
            "shape": list(self.shape or ()),
        }
        parameters = {"any_shape": self.shape is None, "optional": self.optional, "classes": list(self.classes)}
        if parameters := {name: value for name, value in parameters.items() if value}:
            described["parameters"] = parameters
        return described

    def config(self) -> dict[str, Any]:
        """As in Triton's model configuration."""
        data_type = "TYPE_STRING" if self.datatype.kind == "O" else f"TYPE_{self.datatype.name}"
        described = {"name": self.name, "data_type": data_type, "dims": list(self.shape or ())}
        return {**described, "optional": True} if self.optional else described


class Signature(Protocol):
    """What a codec has to know of a model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Those that every request has to give."""

    @property
    def optional(self) -> tuple[TensorSpec, ...]:
        """Those that have a value without a request."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """In the model's order."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of `outputs`."""

    @property
    def input_by_name(self) -> Mapping[str, TensorSpec]:
        """`inputs` and `optional`."""

    @property
    def output_by_name(self) -> Mapping[str, TensorSpec]:
        """`outputs`."""
