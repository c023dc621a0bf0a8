"""Requests as bytes, and what their answers say: JSON, binary tensors over REST, gRPC; and what is not the protocol's.

`servers` says which of these a server takes. `load` sends a request as it is; `answers` sends it once through a real
client and reads the answer.
"""

import json
from dataclasses import dataclass, field

import httpx
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput

from .cases import INPUT, MODEL_NAME, OUTPUT, Array, Case

INFER = f"/v2/models/{MODEL_NAME}/infer"
GRPC_INFER = "/inference.GRPCInferenceService/ModelInfer"
_HEADER_LENGTH = "Inference-Header-Content-Length"
_OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Post:
    """An HTTP request."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})

    def raw(self, address: str) -> bytes:
        """As it goes over the wire."""
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def wrk_script(self, body_file: str) -> str:
        """The Lua by which wrk sends it, and prints what it counted as one line of JSON."""
        headers = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(it)}" for name, it in self.headers.items())
        return f'wrk.method = "POST"\nwrk.path = {json.dumps(self.path)}\n{headers}\n' + (
            f'local file = io.open({json.dumps(body_file)}, "rb")\nwrk.body = file:read("*a")\nfile:close()\n{_DONE}'
        )


_DONE = """
function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %f, "p50_us": %d, "p99_us": %d, "max_us": %d, "failures": {'
    .. '"status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}}',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
"""


def protocol_json(case: Case) -> Post:
    """Open Inference Protocol, flat data."""
    given = case.input
    tensor = {"name": INPUT, "shape": list(given.shape), "datatype": case.datatype, "data": _plain(given.ravel())}
    return Post(INFER, json.dumps({"inputs": [tensor]}).encode())


def protocol_binary(case: Case) -> Post:
    """The same with binary tensors both ways, as tritonclient writes it."""
    body, json_size = InferenceServerClient.generate_request_body([_infer_input(case)])
    return Post(INFER, body, _OCTETS | {_HEADER_LENGTH: str(json_size)})


def grpc_frame(case: Case) -> bytes:
    """A ModelInfer request with raw contents and gRPC's prefix."""
    from tritonclient.grpc import service_pb2

    (raw,) = (tensor._get_binary_data() for tensor in [_infer_input(case)])
    request = service_pb2.ModelInferRequest(model_name=MODEL_NAME, raw_input_contents=[raw])
    request.inputs.add(name=INPUT, datatype=case.datatype, shape=case.shape)
    message: bytes = request.SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


def nested_json(case: Case) -> Post:
    """BentoML's form: arguments by name, nested lists."""
    return Post("/predict", json.dumps({INPUT: _plain(case.input)}).encode())


def bare_bytes(case: Case) -> Post:
    """Nothing but the numbers, for a route that was written for it."""
    return Post("/raw", case.input.tobytes(), _OCTETS)


def read_protocol(answer: httpx.Response) -> Array:
    """The output, JSON or binary, as tritonclient reads it."""
    size = answer.headers.get(_HEADER_LENGTH)
    result = InferenceServerClient.parse_response_body(answer.content, header_length=int(size) if size else None)
    return np.asarray(result.as_numpy(OUTPUT))


def read_nested(answer: httpx.Response) -> Array:
    """BentoML's answer."""
    return np.array(answer.json(), np.float32)


def read_bare(answer: httpx.Response) -> Array:
    """Nothing but the numbers."""
    return np.frombuffer(answer.content, "<f4")


def wire_array(case: Case) -> Array:
    """The input as tritonclient takes it: text as bytes."""
    given = case.input
    return np.char.encode(given.astype(str)).astype(object) if case.datatype == "BYTES" else given


def _infer_input(case: Case) -> InferInput:
    tensor = InferInput(INPUT, list(case.shape), case.datatype)
    tensor.set_data_from_numpy(wire_array(case), binary_data=True)
    return tensor


def _plain(values: Array) -> list[object]:
    # float32 as the shortest decimals that are it, which is what was rounded.
    decimals = values if values.dtype == object else np.round(values.astype(np.float64), 4)
    plain: list[object] = decimals.tolist()
    return plain
