# mypy: ignore-errors
"""The smallest server on granian, whose HTTP is written in Rust: runs in its own environment, with one worker.

JSON in the form of the Open Inference Protocol by orjson; tensors of numbers also as bare bytes. It checks nothing that
does not fail by itself: what a request costs here is the least that a server in Python can cost on that HTTP.
"""

import os

import numpy as np
import onnxruntime as ort
import orjson

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
row_shape = [dim if isinstance(dim, int) else -1 for dim in given.shape]
dtype = object if given.type == "tensor(string)" else np.float32
JSON = [("content-type", "application/json")]
OCTETS = [("content-type", "application/octet-stream")]


async def app(scope, protocol):
    """By RSGI, granian's own interface, which it says is its fastest."""
    if scope.path == "/v2/models/bench/infer":
        protocol.response_bytes(200, JSON, infer(await protocol()))
    elif scope.path == "/raw":
        (answer,) = session.run(["y"], {"x": np.frombuffer(await protocol(), "<f4").reshape(row_shape)})
        protocol.response_bytes(200, OCTETS, answer.tobytes())
    else:
        protocol.response_bytes(200 if scope.path == "/v2/health/ready" else 404, JSON, b'{"ready":true}')


def infer(body):
    """JSON both ways."""
    tensors = {
        tensor["name"]: np.array(tensor["data"], dtype).reshape(tensor["shape"])
        for tensor in orjson.loads(body)["inputs"]
    }
    (answer,) = session.run(["y"], tensors)
    output = {"name": "y", "shape": answer.shape, "datatype": "FP32", "data": answer.ravel()}
    return orjson.dumps({"model_name": "bench", "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
