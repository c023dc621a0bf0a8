"""The model in ONNX Runtime: load it, say what goes in and out, run it.

`worker.py` loads it once; `rest_codec.py` checks requests against its specs; `runner.py` runs it. Every way in
which a file can fail to be a model that the protocol can carry ends in ModelInvalid with a message that says
what to do.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime as ort

from ..artifact.onnx_graph import Ends, read_ends, without
from ..codec.datatypes import BY_ONNX
from ..codec.tensor import Tensor, TensorSpec
from ..errors import DeviceUnavailable, ExecutionFailed, ModelInvalid, OpsetUnsupported, RunTooLong
from .bfloat16 import from_ort, to_ort

logger = logging.getLogger(__name__)

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_SPINNING = "session.intra_op.allow_spinning"
"""Threads that wait for the next run by asking again and again take cores from others, and use up a limit of CPU."""

_KEPT = "_model_bytes"  # by a session that was made of bytes, for the case that it is made again; ours is not
_UNSAID = Ends()

_ADVICE = {
    "seq(": "the protocol carries tensors only; let the graph end in one",
    "map(": "the protocol carries tensors only; let the graph end in one",
    "optional(": "the protocol carries tensors only; make the value required",
    "sparse_tensor(": "convert it to a dense tensor",
}

_TOO_NEW = re.compile(
    r"official support for domain (?P<domain>\S+) is till opset (?P<opset>\d+)|max supported IR version: (?P<ir>\d+)"
)
"""What ONNX Runtime says of models that are newer than itself."""


class Run:
    """What a thread runs the model with; another thread may look at it, and end the run."""

    __slots__ = ("alone", "options", "started", "terminated")

    def __init__(self) -> None:
        self.alone = False
        """Whether no other run is under way, so that it may have all cores."""
        self.options = ort.RunOptions()
        self.started = 0.0
        """`time.monotonic` of its beginning; 0 when there is none."""
        self.terminated = False

    def overdue(self, seconds: float) -> bool:
        """Whether it takes longer than that by now."""
        started = self.started
        return started > 0 and time.monotonic() - started > seconds

    def terminate(self) -> None:
        """Let ONNX Runtime give up before the next operator."""
        self.terminated = True
        self.options.terminate = True

    def rearm(self) -> None:
        """As new, after it was terminated."""
        self.terminated = False
        self.options.terminate = False


class Model:
    """A loaded model. `run` may be called from several threads."""

    def __init__(self, session: Any, load_seconds: float, device: str = "cpu", ends: Ends = _UNSAID) -> None:
        self._session = session
        self._session_alone = session
        self.device = device
        self.load_seconds = load_seconds
        self.inputs = tuple(_spec(node, "input", ends) for node in session.get_inputs())
        """Those that every request has to give."""
        self.optional = _optional(session.get_overridable_initializers(), ends)
        """Those that have a value without a request. A file of IR version 3 or less has none: it lists all weights."""
        self.outputs = tuple(_spec(node, "output", ends) for node in session.get_outputs())
        self.output_names = tuple(spec.name for spec in self.outputs)
        self.input_by_name = {spec.name: spec for spec in (*self.inputs, *self.optional)}
        self.output_by_name = {spec.name: spec for spec in self.outputs}
        self.classes = {spec.name: tuple(map(str, spec.classes)) for spec in self.outputs if spec.classes}
        self.batches = False
        self.batching = "off: it was not tried whether the model's rows are independent"
        self._half = any(spec.datatype.name == "BF16" for spec in (*self.inputs, *self.optional, *self.outputs))

    def run_alone_on(self, other: "Model") -> None:
        """While a run is the only one, use the session of `other`: the same model, with more threads for each run."""
        self._session_alone = other._session
        self.load_seconds += other.load_seconds

    @property
    def changes_alone(self) -> bool:
        """Whether a run that is the only one has other threads than one among others."""
        return self._session_alone is not self._session

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], run: Run | None = None) -> dict[str, Tensor]:
        """The named outputs; ExecutionFailed with ONNX Runtime's own words if it refuses or fails."""
        run = run or Run()
        if run.terminated:  # too late: what was to be stopped had just ended
            run.rearm()
        run.started = time.monotonic()
        try:
            results = self._compute(inputs, outputs, run)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            if run.terminated:
                seconds = time.monotonic() - run.started
                run.rearm()
                raise RunTooLong(f"the model was still running after {seconds:.1f} s and was stopped") from error
            raise ExecutionFailed(f"ONNX Runtime could not run the model: {_first_line(error)}") from error
        finally:
            run.started = 0.0
        return dict(zip(outputs, results, strict=True))

    def _compute(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], run: Run) -> list[Tensor]:
        session = self._session_alone if run.alone else self._session
        if self._half:
            given = {name: to_ort(tensor, self.input_by_name[name].datatype) for name, tensor in inputs.items()}
            return [from_ort(value) for value in session.run_with_ort_values(outputs, given, run.options)]
        results: list[Tensor] = session.run(outputs, inputs, run.options)
        return results


def load_model(path: Path, device: str = "cpu", *, memory: int = 0, threads: int = 1) -> Model:
    """Load the model at `path`, a file or a folder with `model.onnx`, onto a device: cpu, cuda or auto.

    `memory` limits what is taken of a GPU's, in bytes; `threads` work on one run. ModelInvalid if it can't be loaded;
    DeviceUnavailable if cuda was asked for and there is none. With auto, what CUDA can't do is done by the CPU.
    """
    file = find_model(path)
    started = time.perf_counter()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(_SPINNING, "0")
    options.log_severity_level = 4
    cuda = _CUDA in ort.get_available_providers() and device != "cpu"
    if device == "cuda" and not cuda:
        there = ", ".join(ort.get_available_providers())
        raise DeviceUnavailable(
            f"--device is cuda, but this ONNX Runtime ({ort.__version__}) has {there}; "
            "use the CUDA variant of the image, or --device auto"
        )
    if cuda:
        ort.preload_dlls()  # CUDA and cuDNN as wheels bring them, where the system has none
    limit = {"gpu_mem_limit": str(memory)} if memory else {}
    providers = [(_CUDA, limit), _CPU] if cuda else [_CPU]
    ends = read_ends(file)
    try:
        session = ort.InferenceSession(_source(file, ends, options), options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise _not_loaded(file, error) from error
    vars(session).pop(_KEPT, None)
    on_cuda = _CUDA in session.get_providers()
    if device == "cuda" and not on_cuda:
        raise DeviceUnavailable("--device is cuda, but CUDA could not be started; is there a GPU, and its driver?")
    if cuda and not on_cuda:
        logger.warning("CUDA could not be started: serving on the CPU")
    return Model(session, time.perf_counter() - started, "cuda" if on_cuda else "cpu", ends)


def _source(file: Path, ends: Ends, options: Any) -> str | bytes:
    """What ONNX Runtime loads: the file, or its bytes where a last step is left out."""
    if not ends.steps:
        return str(file)
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(file.parent))
    return without(ends.steps, file)


_CHECK = "Check the file with onnx.checker.check_model"
_NOT_THE_FILE = {  # of errors of which the checker knows nothing
    "NOT_IMPLEMENTED": "The file is right, but this ONNX Runtime does not have that operator for the types or the "
    "version that the model has: export the model with other types (float instead of double or bfloat16), with another "
    "opset, or without that operator; or serve it with a custom engine that has it",
    "Failed to construct locale": "The file is right, but its StringNormalizer asks for a locale that this system does "
    "not have: use the runtime's image, which has en_US.UTF-8; elsewhere install that locale (Debian: package locales, "
    "localedef -i en_US -f UTF-8 en_US.UTF-8), or export the model with a locale that is there, such as C.UTF-8",
}


def _not_loaded(file: Path, error: Exception) -> ModelInvalid:
    """What ONNX Runtime's refusal means: an export that is too new for it, or a file that is wrong."""
    refused = f"ONNX Runtime {ort.__version__} can't load {file}"
    if found := _TOO_NEW.search(str(error)):
        what = f"opset {found['opset']} of {found['domain']}" if found["domain"] else f"ONNX IR version {found['ir']}"
        return OpsetUnsupported(
            f"{refused}: it knows nothing newer than {what}; export the model with that, or use a newer runtime image"
        )
    advice = next((told for sign, told in _NOT_THE_FILE.items() if sign in str(error)), _CHECK)
    return ModelInvalid(f"{refused}: {_first_line(error)}. {advice}")


def find_model(path: Path) -> Path:
    """The model's file; ModelInvalid if there is none."""
    file = path / "model.onnx" if path.is_dir() else path
    if file.is_file():
        return file
    there = ", ".join(sorted(child.name for child in path.iterdir())[:8]) if path.is_dir() else "nothing"
    raise ModelInvalid(
        f"there is no model at {file} (found: {there or 'nothing'}); an artifact is a folder with model.onnx"
    )


def _optional(nodes: Sequence[Any], ends: Ends) -> tuple[TensorSpec, ...]:
    """Inputs with a value of their own; one that the protocol can't carry keeps that value."""
    return tuple(replace(_spec(node, "input", ends), optional=True) for node in nodes if node.type in BY_ONNX)


def _spec(node: Any, role: str, ends: Ends) -> TensorSpec:
    datatype = BY_ONNX.get(node.type)
    if datatype is None:
        advice = next((text for start, text in _ADVICE.items() if node.type.startswith(start)), "")
        raise ModelInvalid(
            f"{role} {node.name!r} is a {node.type}, which the protocol can't carry" + (f"; {advice}" if advice else "")
        )
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in node.shape)
    classes = ends.classes(node.name)
    if not shape and node.name in ends.shapeless:
        return TensorSpec(node.name, datatype, (-1, len(classes)) if classes else None, classes=classes)
    return TensorSpec(node.name, datatype, shape, classes=classes)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:500] if lines else type(error).__name__
