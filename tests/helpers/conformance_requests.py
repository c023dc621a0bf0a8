"""Requests for the table: tensors as JSON, as bytes behind JSON, and as gRPC's messages."""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from conformance_table import VERSION, Call, Rest

DTYPES = {
    "BOOL": np.bool_,
    **{f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}").type for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(["INT8", "INT16", "INT32"], "int_contents"),
    **dict.fromkeys(["UINT8", "UINT16", "UINT32"], "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def tensor(name: str, datatype: str, shape: Any, data: Any, **more: Any) -> dict[str, Any]:
    """A tensor in JSON."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data, **more}


def raw(datatype: str, data: Sequence[Any]) -> bytes:
    """Values as the binary extension has them; BF16 is the upper half of FP32."""
    if datatype == "BYTES":
        texts = [value.encode() if isinstance(value, str) else value for value in data]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if datatype == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in data)
    return np.array(data, DTYPES[datatype]).tobytes()


def unraw(datatype: str, data: bytes) -> list[Any]:
    """The values again."""
    if datatype == "BYTES":
        values, at = [], 0
        while at < len(data):
            (length,) = struct.unpack_from("<I", data, at)
            values.append(data[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return values
    if datatype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data), 2)]
    numbers: list[Any] = np.frombuffer(data, DTYPES[datatype]).tolist()
    return numbers


def encoded(content: Any) -> bytes:
    """As JSON, without a blank."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def post(path: str, content: Any, **headers: str) -> Rest:
    """JSON, or bytes as they are."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Rest("POST", path, content if isinstance(content, bytes) else encoded(content), named)


def infer_at(model: str) -> str:
    """Where a model is asked."""
    return f"/v2/models/{model}/infer"


def infer(model: str, content: Any, **headers: str) -> Rest:
    """An inference over REST."""
    return post(infer_at(model), content, **headers)


def binary(model: str, header: Any, *parts: bytes, length: str | None = None, **headers: str) -> Rest:
    """JSON with bytes behind it; `length` is what is said of the JSON's length, if that is a lie."""
    text = header if isinstance(header, bytes) else encoded(header)
    said = str(len(text)) if length is None else length
    return infer(model, text + b"".join(parts), Inference_Header_Content_Length=said, **headers)


def announced(name: str, datatype: str, shape: Sequence[int], size: int, **more: Any) -> dict[str, Any]:
    """A tensor whose bytes follow the JSON."""
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(shape),
        "parameters": {"binary_data_size": size},
        **more,
    }


def message(
    model: str,
    inputs: Sequence[tuple[str, str, Sequence[int], Any]],
    *,
    outputs: Sequence[str] = (),
    typed: bool = False,
    **more: Any,
) -> Any:
    """A ModelInferRequest; each input is name, datatype, shape and values, or its bytes."""
    request = pb.ModelInferRequest(model_name=model, **more)
    for name, datatype, shape, data in inputs:
        added = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if typed:
            values = [one.encode() if isinstance(one, str) else one for one in data]
            getattr(added.contents, CONTENTS[datatype]).extend(values)
        else:
            request.raw_input_contents.append(data if isinstance(data, bytes) else raw(datatype, data))
    for name in outputs:
        request.outputs.add(name=name)
    return request


def call(model: str, inputs: Sequence[tuple[str, str, Sequence[int], Any]], **more: Any) -> Call:
    """An inference over gRPC."""
    return Call("ModelInfer", message(model, inputs, **more))


X = tensor("X", "FP32", [2, 4], [[1, 2, 3, 4], [5, 6, 7.5, 8]])
AT = tensor("AT", "INT64", [1], [1])
TEXT = tensor("TEXT", "BYTES", [2, 1], ["a", "ü"])


def asked(**changes: Any) -> dict[str, Any]:
    """A good request to the model `mixed`, with whole inputs or other members replaced."""
    inputs = {"X": X, "AT": AT, "TEXT": TEXT}
    members = {key: value for key, value in changes.items() if key not in inputs}
    inputs |= {key: value for key, value in changes.items() if key in inputs}
    return {"inputs": list(inputs.values()), **members}


def mixed(**changes: Any) -> Rest:
    """The same, to be sent."""
    return infer("mixed", asked(**changes))


GRPC_INPUTS = (
    ("X", "FP32", [2, 4], [1, 2, 3, 4, 5, 6, 7.5, 8]),
    ("AT", "INT64", [1], [1]),
    ("TEXT", "BYTES", [2, 1], ["a", "ü"]),
)


def mixed_call(*replaced: tuple[str, str, Sequence[int], Any], **more: Any) -> Call:
    """A good call of the model `mixed`, with whole inputs replaced."""
    changed = {one[0]: one for one in replaced}
    return call("mixed", [changed.get(one[0], one) for one in GRPC_INPUTS], **{"model_version": VERSION, **more})
