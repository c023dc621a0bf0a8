"""What a model answered: bytes of either protocol → outputs. Called for both answers of a pair.

Answers in JSON, JSON with binary tensors behind it, and messages of gRPC; compressed or not.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from headgate_serving.errors import RequestError
from headgate_serving.router.config.shadowing import MAX_BODY
from headgate_serving.router.shadow.exchange import Message
from headgate_serving.server.compression import decompressed
from headgate_serving.server.datatypes import BF16, BY_NAME, BYTES, widened
from headgate_serving.server.messages import MESSAGES

_PREFIX = 5
"""Bytes before each message of gRPC: whether it is compressed, and its length."""

_LENGTH = 4
_CONTENTS = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
_Response = MESSAGES["inference.ModelInferResponse"]


class Output(NamedTuple):
    """One tensor: `values` are flat; text as bytes in an array of objects."""

    shape: tuple[int, ...]
    values: NDArray[Any]

    @property
    def is_float(self) -> bool:
        """Whether a small difference may be none."""
        return self.values.dtype.kind == "f"


Outputs = Mapping[str, Output]


class Unreadable(Exception):
    """It is no answer of the protocol, or one in a form that is not understood."""


def outputs_of(answer: Message, *, is_grpc: bool) -> Outputs:
    """The outputs by name. Unreadable."""
    try:
        return _of_message(grpc_message(answer)) if is_grpc else _of_rest(rest_body(answer), answer)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise Unreadable(f"no answer of the protocol: {error!r}") from error


def rest_body(message: Message) -> bytes:
    """The body as it was before it was compressed."""
    return _plain(message.body, message.header("content-encoding"))


def grpc_message(message: Message) -> bytes:
    """The only message of a request or an answer of gRPC."""
    body = message.body
    if len(body) < _PREFIX or int.from_bytes(body[1:_PREFIX]) != len(body) - _PREFIX:
        raise Unreadable(f"{len(body)} bytes are not one message of gRPC")
    return _plain(body[_PREFIX:], message.header("grpc-encoding") if body[0] else "")


def _plain(body: bytes, encoding: str) -> bytes:
    try:
        return decompressed(body, encoding, MAX_BODY)
    except RequestError as error:
        raise Unreadable(str(error)) from error


def _of_rest(body: bytes, answer: Message) -> Outputs:
    length = answer.header("inference-header-content-length")
    end = int(length) if length else len(body)
    found, offset = dict[str, Output](), end
    for described in orjson.loads(body[:end])["outputs"]:
        size = (described.get("parameters") or {}).get("binary_data_size")
        shape, datatype = tuple(described["shape"]), described["datatype"]
        if size is None:
            values = _listed(described["data"], datatype)
        else:
            values = _raw(body[offset : offset + size], datatype)
            offset += size
        found[described["name"]] = _output(shape, values)
    return found


def _of_message(text: bytes) -> Outputs:
    try:
        response = _Response.FromString(text)
    except Exception as error:
        raise Unreadable(f"no ModelInferResponse: {error}") from error
    raw = response.raw_output_contents
    found = dict[str, Output]()
    for at, output in enumerate(response.outputs):
        values = _raw(raw[at], output.datatype) if raw else _typed(output)
        found[output.name] = _output(tuple(output.shape), values)
    return found


def _typed(output: Any) -> NDArray[Any]:
    given = (getattr(output.contents, f"{kind}_contents") for kind in _CONTENTS)
    return _listed(list(next((values for values in given if values), [])), output.datatype)


def _output(shape: tuple[int, ...], values: NDArray[Any]) -> Output:
    if math.prod(shape) != values.size:
        raise Unreadable(f"shape {list(shape)} with {values.size} values")
    return Output(shape, values)


def _listed(data: list[Any], name: str) -> NDArray[Any]:
    """Values as JSON or gRPC list them; null is NaN."""
    datatype = BY_NAME[name]
    if datatype is BYTES:
        flat = np.array(data, object).reshape(-1)
        return np.array([each.encode() if isinstance(each, str) else each for each in flat], object)
    if datatype.kind == "f":
        return np.array(data, np.float64).reshape(-1)
    return np.array(data, datatype.dtype).reshape(-1)


def _raw(raw: bytes, name: str) -> NDArray[Any]:
    datatype = BY_NAME[name]
    if datatype is BYTES:
        return np.array(_texts(raw), object)
    if datatype is BF16:
        return widened(np.frombuffer(raw, np.uint16))
    return np.frombuffer(raw, datatype.dtype)


def _texts(raw: bytes) -> list[bytes]:
    found, offset = list[bytes](), 0
    while offset < len(raw):
        start = offset + _LENGTH
        offset = start + int.from_bytes(raw[offset:start], "little")
        if offset > len(raw):
            raise Unreadable("a text is cut off")
        found.append(raw[start:offset])
    return found
