"""One request in the three forms of the protocol: JSON, JSON with binary tensors, and gRPC.

Written after the protocol and not with the server's own code, so that a mistake can't cancel out.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import httpx
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from .host import Served

Values = NDArray[Any]
Tensors = Mapping[str, tuple[str, Values]]
"""Datatype and values by name; those of BF16 are float32."""

_LIMIT = 1 << 30
_SECONDS = 300.0
_DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


class Refused(Exception):
    """The server answered with an error; the message begins with its status."""


class Asking:
    """Clients of one server."""

    def __init__(self, served: Served) -> None:
        self._name = served.name
        self._path = f"/v2/models/{served.name}"
        self._http = httpx.Client(base_url=f"http://{served.http}", timeout=_SECONDS, trust_env=False)
        sizes = [(f"grpc.max_{way}_message_length", _LIMIT) for way in ("send", "receive")]
        self._channel = grpc.insecure_channel(served.grpc, options=sizes)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Hang up."""
        self._http.close()
        self._channel.close()

    def metadata(self) -> dict[str, Any]:
        """Of the model."""
        told: dict[str, Any] = self._http.get(self._path).json()
        return told

    def ways(self, tensors: Tensors) -> dict[str, Callable[[Tensors], dict[str, Values]]]:
        """How these tensors can be asked for; JSON has no infinity."""
        finite = not any(values.dtype.kind == "f" and np.isinf(values).any() for _, values in tensors.values())
        return ({"JSON": self.json} if finite else {}) | {"binary": self.binary, "gRPC": self.grpc}

    def json(self, tensors: Tensors) -> dict[str, Values]:
        """Everything as JSON; NaN is null, and in the answer infinity too."""
        items = [{**_described(name, *tensor), "data": _plain(*tensor)} for name, tensor in tensors.items()]
        said = self._post(json.dumps({"inputs": items}).encode(), {})[0]
        return {one["name"]: _from_plain(one) for one in said["outputs"]}

    def binary(self, tensors: Tensors) -> dict[str, Values]:
        """Everything as bytes behind the JSON."""
        parts = [_raw(*tensor) for tensor in tensors.values()]
        items = [
            {**_described(name, *tensor), "parameters": {"binary_data_size": len(part)}}
            for (name, tensor), part in zip(tensors.items(), parts, strict=True)
        ]
        header = json.dumps({"inputs": items, "parameters": {"binary_data_output": True}}).encode()
        sent = {"inference-header-content-length": str(len(header))}
        said, rest = self._post(b"".join([header, *parts]), sent)
        return dict(_unpacked(said["outputs"], rest))

    def grpc(self, tensors: Tensors) -> dict[str, Values]:
        """As raw contents."""
        asked = pb.ModelInferRequest(model_name=self._name)
        for name, tensor in tensors.items():
            asked.inputs.add(**_described(name, *tensor))
            asked.raw_input_contents.append(_raw(*tensor))
        try:
            said = self._stub.ModelInfer(asked, timeout=_SECONDS)
        except grpc.RpcError as error:
            raise Refused(f"{error.code().name}: {error.details()}") from error
        return {
            one.name: _from_raw(one.datatype, list(one.shape), raw)
            for one, raw in zip(said.outputs, said.raw_output_contents, strict=True)
        }

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[dict[str, Any], bytes]:
        answer = self._http.post(f"{self._path}/infer", content=body, headers=headers)
        if answer.status_code != httpx.codes.OK:
            with contextlib.suppress(ValueError, KeyError):
                raise Refused(f"{answer.status_code}: {answer.json()['error']}")
            raise Refused(f"{answer.status_code}: {answer.text[:200]}")
        length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
        return json.loads(answer.content[:length]), answer.content[length:]


def _described(name: str, datatype: str, values: Values) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(values.shape)}


def _plain(datatype: str, values: Values) -> list[Any]:
    flat = values.ravel().tolist()
    if datatype == "BYTES":
        return [one.decode() if isinstance(one, bytes) else str(one) for one in flat]
    return [None if one != one else one for one in flat]  # noqa: PLR0124 - NaN


def _from_plain(tensor: dict[str, Any]) -> Values:
    datatype, data = tensor["datatype"], tensor["data"]
    if datatype == "BYTES":
        return np.array(data, object).reshape(tensor["shape"])
    dtype = np.float32 if datatype == "BF16" else _DTYPES[datatype]
    return np.array([np.nan if one is None else one for one in data], dtype).reshape(tensor["shape"])


def _raw(datatype: str, values: Values) -> bytes:
    if datatype == "BYTES":
        texts = [one if isinstance(one, bytes) else str(one).encode() for one in values.ravel().tolist()]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    if datatype == "BF16":
        return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype(_DTYPES[datatype]).tobytes()


def _from_raw(datatype: str, shape: list[int], raw: bytes) -> Values:
    if datatype == "BYTES":
        return np.array(list(_texts(raw)), object).reshape(shape)
    if datatype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return np.frombuffer(raw, _DTYPES[datatype]).reshape(shape)


def _texts(raw: bytes) -> Iterator[str]:
    at = 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        yield raw[at + 4 : end].decode()
        at = end


def _unpacked(outputs: list[dict[str, Any]], rest: bytes) -> Iterator[tuple[str, Values]]:
    at = 0
    for one in outputs:
        size = one["parameters"]["binary_data_size"]
        yield one["name"], _from_raw(one["datatype"], one["shape"], rest[at : at + size])
        at += size
