# mypy: ignore-errors
"""What one writes who serves a model with FastAPI: runs in its own environment, under uvicorn with one worker.

JSON in the form of the Open Inference Protocol, checked by pydantic; tensors of numbers also as bare bytes.
"""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel

_DTYPES = {"FP32": np.float32, "BYTES": object}

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
row_shape = [dim if isinstance(dim, int) else -1 for dim in session.get_inputs()[0].shape]
app = FastAPI(title="bench")


class Tensor(BaseModel):
    """An input or output in the protocol's form."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float] | list[str]


class Infer(BaseModel):
    """A request in the protocol's form."""

    inputs: list[Tensor]


class Answer(BaseModel):
    """An answer in the protocol's form."""

    model_name: str
    outputs: list[Tensor]


@app.get("/v2/health/ready")
async def ready() -> dict[str, bool]:
    """The model is loaded before the application is."""
    return {"ready": True}


@app.post("/v2/models/bench/infer")
async def infer(request: Infer) -> Answer:
    """JSON both ways."""
    if any(tensor.datatype not in _DTYPES for tensor in request.inputs):
        raise HTTPException(400, "unknown datatype")
    given = {
        tensor.name: np.array(tensor.data, _DTYPES[tensor.datatype]).reshape(tensor.shape) for tensor in request.inputs
    }
    (answer,) = session.run(["y"], given)
    output = Tensor(name="y", datatype="FP32", shape=list(answer.shape), data=answer.ravel().tolist())
    return Answer(model_name="bench", outputs=[output])


@app.post("/raw")
async def raw(request: Request) -> Response:
    """Bare little-endian floats both ways."""
    (answer,) = session.run(["y"], {"x": np.frombuffer(await request.body(), "<f4").reshape(row_shape)})
    return Response(answer.tobytes(), media_type="application/octet-stream")
