# mypy: ignore-errors
"""An ONNX Runtime backend for Triton in Python, for the wheel brings none: `backends/onnxruntime/model.py`.

Runs in Triton's Python stub. An ordinary ONNX configuration works with it unchanged.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One session in each instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Called once for each instance."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        config = json.loads(args["model_config"])
        model = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = [entry["name"] for entry in config["output"]]

    def execute(self, requests):
        """Answer each request of a batch."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        given = {name: _array(pb_utils.get_input_tensor_by_name(request, name)) for name in self._inputs}
        answers = self._session.run(self._outputs, given)
        tensors = [pb_utils.Tensor(name, answer) for name, answer in zip(self._outputs, answers, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _array(tensor):
    values = tensor.as_numpy()
    if values.dtype != object:
        return values
    return np.array([value.decode() for value in values.ravel()], object).reshape(values.shape)
