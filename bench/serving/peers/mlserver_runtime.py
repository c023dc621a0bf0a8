# mypy: ignore-errors
"""A custom runtime for MLServer, as its documentation tells to write one: it has none for ONNX."""

import os

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxRuntime(MLModel):
    """One session, called on the event loop: the model takes microseconds."""

    async def load(self) -> bool:
        """Called once at the start."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        model = os.environ["BENCH_MODEL"]
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Decode, run, encode."""
        given = {tensor.name: self._decoded(tensor) for tensor in payload.inputs}
        (answer,) = self._session.run(["y"], given)
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output("y", answer)],
        )

    def _decoded(self, tensor):
        if tensor.datatype == "BYTES":
            return np.array(StringCodec.decode_input(tensor), object).reshape(tensor.shape)
        return NumpyCodec.decode_input(tensor)
