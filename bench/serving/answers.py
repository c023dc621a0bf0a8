"""Is the answer right? Asked once of every server in every form, with a real client, before anything is timed."""

import httpx
import numpy as np
from tritonclient.utils import InferenceServerException

from .cases import INPUT, MODEL_NAME, OUTPUT, Array, Case
from .messages import wire_array
from .process import ServerFailed
from .servers import Server


def check(server: Server, transport: str, case: Case, addresses: tuple[str, str], expected: Array) -> None:
    """ServerFailed unless the server answers what ONNX Runtime itself does. Addresses of HTTP and of gRPC."""
    http_address, grpc_address = addresses
    found = (
        _over_grpc(server, case, grpc_address)
        if transport == "grpc"
        else _over_http(server, transport, case, http_address)
    )
    if found.size != expected.size or not np.allclose(found.ravel(), expected.ravel(), rtol=1e-4, atol=1e-6):
        raise ServerFailed(f"{server.label} answers {case.name} ({transport}) with {found}, and {expected} is right")


def _over_http(server: Server, transport: str, case: Case, address: str) -> Array:
    way = server.ways[transport]
    post = way.ask(case)
    url = f"http://{address}{post.path}"
    answer = httpx.post(url, content=post.body, headers=post.headers, timeout=30, trust_env=False)
    if answer.status_code != 200:
        raise ServerFailed(
            f"{server.label} answers {case.name} ({transport}): {answer.status_code} {answer.text[:300]}"
        )
    return way.read(answer)


def _over_grpc(server: Server, case: Case, address: str) -> Array:
    from tritonclient import grpc

    tensor = grpc.InferInput(INPUT, list(case.shape), case.datatype)
    tensor.set_data_from_numpy(wire_array(case))
    try:
        with grpc.InferenceServerClient(address) as client:
            return np.asarray(client.infer(MODEL_NAME, [tensor], client_timeout=30).as_numpy(OUTPUT))
    except InferenceServerException as error:
        raise ServerFailed(f"{server.label} answers {case.name} (grpc): {error}") from error
