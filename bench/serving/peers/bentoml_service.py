# mypy: ignore-errors
"""A BentoML service, as its documentation tells to write one."""

import os

import bentoml
import numpy as np
import onnxruntime as ort


@bentoml.service(workers=2, logging={"access": {"enabled": False}})
class Bench:
    """One session in each worker process."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        model = os.environ["BENCH_MODEL"]
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._dtype = object if self._session.get_inputs()[0].type == "tensor(string)" else np.float32

    @bentoml.api
    async def predict(self, x: list) -> list:
        """Nested lists both ways; on the event loop, for a thread costs more than the model."""
        (answer,) = self._session.run(["y"], {"x": np.array(x, self._dtype)})
        return answer.tolist()
