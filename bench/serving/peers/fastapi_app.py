# mypy: ignore-errors
"""What one writes who serves a model with FastAPI: runs in its own environment, under uvicorn with one worker.

JSON in the form of the Open Inference Protocol, checked by pydantic; tensors of numbers also as bare bytes.
"""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
row_shape = [dim if isinstance(dim, int) else -1 for dim in given.shape]
dtype, value = (object, str) if given.type == "tensor(string)" else (np.float32, float)
app = FastAPI(title="bench")


class Input(BaseModel):
    """A tensor in the protocol's form."""

    name: str
    shape: list[int]
    datatype: str
    data: list[value]


class Output(BaseModel):
    """The same, with probabilities."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Infer(BaseModel):
    """A request in the protocol's form."""

    inputs: list[Input]


class Answer(BaseModel):
    """An answer in the protocol's form."""

    model_name: str
    outputs: list[Output]


@app.get("/v2/health/ready")
async def ready() -> dict[str, bool]:
    """The model is loaded before the application is."""
    return {"ready": True}


@app.post("/v2/models/bench/infer")
async def infer(request: Infer) -> Answer:
    """JSON both ways."""
    tensors = {tensor.name: np.array(tensor.data, dtype).reshape(tensor.shape) for tensor in request.inputs}
    (answer,) = session.run(["y"], tensors)
    output = Output(name="y", datatype="FP32", shape=list(answer.shape), data=answer.ravel().tolist())
    return Answer(model_name="bench", outputs=[output])


@app.post("/raw")
async def raw(request: Request) -> Response:
    """Bare little-endian floats both ways."""
    (answer,) = session.run(["y"], {"x": np.frombuffer(await request.body(), "<f4").reshape(row_shape)})
    return Response(answer.tobytes(), media_type="application/octet-stream")
