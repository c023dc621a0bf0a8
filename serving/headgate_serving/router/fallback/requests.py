"""What of a request a static answer has to fit: its id, its rows, and the outputs that it wants. Not its tensors.

`rest` and `grpc` read it; whatever is none of the protocol's requests is `Malformed`.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from headgate_serving.codec.compression import decompressed
from headgate_serving.codec.oip_messages import MESSAGES
from headgate_serving.errors import RequestError

_Request = MESSAGES["inference.ModelInferRequest"]


class Malformed(Exception):
    """The request is invalid: no fallback can answer it."""


@dataclass(frozen=True, slots=True)
class StaticRequest:
    """`rows` is the length of the first axis of the first input; of `outputs` none means all, as in the protocol."""

    model: str
    id: str = ""
    rows: int = 1
    outputs: tuple[str, ...] = ()
    binary: frozenset[str] = frozenset()
    all_binary: bool = False


def of_rest(model: str, body: bytes, header_length: str | None, encoding: str, most: int) -> StaticRequest:
    """A request over REST. `most` bytes is what a compressed body may become."""
    try:
        body = decompressed(body, encoding, most)
    except RequestError as error:
        raise Malformed(str(error)) from error
    if header_length == "0":
        return StaticRequest(model, all_binary=True)  # a tensor's bytes, and nothing that says how many rows they are
    length = len(body)
    if header_length is not None:
        length = int(header_length) if header_length.isdecimal() and len(header_length) < 18 else -1
        if not 0 < length <= len(body):
            raise Malformed("Inference-Header-Content-Length is not the length of the JSON at the body's beginning")
    try:
        request = orjson.loads(body[:length])
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the request is no valid JSON: {error}") from error
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise Malformed("the request has to be a JSON object with a list 'inputs'")
    id_, parameters, outputs = request.get("id", ""), request.get("parameters") or {}, request.get("outputs") or []
    if not isinstance(id_, str) or not isinstance(parameters, dict) or not _named(outputs):
        raise Malformed("'id', 'parameters' or 'outputs' is not what the protocol has there")
    everything = parameters.get("binary_data_output") is True
    wanted = {output["name"]: _binary(output.get("parameters"), everything) for output in outputs}
    shapes = [each.get("shape") if isinstance(each, dict) else None for each in request["inputs"]]
    return StaticRequest(
        model,
        id_,
        _rows(shapes, len(body)),
        tuple(wanted),
        frozenset(name for name, binary in wanted.items() if binary),
        everything,
    )


def of_grpc(message: bytes) -> Any:
    """A ModelInferRequest."""
    try:
        return _Request.FromString(message)
    except Exception as error:  # protobuf's DecodeError, or what its C code raises instead
        raise Malformed(f"the message is no ModelInferRequest: {error}") from error


def of_message(model: str, request: Any, size: int) -> StaticRequest:
    """The same of a ModelInferRequest of `size` bytes that asks for `model`."""
    rows = _rows([list(each.shape) for each in request.inputs], size)
    return StaticRequest(model, request.id, rows, tuple(each.name for each in request.outputs))


def _rows(shapes: list[Any], most: int) -> int:
    """Rows take a byte each at least, so of a request of `most` bytes no more can be asked for."""
    if not shapes or shapes[0] == []:
        return 1
    shape = shapes[0]
    rows = shape[0] if isinstance(shape, list) else None
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= most:
        raise Malformed(f"the first input's shape is {str(shape)[:80]}, which is none that the request can have")
    return rows


def _named(outputs: object) -> bool:
    return isinstance(outputs, list) and all(
        isinstance(output, dict)
        and isinstance(output.get("name"), str)
        and isinstance(output.get("parameters") or {}, dict)
        for output in outputs
    )


def _binary(parameters: dict[str, Any] | None, otherwise: bool) -> bool:
    return bool((parameters or {}).get("binary_data", otherwise))
