"""The Open Inference Protocol v2 over gRPC: messages → tensors, tensors → messages. The checks are `protocol.py`'s."""

import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from ..errors import MalformedRequest
from .conversion import converted
from .messages import MESSAGES
from .model import Model, Tensor, TensorSpec
from .protocol import InferRequest, check_all_there, checked_shape, deadline_of, no_output, rows_of, spec_of
from .wire import from_binary, text_of, to_binary

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_NONE: frozenset[str] = frozenset()
_PIECE = 16 << 10
"""Values of typed contents that are converted at once."""

_Response = MESSAGES["inference.ModelInferResponse"]


Later = list[tuple[Tensor, Generator[None, None, None]]]
"""Tensors without their values, each with what brings these in pieces."""


def decode_message(request: Any, model: Model, later: Later | None = None) -> InferRequest:
    """Check a ModelInferRequest against the model. With `later`, long typed contents are only prepared."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise MalformedRequest("binary", f"{len(request.inputs)} inputs, but {len(raw)} raw_input_contents")
    inputs: dict[str, Tensor] = {}
    for at, tensor in enumerate(request.inputs):
        spec = spec_of(tensor.name, tensor.datatype, model)
        if spec.name in inputs:
            raise MalformedRequest("tensor", f"input {spec.name!r} is there twice")
        shape = checked_shape(list(tensor.shape), spec)
        if "shared_memory_region" in tensor.parameters:
            raise MalformedRequest("binary", f"input {spec.name!r}: shared memory is not supported")
        if raw:
            if tensor.HasField("contents"):
                raise MalformedRequest("binary", f"input {spec.name!r} has both contents and raw_input_contents")
            data = raw[at]
            inputs[spec.name] = from_binary(memoryview(data), len(data), spec, shape)
        else:
            inputs[spec.name] = _typed(tensor.contents, spec, shape, later)
    check_all_there(inputs, model)
    return InferRequest(
        request.id or None,
        inputs,
        _requested(request, model) if request.outputs else model.output_names,
        _NONE,
        rows_of(inputs, model),
        _deadline(request.parameters["timeout"]) if "timeout" in request.parameters else None,
    )


def encode_message(
    name: str, version: str, request: InferRequest, results: dict[str, Tensor], model: Model, *, unsure: bool = False
) -> Any:
    """A ModelInferResponse with raw contents; `unsure` marks it as low_confidence."""
    response = _Response(model_name=name, model_version=version)
    if unsure:
        response.parameters["low_confidence"].bool_param = True
    if request.id:
        response.id = request.id
    for output in request.outputs:
        tensor, datatype = results[output], model.output_by_name[output].datatype
        response.outputs.add(name=output, datatype=datatype.name, shape=tensor.shape)
        response.raw_output_contents.append(to_binary(tensor, datatype))
    return response


def _deadline(timeout: Any) -> float | None:
    which = timeout.WhichOneof("choice")
    return deadline_of(getattr(timeout, which) if which else None)


def _requested(request: Any, model: Model) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for output in request.outputs:
        if output.name not in model.output_by_name:
            raise no_output(output.name, model)
        if "classification" in output.parameters or "shared_memory_region" in output.parameters:
            raise MalformedRequest(
                "output", f"output {output.name!r}: classification and shared memory are not supported"
            )
        names[output.name] = None
    chosen = tuple(names)
    return model.output_names if chosen == model.output_names else chosen


def _typed(contents: Any, spec: TensorSpec, shape: tuple[int, ...], later: Later | None) -> Tensor:
    datatype, count = spec.datatype, math.prod(shape)
    field = _CONTENTS.get(datatype.name)
    if field is None:
        raise MalformedRequest("data", f"input {spec.name!r}: {datatype.name} can only be sent as raw_input_contents")
    others = [one.name for one, _ in contents.ListFields() if one.name != field]
    if others:
        raise MalformedRequest("data", f"input {spec.name!r}: {datatype.name} is sent as {field}, not {others[0]}")
    values = getattr(contents, field)
    if len(values) != count:
        raise MalformedRequest(
            "shape", f"input {spec.name!r}: shape {list(shape)} needs {count} values, got {len(values)}"
        )
    if later is None or count <= _PIECE:
        return _converted(values, spec, 0, count).reshape(shape)
    tensor = np.empty(count, datatype.dtype)
    later.append((tensor, _filled(tensor, values, spec)))
    return tensor.reshape(shape)


def _filled(tensor: Tensor, values: Sequence[Any], spec: TensorSpec) -> Generator[None, None, None]:
    for at in range(0, len(tensor), _PIECE):
        tensor[at : at + _PIECE] = _converted(values, spec, at, at + _PIECE)
        yield


def _converted(values: Sequence[Any], spec: TensorSpec, start: int, end: int) -> Tensor:
    """Some of the values as the model takes them."""
    piece = values[start:end]
    if spec.datatype.kind == "O":
        return np.array([text_of(value, spec.name, start + i) for i, value in enumerate(piece)], object)
    return converted(list(piece), spec.name, spec.datatype, strict=False)
