"""The Open Inference Protocol v2 over REST: bytes → tensors, tensors → bytes.

`rest_app.py` calls `decode` and `encode` on the request's path: no schema library, no copy of tensor data that
numpy can avoid. Whatever can be wrong with a request ends in MalformedRequest, whose message names the
tensor, what was expected and what came. The binary tensor extension (Inference-Header-Content-Length) is
understood in both directions.
"""

import math
import time
from collections.abc import Generator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import orjson

from ..errors import MalformedRequest
from .accounting import Deferred, Hold, Texts
from .binary import from_binary, text_to_binary, to_binary
from .conversion import converted, shown
from .datatypes import Datatype
from .large import LARGE, LongArray, parsed, without_long_arrays
from .tensor import Signature, Tensor, TensorSpec

_BESIDE_ZERO = 1 << 20  # without data to be sent, a large dimension beside one of 0 would cost the client nothing
_DIMENSIONS = 32  # of a tensor in any numpy that is supported
_NOTHING = memoryview(b"")
_NONE: frozenset[str] = frozenset()
_NOTHING_WRITTEN: Mapping[str, Any] = {}
_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_VALUES = 16 << 10  # that are written at once


class InferRequest(NamedTuple):
    """A checked request; `rows` is the length of the first axis of the first input.

    `binary` are the outputs to give as bytes, `deadline` is a time of `time.monotonic`.
    """

    id: str | None
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    binary: frozenset[str]
    rows: int
    deadline: float | None = None


class Encoded(NamedTuple):
    """The body of an answer; `header_length` is set where binary tensors follow the JSON."""

    body: bytes
    header_length: int | None


def decode(body: bytes | memoryview, header_length: bytes | None, model: Signature) -> InferRequest:
    """Parse a request and check it against the model."""
    if header_length == b"0":
        return _decode_raw(body, model)
    text, tail = _split(body, header_length)
    header = text if type(text) is bytes else bytes(text)
    return _understood(parsed(header), tail, model, strict=b"true" in header or b"false" in header)


def takes_long(header_length: bytes | None, model: Signature) -> bool:
    """Whether a large body takes long to read: not where most of it is the bytes of tensors, as they are in memory."""
    if header_length is None or not header_length.isdigit() or len(header_length) > 18 or int(header_length) >= LARGE:
        return True
    return any(spec.datatype.converted for spec in model.input_by_name.values())


def decode_in_pieces(
    body: bytes | memoryview, header_length: bytes | None, model: Signature, hold: Hold
) -> Generator[None, None, InferRequest]:
    """The same for a large request, with pauses; Overloaded where `hold` has no room for the tensors."""
    if header_length == b"0":
        deferred = Deferred(hold)
        understood = _decode_raw(body, model, deferred)
        yield from deferred.fill()
        return understood
    text, tail = _split(body, header_length)
    texts = Texts()
    request, arrays = yield from without_long_arrays(memoryview(text), hold, texts)
    deferred = Deferred(hold, texts)
    understood = _understood(request, tail, model, strict=True, deferred=deferred)
    for array in arrays:
        yield from array.fill()
    yield from deferred.fill()
    return understood


def _understood(
    request: Any, tail: memoryview, model: Signature, *, strict: bool, deferred: Deferred | None = None
) -> InferRequest:
    if type(request) is not dict or type(request.get("inputs")) is not list:
        raise MalformedRequest("json", "the request has to be a JSON object with a list 'inputs'")
    request_id = request.get("id")
    if request_id is not None and type(request_id) is not str:
        raise MalformedRequest("json", "'id' has to be a string")
    parameters = request.get("parameters")
    if parameters is not None and type(parameters) is not dict:
        raise MalformedRequest("json", "'parameters' has to be an object")
    inputs = _inputs(request["inputs"], tail, model, strict, deferred)
    names, binary = _requested(request, bool(parameters and parameters.get("binary_data_output")), model)
    deadline = deadline_of(parameters["timeout"]) if parameters and "timeout" in parameters else None
    return InferRequest(request_id, inputs, names, binary, rows_of(inputs, model), deadline)


def deadline_of(timeout: Any) -> float | None:
    """The time until which a client waits that gave this `timeout` in microseconds; 0 is no limit."""
    if type(timeout) is not int or timeout < 0:
        raise MalformedRequest("json", f"parameter 'timeout' has to be whole microseconds, got {shown(timeout)}")
    return time.monotonic() + timeout / 1e6 if timeout else None


def rows_of(inputs: dict[str, Tensor], model: Signature) -> int:
    """The length of the first axis of the first input."""
    if not model.inputs:
        return 1
    first = inputs[model.inputs[0].name]
    return first.shape[0] if first.ndim else 1


def encode(
    name: str,
    version: str | None,
    request: InferRequest,
    results: dict[str, Tensor],
    specs: dict[str, TensorSpec],
    parameters: dict[str, Any] | None = None,
    written: Mapping[str, Any] = _NOTHING_WRITTEN,
) -> Encoded:
    """JSON, then the tensors that were asked for in binary. In JSON, NaN and infinity are null."""
    outputs, parts = [], []
    for output in request.outputs:
        tensor, datatype = results[output], specs[output].datatype
        described: dict[str, Any] = {"name": output, "datatype": datatype.name, "shape": tensor.shape}
        if output in request.binary:
            part = written[output] if output in written else to_binary(tensor, datatype)
            described["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        elif output in written:
            described["data"] = written[output]
        else:
            described["data"] = tensor.reshape(-1).tolist() if datatype.kind == "O" else tensor.reshape(-1)
        outputs.append(described)
    answer: dict[str, Any] = {"model_name": name, "outputs": outputs}
    if version is not None:
        answer["model_version"] = version
    if request.id is not None:
        answer["id"] = request.id
    if parameters:
        answer["parameters"] = parameters
    header = orjson.dumps(answer, option=_NUMPY)
    return Encoded(b"".join([header, *parts]), len(header)) if parts else Encoded(header, None)


def encode_in_pieces(
    name: str,
    version: str | None,
    request: InferRequest,
    results: dict[str, Tensor],
    specs: dict[str, TensorSpec],
    parameters: dict[str, Any] | None = None,
) -> Generator[None, None, Encoded]:
    """The same for a large answer, with pauses."""
    written: dict[str, Any] = {}
    for output in request.outputs:
        tensor, datatype = results[output], specs[output].datatype
        if tensor.nbytes < LARGE:
            continue
        if output not in request.binary:
            written[output] = yield from _written(tensor, datatype)
        elif datatype.kind == "O":
            written[output] = yield from text_to_binary(tensor)
    return encode(name, version, request, results, specs, parameters, written)


def _written(tensor: Tensor, datatype: Datatype) -> Generator[None, None, orjson.Fragment]:
    flat, parts = tensor.reshape(-1), []
    for at in range(0, len(flat), _VALUES):
        part = flat[at : at + _VALUES]
        parts.append(orjson.dumps(part.tolist() if datatype.kind == "O" else part, option=_NUMPY)[1:-1])
        yield
    return orjson.Fragment(b"[%b]" % b",".join(parts))


def _split(body: bytes | memoryview, header_length: bytes | None) -> tuple[bytes | memoryview, memoryview]:
    """The JSON, and the bytes behind it."""
    if header_length is None:
        return body, _NOTHING
    if not header_length.isdigit() or len(header_length) > 18 or not 0 < int(header_length) <= len(body):
        raise MalformedRequest(
            "binary",
            f"Inference-Header-Content-Length is {shown(header_length.decode('latin-1'))}, expected the length of "
            f"the JSON at the start of a body of {len(body)} bytes",
        )
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def _decode_raw(body: bytes | memoryview, model: Signature, deferred: Deferred | None = None) -> InferRequest:
    """A body without JSON: the bytes of the only input, whose one free dimension follows from their number."""
    if len(model.inputs) != 1:
        raise MalformedRequest(
            "binary",
            f"Inference-Header-Content-Length is 0, but the model has {len(model.inputs)} inputs "
            f"({names_of(model.inputs)}); a raw body is for a model with one",
        )
    spec = model.inputs[0]
    free, fixed = spec.assumed.count(-1), math.prod(dim for dim in spec.assumed if dim >= 0)
    text = spec.datatype.kind == "O"
    count = 1 if text else len(body) // spec.datatype.size
    if count % fixed if free == 1 and fixed else free or count != fixed:
        raise MalformedRequest(
            "shape",
            f"input {spec.name!r}: {len(body)} raw bytes do not say which shape they have in {shape_of(spec)}",
        )
    shape = tuple(count // fixed if dim < 0 else dim for dim in spec.assumed)
    raw = b"".join([len(body).to_bytes(4, "little"), body]) if text else body
    inputs = {spec.name: from_binary(memoryview(raw), len(raw), spec, shape, deferred)}
    return InferRequest(None, inputs, model.output_names, frozenset(model.output_names), rows_of(inputs, model))


def _inputs(
    given: list[Any], tail: memoryview, model: Signature, strict: bool, deferred: Deferred | None
) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    offset = 0
    for item in given:
        if type(item) is not dict or type(item.get("name")) is not str:
            raise MalformedRequest("json", "every input has to be an object with a string 'name'")
        spec = spec_of(item["name"], item.get("datatype"), model)
        if spec.name in inputs:
            raise MalformedRequest("tensor", f"input {spec.name!r} is there twice")
        shape = checked_shape(item.get("shape"), spec)
        size = _binary_size(item, spec)
        if size is None:
            inputs[spec.name] = _from_json(item.get("data"), spec, shape, strict)
            continue
        if "data" in item:
            raise MalformedRequest("binary", f"input {spec.name!r} has both 'data' and 'binary_data_size'")
        inputs[spec.name] = from_binary(tail[offset : offset + size], size, spec, shape, deferred)
        offset += size
    if offset != len(tail):
        raise MalformedRequest("binary", f"{len(tail)} bytes follow the JSON, the inputs take {offset}")
    check_all_there(inputs, model)
    return inputs


def check_all_there(inputs: dict[str, Tensor], model: Signature) -> None:
    """MalformedRequest if an input is missing that has no value of its own."""
    if len(inputs) == len(model.inputs) and not model.optional:
        return
    missing = next((spec.name for spec in model.inputs if spec.name not in inputs), None)
    if missing is not None:
        raise MalformedRequest("tensor", f"input {missing!r} is missing; the model needs {names_of(model.inputs)}")


def spec_of(name: str, datatype: Any, model: Signature) -> TensorSpec:
    """The input of that name, if it has that datatype."""
    spec = model.input_by_name.get(name)
    if spec is None:
        there = names_of((*model.inputs, *model.optional))
        raise MalformedRequest("tensor", f"the model has no input {shown(name)}; it has {there}")
    if datatype != spec.datatype.name:
        raise MalformedRequest(
            "datatype", f"input {spec.name!r}: expected datatype {spec.datatype.name}, got {shown(datatype)}"
        )
    return spec


def checked_shape(shape: Any, spec: TensorSpec) -> tuple[int, ...]:
    """The shape, if the input can have it."""
    declared = spec.shape
    if declared is None:  # then it is as long as the request's
        declared = (-1,) * (min(len(shape), _DIMENSIONS) if type(shape) is list else 0)
    fits = type(shape) is list and len(shape) == len(declared)
    for want, dim in zip(declared, shape if fits else (), strict=False):
        if type(dim) is not int or dim < 0 or want not in (-1, dim):
            fits = False
    if not fits:
        raise MalformedRequest("shape", f"input {spec.name!r}: expected {shape_of(spec)}, got {shown(shape)}")
    if 0 in shape and math.prod(dim for dim in shape if dim) > _BESIDE_ZERO:
        raise MalformedRequest(
            "shape",
            f"input {spec.name!r}: the other dimensions of an empty tensor make at most {_BESIDE_ZERO}, "
            f"got {shown(shape)}",
        )
    return tuple(shape)


def _binary_size(item: dict[str, Any], spec: TensorSpec) -> int | None:
    parameters = item.get("parameters")
    if parameters is None:
        return None
    if type(parameters) is not dict:
        raise MalformedRequest("json", f"input {spec.name!r}: 'parameters' has to be an object")
    if "shared_memory_region" in parameters:
        raise MalformedRequest("binary", f"input {spec.name!r}: shared memory is not supported")
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise MalformedRequest("binary", f"input {spec.name!r}: binary_data_size is {shown(size)}")
    return size


def _from_json(data: Any, spec: TensorSpec, shape: tuple[int, ...], strict: bool) -> Tensor:
    """Nested or flat data as a tensor; `strict` where the request holds a boolean."""
    if type(data) is LongArray:
        if 0 not in shape:
            return data.tensor(spec, shape)
        data = data.without_values()
    if type(data) is not list:
        raise MalformedRequest("data", f"input {spec.name!r}: 'data' has to be a list, got {shown(data)}")
    if data and type(data[0]) is list:
        data = _flattened(data, spec.name, shape)
    count = math.prod(shape)
    if len(data) != count:
        raise MalformedRequest(
            "shape", f"input {spec.name!r}: shape {list(shape)} needs {count} values, got {len(data)}"
        )
    return converted(data, spec.name, spec.datatype, strict=strict).reshape(shape)


def _flattened(data: list[Any], name: str, shape: tuple[int, ...]) -> list[Any]:
    """The values of nested lists, whose nesting has to be the shape."""
    nesting, level = [len(data)], data
    while level and type(level[0]) is list and len(nesting) <= len(shape):
        if set(map(type, level)) != {list} or len(lengths := set(map(len, level))) != 1:
            raise MalformedRequest("data", f"input {name!r}: the nested lists of 'data' differ in length")
        nesting.append(lengths.pop())
        level = list(chain.from_iterable(level))
    if tuple(nesting) != (shape if level else shape[: len(nesting)]):  # an empty list ends the nesting
        raise MalformedRequest(
            "shape", f"input {name!r}: the shape is {list(shape)}, but 'data' is nested as {nesting}"
        )
    return level


def _requested(
    request: dict[str, Any], everything_binary: bool, model: Signature
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Which outputs to give, and which of them in binary."""
    asked = request.get("outputs")
    if not asked:
        return model.output_names, frozenset(model.output_names) if everything_binary else _NONE
    if type(asked) is not list:
        raise MalformedRequest("json", "'outputs' has to be a list")
    chosen: dict[str, bool] = {}
    for item in asked:
        name = item.get("name") if type(item) is dict else None
        if type(name) is not str or name not in model.output_by_name:
            raise no_output(name, model)
        own = item.get("parameters") or {}
        if type(own) is not dict or "classification" in own or "shared_memory_region" in own:
            raise MalformedRequest("output", f"output {name!r}: classification and shared memory are not supported")
        chosen[name] = bool(own.get("binary_data", everything_binary))
    names = tuple(chosen)
    if names == model.output_names:
        names = model.output_names
    return names, frozenset(name for name, binary in chosen.items() if binary)


def no_output(name: Any, model: Signature) -> MalformedRequest:
    """The error for an output that the model does not have."""
    return MalformedRequest("output", f"the model has no output {shown(name)}; it has {names_of(model.outputs)}")


def shape_of(spec: TensorSpec) -> str:
    """For an error message."""
    if spec.shape is None:
        return f"any shape of at most {_DIMENSIONS} dimensions"
    return f"shape {list(spec.shape)} (-1 stands for any length)"


def names_of(specs: Sequence[TensorSpec]) -> str:
    """For an error message."""
    return ", ".join(repr(spec.name) for spec in specs)
