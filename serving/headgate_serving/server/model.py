"""The model in ONNX Runtime: load it, say what goes in and out, run it.

`process.py` loads it once; `protocol.py` checks requests against its specs; `app.py` runs it. Every way in
which a file can fail to be a model that the protocol can carry ends in ModelInvalid with a message that says
what to do.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..errors import ExecutionFailed, ModelInvalid, OpsetUnsupported
from .datatypes import BY_ONNX, Datatype

Tensor = NDArray[Any]

_ADVICE = {
    "seq(map": "classifiers from skl2onnx need options={'zipmap': False}, so that probabilities are a matrix",
    "seq(": "the protocol carries tensors only; let the graph end in one",
    "map(": "the protocol carries tensors only; let the graph end in one",
    "optional(": "the protocol carries tensors only; make the value required",
    "sparse_tensor(": "convert it to a dense tensor",
    "tensor(bfloat16)": "cast it to float inside of the graph",
}

_TOO_NEW = re.compile(
    r"official support for domain (?P<domain>\S+) is till opset (?P<opset>\d+)|max supported IR version: (?P<ir>\d+)"
)
"""What ONNX Runtime says of models that are newer than itself."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; a free dimension is -1."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def metadata(self) -> dict[str, Any]:
        """As in the protocol's model metadata."""
        return {"name": self.name, "datatype": self.datatype.name, "shape": list(self.shape)}

    def config(self) -> dict[str, Any]:
        """As in Triton's model configuration."""
        data_type = "TYPE_STRING" if self.datatype.kind == "O" else f"TYPE_{self.datatype.name}"
        return {"name": self.name, "data_type": data_type, "dims": list(self.shape)}


class Model:
    """A loaded model. `run` may be called from several threads."""

    def __init__(self, session: Any, load_seconds: float) -> None:
        self._session = session
        self.load_seconds = load_seconds
        self.inputs = tuple(_spec(node, "input") for node in session.get_inputs())
        self.outputs = tuple(_spec(node, "output") for node in session.get_outputs())
        self.output_names = tuple(spec.name for spec in self.outputs)
        self.input_by_name = {spec.name: spec for spec in self.inputs}
        self.output_by_name = {spec.name: spec for spec in self.outputs}

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """The named outputs; ExecutionFailed with ONNX Runtime's own words if it refuses or fails."""
        try:
            results = self._session.run(outputs, inputs)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ExecutionFailed(f"ONNX Runtime could not run the model: {_first_line(error)}") from error
        return dict(zip(outputs, results, strict=True))

    def timed_run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> tuple[dict[str, Tensor], float]:
        """As `run`, and the seconds that it took."""
        started = time.perf_counter()
        return self.run(inputs, outputs), time.perf_counter() - started

    def warm_up(self) -> None:
        """Run once on zeros (free dimensions as 1), so that the first user does not wait for the first allocation."""
        inputs = {spec.name: _zeros(spec) for spec in self.inputs}
        self.run(inputs, self.output_names)


def load_model(path: Path) -> Model:
    """Load the model at `path`, a file or a folder with `model.onnx`."""
    file = find_model(path)
    started = time.perf_counter()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise _not_loaded(file, error) from error
    return Model(session, time.perf_counter() - started)


def _not_loaded(file: Path, error: Exception) -> ModelInvalid:
    """What ONNX Runtime's refusal means: an export that is too new for it, or a file that is wrong."""
    refused = f"ONNX Runtime {ort.__version__} can't load {file}"
    if found := _TOO_NEW.search(str(error)):
        what = f"opset {found['opset']} of {found['domain']}" if found["domain"] else f"ONNX IR version {found['ir']}"
        return OpsetUnsupported(
            f"{refused}: it knows nothing newer than {what}; export the model with that, or use a newer runtime image"
        )
    return ModelInvalid(f"{refused}: {_first_line(error)}. Check the file with onnx.checker.check_model")


def find_model(path: Path) -> Path:
    """The model's file; ModelInvalid if there is none."""
    file = path / "model.onnx" if path.is_dir() else path
    if file.is_file():
        return file
    there = ", ".join(sorted(child.name for child in path.iterdir())[:8]) if path.is_dir() else "nothing"
    raise ModelInvalid(
        f"there is no model at {file} (found: {there or 'nothing'}); an artifact is a folder with model.onnx"
    )


def _spec(node: Any, role: str) -> TensorSpec:
    datatype = BY_ONNX.get(node.type)
    if datatype is None:
        advice = next((text for start, text in _ADVICE.items() if node.type.startswith(start)), "")
        raise ModelInvalid(
            f"{role} {node.name!r} is a {node.type}, which the protocol can't carry" + (f"; {advice}" if advice else "")
        )
    return TensorSpec(node.name, datatype, tuple(dim if isinstance(dim, int) else -1 for dim in node.shape))


def _zeros(spec: TensorSpec) -> Tensor:
    shape = [1 if dim < 0 else dim for dim in spec.shape]
    return np.full(shape, "", object) if spec.datatype.kind == "O" else np.zeros(shape, spec.datatype.dtype)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else type(error).__name__
