"""The Open Inference Protocol v2 over gRPC: messages into tensors and back. The checks are those of `rest_codec.py`."""

import math
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import MalformedRequest
from .accounting import Deferred
from .binary import from_binary, text_of, text_to_binary, to_binary
from .conversion import converted
from .large import LARGE
from .oip_messages import MESSAGES
from .rest_codec import InferRequest, check_all_there, checked_shape, deadline_of, no_output, rows_of, spec_of
from .tensor import Signature, Tensor, TensorSpec

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
_NOTHING_WRITTEN: Mapping[str, bytes] = {}
_PIECE = 16 << 10
"""Values of typed contents that are converted at once."""

_Response = MESSAGES["inference.ModelInferResponse"]


def decode_message(request: Any, model: Signature, deferred: Deferred | None = None) -> InferRequest:
    """Check a ModelInferRequest against the model. With `deferred`, what takes long to convert is only prepared."""
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
            inputs[spec.name] = from_binary(memoryview(data), len(data), spec, shape, deferred)
        else:
            inputs[spec.name] = _typed(tensor.contents, spec, shape, deferred)
    check_all_there(inputs, model)
    return InferRequest(
        request.id or None,
        inputs,
        _requested(request, model) if request.outputs else model.output_names,
        _NONE,
        rows_of(inputs, model),
        _deadline(request.parameters["timeout"]) if "timeout" in request.parameters else None,
    )


def text_in_pieces(request: InferRequest, results: Mapping[str, Tensor]) -> Generator[None, None, dict[str, bytes]]:
    """The raw contents of outputs with much text, for `encode_message`."""
    written = {}
    for output in request.outputs:
        if is_much_text(results[output]):
            written[output] = yield from text_to_binary(results[output])
    return written


def is_much_text(tensor: Tensor) -> bool:
    """Whether it takes long to write."""
    return tensor.dtype.kind == "O" and tensor.nbytes >= LARGE


def encode_message(
    name: str,
    version: str,
    request: InferRequest,
    results: dict[str, Tensor],
    model: Signature,
    *,
    unsure: bool = False,
    written: Mapping[str, bytes] = _NOTHING_WRITTEN,
) -> Any:
    """A ModelInferResponse with raw contents; `unsure` marks it as low_confidence, `written` are raw contents."""
    response = _Response(model_name=name, model_version=version)
    if unsure:
        response.parameters["low_confidence"].bool_param = True
    if request.id:
        response.id = request.id
    for output in request.outputs:
        tensor, datatype = results[output], model.output_by_name[output].datatype
        response.outputs.add(name=output, datatype=datatype.name, shape=tensor.shape)
        response.raw_output_contents.append(written[output] if output in written else to_binary(tensor, datatype))
    return response


def _deadline(timeout: Any) -> float | None:
    which = timeout.WhichOneof("choice")
    return deadline_of(getattr(timeout, which) if which else None)


def _requested(request: Any, model: Signature) -> tuple[str, ...]:
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


def _typed(contents: Any, spec: TensorSpec, shape: tuple[int, ...], deferred: Deferred | None) -> Tensor:
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
    text = datatype.kind == "O"
    if deferred is None or (count <= _PIECE and not text):
        return _converted(values, spec, 0, count).reshape(shape)

    def fill(tensor: Tensor) -> Generator[int, None, None]:
        step = _PIECE // 16 if text else _PIECE  # texts may be long
        for at in range(0, count, step):
            piece = tensor[at : at + step] = _converted(values, spec, at, at + step)
            yield sum(map(sys.getsizeof, piece)) if text else 0

    return deferred.tensor(count, datatype.dtype, fill).reshape(shape)


def _converted(values: Sequence[Any], spec: TensorSpec, start: int, end: int) -> Tensor:
    """Some of the values as the model takes them."""
    piece = values[start:end]
    if spec.datatype.kind == "O":
        return np.array([text_of(value, spec.name, start + i) for i, value in enumerate(piece)], object)
    return converted(list(piece), spec.name, spec.datatype, strict=False)
