# mypy: ignore-errors
"""A custom predictor for KServe's Python server, as its documentation tells to write one."""

import os

import numpy as np
import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid


class OnnxModel(Model):
    """One session in each worker process."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def __reduce__(self):
        """Each worker process gets a copy; sessions can't be copied, so it makes its own."""
        return OnnxModel, (self.name,)

    def load(self) -> bool:
        """Called once in each process."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        model = os.environ["BENCH_MODEL"]
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.ready = True
        return True

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        """Decode, run, encode; binary where the request was."""
        given = {tensor.name: _decoded(tensor) for tensor in payload.inputs}
        (answer,) = self._session.run(["y"], given)
        output = InferOutput("y", list(answer.shape), "FP32")
        output.set_data_from_numpy(answer, binary_data=payload.use_binary_outputs)
        return InferResponse(
            payload.id or generate_uuid(), self.name, [output], use_binary_outputs=payload.use_binary_outputs
        )


def _decoded(tensor):
    values = tensor.as_numpy()
    if tensor.datatype != "BYTES":
        return values
    said = [value.decode() if isinstance(value, bytes) else value for value in values.ravel()]
    return np.array(said, object).reshape(values.shape)


if __name__ == "__main__":
    ModelServer().start([OnnxModel("bench")])
