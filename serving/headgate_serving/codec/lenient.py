"""The tensors of a request or of an answer: bytes of either protocol → arrays.

JSON, JSON with binary tensors behind it, and messages of gRPC; compressed or not. The router's shadow reads both
answers of a pair with it, the monitor beside an engine what went in and what came out.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from headgate_serving.codec.compression import decompressed
from headgate_serving.codec.datatypes import BF16, BY_NAME, BYTES, widened
from headgate_serving.codec.http_message import MAX_BODY, Message
from headgate_serving.codec.oip_messages import MESSAGES
from headgate_serving.errors import RequestError

_PREFIX = 5
"""Bytes before each message of gRPC: whether it is compressed, and its length."""

_LENGTH = 4
_CONTENTS = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
_MESSAGE = {"inputs": MESSAGES["inference.ModelInferRequest"], "outputs": MESSAGES["inference.ModelInferResponse"]}


class Tensor(NamedTuple):
    """`values` are flat; text as bytes in an array of objects."""

    shape: tuple[int, ...]
    values: NDArray[Any]

    @property
    def is_float(self) -> bool:
        """Whether a small difference may be none."""
        return self.values.dtype.kind == "f"


Tensors = Mapping[str, Tensor]


class Unreadable(Exception):
    """It is no message of the protocol, or one in a form that is not understood."""


def inputs_of(request: Message, *, is_grpc: bool) -> Tensors:
    """The inputs by name. Unreadable."""
    return _tensors(request, "inputs", is_grpc=is_grpc)


def outputs_of(answer: Message, *, is_grpc: bool) -> Tensors:
    """The outputs by name. Unreadable."""
    return _tensors(answer, "outputs", is_grpc=is_grpc)


def _tensors(message: Message, which: str, *, is_grpc: bool) -> Tensors:
    try:
        return _of_grpc(grpc_message(message), which) if is_grpc else _of_rest(message, which)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise Unreadable(f"not of the protocol: {error!r}") from error


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


def _of_rest(message: Message, which: str) -> Tensors:
    body = _plain(message.body, message.header("content-encoding"))
    length = message.header("inference-header-content-length")
    end = int(length) if length else len(body)
    found, offset = dict[str, Tensor](), end
    for described in orjson.loads(body[:end])[which]:
        size = (described.get("parameters") or {}).get("binary_data_size")
        shape, datatype = tuple(described["shape"]), described["datatype"]
        if size is None:
            values = _listed(described["data"], datatype)
        else:
            values = _raw(body[offset : offset + size], datatype)
            offset += size
        found[described["name"]] = _tensor(shape, values)
    return found


def _of_grpc(text: bytes, which: str) -> Tensors:
    try:
        message = _MESSAGE[which].FromString(text)
    except Exception as error:
        raise Unreadable(f"no message of gRPC with {which}: {error}") from error
    raw = message.raw_input_contents if which == "inputs" else message.raw_output_contents
    found = dict[str, Tensor]()
    for at, described in enumerate(getattr(message, which)):
        values = _raw(raw[at], described.datatype) if raw else _typed(described)
        found[described.name] = _tensor(tuple(described.shape), values)
    return found


def _typed(described: Any) -> NDArray[Any]:
    given = (getattr(described.contents, f"{kind}_contents") for kind in _CONTENTS)
    return _listed(list(next((values for values in given if values), [])), described.datatype)


def _tensor(shape: tuple[int, ...], values: NDArray[Any]) -> Tensor:
    if math.prod(shape) != values.size:
        raise Unreadable(f"shape {list(shape)} with {values.size} values")
    return Tensor(shape, values)


def _listed(data: list[Any], name: str) -> NDArray[Any]:
    """Values as JSON or gRPC list them; null is NaN."""
    datatype = BY_NAME[name]
    if datatype is BYTES:
        flat = np.array(data, object).reshape(-1)
        return np.array([each.encode() if isinstance(each, str) else each for each in flat], object)
    if datatype.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(data, np.float64).reshape(-1).astype(datatype.dtype)
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
