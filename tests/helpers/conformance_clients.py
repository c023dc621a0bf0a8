"""Sends what the table asks, and puts what comes back into the table's form."""

from typing import Any

import grpc
import httpx
import orjson
from google.protobuf import json_format
from tritonclient.grpc import service_pb2_grpc

from conformance_requests import unraw
from conformance_table import Call, Case, Rest
from patience import PATIENCE

TIMEOUT = PATIENCE
_COMPRESSION = {"": None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}


class Clients:
    """One server's two ports."""

    def __init__(self, http_address: str, grpc_address: str) -> None:
        self._http = httpx.Client(
            base_url=f"http://{http_address}", headers={"accept-encoding": "identity"}, timeout=TIMEOUT, trust_env=False
        )
        self._channel = grpc.insecure_channel(grpc_address)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Hang up."""
        self._http.close()
        self._channel.close()

    def send(self, case: Case) -> dict[str, Any]:
        """What the server answers."""
        return self._rest(case.ask) if isinstance(case.ask, Rest) else self._call(case.ask)

    def _rest(self, ask: Rest) -> dict[str, Any]:
        answer = self._http.request(ask.method, ask.path, content=ask.body, headers=dict(ask.headers))
        length = answer.headers.get("inference-header-content-length")
        return {
            "status": answer.status_code,
            "headers": dict(answer.headers),
            "body": _body(answer.content, len(answer.content) if length is None else int(length)),
        }

    def _call(self, ask: Call) -> dict[str, Any]:
        method, compression = getattr(self._stub, ask.method), _COMPRESSION[ask.compression]
        try:
            if isinstance(ask.request, list):
                stream = method(iter(ask.request), timeout=TIMEOUT, compression=compression)
                return {"status": "OK", "body": [_streamed(one) for one in stream]}
            return {"status": "OK", "body": _told(method(ask.request, timeout=TIMEOUT, compression=compression))}
        except grpc.RpcError as error:
            return {"status": error.code().name, "body": {"error": error.details()}}


def _body(content: bytes, length: int) -> Any:
    """JSON with the values of binary tensors put in; bytes as they are where it is no JSON."""
    try:
        said = orjson.loads(content[:length])
    except orjson.JSONDecodeError:
        return content
    if isinstance(said, dict):
        for tensor in said.get("outputs", []):
            if size := tensor.get("parameters", {}).get("binary_data_size"):
                tensor["data"] = unraw(tensor["datatype"], content[length : length + size])
                length += size
    return said


def _streamed(message: Any) -> Any:
    if message.error_message:
        return {"error": message.error_message, "id": message.infer_response.id}
    return _told(message.infer_response)


def _told(message: Any) -> dict[str, Any]:
    """A message as JSON would have it, outputs with their values."""
    said: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    if message.DESCRIPTOR.name == "ModelInferResponse":
        raw = message.raw_output_contents
        said.pop("raw_output_contents", None)
        for tensor, one, data in zip(said.get("outputs", []), message.outputs, raw, strict=True):
            tensor["shape"] = list(one.shape)
            tensor["data"] = unraw(one.datatype, data)
    return said
