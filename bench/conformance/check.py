"""What came of a model: whether the server answers as ONNX Runtime does, in every form of the protocol."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from bench.serving.process import ServerFailed
from headgate_serving.codec.datatypes import BF16, BY_ONNX, Datatype
from headgate_serving.runtime.bfloat16 import from_ort, to_ort

from .asking import Asking, Refused, Tensors
from .host import Host

Values = NDArray[Any]
Inputs = Mapping[str, Values]

EQUAL, REFUSED, WRONG, NOT_COMPARABLE, UNSUPPORTED = (
    "equal",
    "refused",
    "WRONG",
    "random",
    "not possible in ONNX Runtime",
)
ORDER = (EQUAL, WRONG, REFUSED, NOT_COMPARABLE, UNSUPPORTED)
_ROUNDING = 1e-6
_RUNS = 4  # in which random numbers show; with some seeds the first two are the same
_NO_TYPE = "as input or output"
_SMALL = {"float8": "float8", "float4": "float4"} | dict.fromkeys(
    ("int2", "int4", "uint2", "uint4"), "an integer of 2 or 4 bits"
)
_TOLD = {"seq": "a sequence", "optional": "an optional value", "map": "a map", "sparse_tensor": "a sparse tensor"}
_QUOTED = re.compile(r"'[^']*'")
_TYPE = re.compile(r"is a ((?:seq|optional|map|sparse_tensor|tensor)\(.*?\)+), which the protocol can't carry")
_KNOWS = re.compile(r"opset \d+|max supported IR version|till opset")


@dataclass(frozen=True)
class Case:
    """A model and the requests that it is asked; names of inputs → values."""

    name: str
    model: Path
    requests: Sequence[Inputs]


@dataclass(frozen=True)
class Outcome:
    """One of ORDER, and the reason or in what it differs."""

    name: str
    kind: str
    reason: str = ""


class Reference:
    """The model in ONNX Runtime alone; a sequence of tensors as one output for each."""

    def __init__(self, model: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            if "ZipMap" not in str(error):
                raise
            self._session = ort.InferenceSession(_without_zipmap(model), options, providers=["CPUExecutionProvider"])
        nodes = [*self._session.get_inputs(), *self._session.get_overridable_initializers()]
        self.inputs = {node.name: node for node in nodes}
        self.outputs = {node.name: BY_ONNX.get(node.type) for node in self._session.get_outputs()}

    def datatype(self, name: str) -> Datatype | None:
        """Of an input; None for what the protocol has not."""
        return BY_ONNX.get(self.inputs[name].type)

    def run(self, inputs: Inputs) -> dict[str, Any]:
        """All outputs by name."""
        names = list(self.outputs)
        datatypes = {name: self.datatype(name) for name in inputs}
        if BF16 in (*datatypes.values(), *self.outputs.values()):
            given = {name: to_ort(values, datatypes[name] or BF16) for name, values in inputs.items()}
            results = [from_ort(one) for one in self._session.run_with_ort_values(names, given)]
        else:
            results = self._session.run(names, dict(inputs))
        return dict(_flattened(names, results))


def _without_zipmap(model: Path) -> bytes:
    """For a ZipMap of double precision, which skl2onnx writes and ONNX Runtime does not take."""
    whole = onnx.load(model)
    (zipmap,) = [node for node in whole.graph.node if node.op_type == "ZipMap"]
    zipmap.op_type, zipmap.domain = "Identity", ""
    del zipmap.attribute[:]
    for output in whole.graph.output:
        if output.name == zipmap.output[0]:
            output.ClearField("type")
    said: bytes = whole.SerializeToString()
    return said


def _flattened(names: Sequence[str], results: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for name, result in zip(names, results, strict=True):
        if isinstance(result, list) and result and isinstance(result[0], np.ndarray):
            yield from ((f"{name}_{number}", tensor) for number, tensor in enumerate(result))
        else:
            yield name, result


def outcome_of(case: Case, host: Host) -> Outcome:
    """Serve the model and ask it everything."""
    try:
        reference, why = Reference(case.model), ""
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reference, why = None, _not_loaded(str(error))
    try:
        with host.serving(case.model) as served:
            if served.refused:
                kind = REFUSED if reference else UNSUPPORTED
                return Outcome(case.name, kind, why or _refusal(served.refused))
            if reference is None:
                return Outcome(case.name, WRONG, "is served, and ONNX Runtime alone can't load it")
            asking = Asking(served)
            try:
                return _asked(case, reference, asking)
            finally:
                asking.close()
    except ServerFailed as error:
        return Outcome(case.name, WRONG, str(error))


def _asked(case: Case, reference: Reference, asking: Asking) -> Outcome:
    classes = {
        output["name"]: output["parameters"]["classes"]
        for output in asking.metadata()["outputs"]
        if "classes" in output.get("parameters", {})
    }
    rounded = False
    for inputs in case.requests:
        given = {name: _as_taken(values, reference.datatype(name)) for name, values in inputs.items()}
        tensors = {name: ((reference.datatype(name) or BF16).name, values) for name, values in given.items()}
        try:
            wanted = reference.run(given)
        except Exception:  # ONNX Runtime's exceptions share no base class
            return _failed_alike(case, tensors, asking)
        for way, ask in asking.ways(tensors).items():
            try:
                found = ask(tensors)
            except Refused as error:
                return Outcome(case.name, REFUSED, _QUOTED.sub("…", str(error)))
            found_in = _difference(wanted, found, classes, nulls=way == "JSON")
            if found_in and _is_random(case, given):
                return Outcome(case.name, NOT_COMPARABLE, "its answers are random numbers")
            if found_in and found_in != "rounding":
                return Outcome(case.name, WRONG, f"{way}: {found_in}")
            rounded |= bool(found_in)
    return Outcome(case.name, EQUAL, "but for rounding" if rounded else "bit for bit")


def _as_taken(values: Values, datatype: Datatype | None) -> Values:
    return values.astype(np.float32) if datatype is BF16 else values


def _failed_alike(case: Case, tensors: Tensors, asking: Asking) -> Outcome:
    """ONNX Runtime failed in the run: the server has to say so too, and go on."""
    for way, ask in asking.ways(tensors).items():
        try:
            ask(tensors)
        except Refused as error:
            if str(error).startswith(("500", "INTERNAL", "400", "INVALID")):
                continue
            return Outcome(case.name, WRONG, f"{way}: {error}")
        return Outcome(case.name, WRONG, f"{way}: answers where ONNX Runtime alone fails")
    return Outcome(case.name, UNSUPPORTED, "fails in the run")


def _is_random(case: Case, inputs: Inputs) -> bool:
    """Whether ONNX Runtime answers otherwise when it is asked again."""
    reference = Reference(case.model)
    first, *others = (reference.run(inputs) for _ in range(_RUNS))
    apart = [_apart(np.asarray(first[name]), np.asarray(one[name]), nulls=False) for one in others for name in first]
    return bool(set(apart) - {"", "rounding"})


def _difference(wanted: Mapping[str, Any], found: Inputs, classes: Mapping[str, list[Any]], *, nulls: bool) -> str:
    if list(found) != list(wanted):
        return f"the outputs are {list(found)}, not {list(wanted)}"
    apart = [(name, _apart(_matrix(wanted[name], classes.get(name)), found[name], nulls=nulls)) for name in wanted]
    worst = max((what for _, what in apart), key=lambda what: (what != "", what != "rounding"), default="")
    return worst if worst in ("", "rounding") else "; ".join(f"{name}: {what}" for name, what in apart if what)


def _matrix(values: Any, classes: list[Any] | None) -> Values:
    """What comes out of a ZipMap as the matrix that went in."""
    if classes is None or not isinstance(values, list):
        return np.asarray(values)
    return np.array([[row[name] for name in classes] for row in values], np.float32).reshape(len(values), len(classes))


def _apart(wanted: Values, found: Values, *, nulls: bool) -> str:
    """In what they differ; "" if in nothing, "rounding" if in next to nothing."""
    if wanted.shape != found.shape:
        return f"the shape is {list(found.shape)}, not {list(wanted.shape)}"
    if wanted.dtype.kind == "f" and nulls:
        wanted = np.where(np.isinf(wanted), np.nan, wanted)  # null in JSON
    if wanted.dtype != found.dtype and "O" not in (wanted.dtype.kind, found.dtype.kind):
        return f"the type is {found.dtype}, not {wanted.dtype}"
    if wanted.dtype.kind != "f":
        return "" if bool((wanted == found).all()) else "other values"
    if np.array_equal(wanted, found, equal_nan=True):
        return ""
    size = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
    close = np.allclose(found, wanted, rtol=_ROUNDING, atol=_ROUNDING * size, equal_nan=True)
    return "rounding" if close else f"other values, by up to {np.nanmax(np.abs(found - wanted)):g}"


def _refusal(said: str) -> str:
    """Why, without the names that differ from model to model."""
    if found := _TYPE.search(said):
        kind, _, of = found[1].partition("(")
        small = next((text for start, text in _SMALL.items() if kind == "tensor" and of.startswith(start)), found[1])
        return f"{small if kind == 'tensor' else _TOLD[kind]} {_NO_TYPE}"
    return _QUOTED.sub("…", said)[:120]


def _not_loaded(said: str) -> str:
    if _KNOWS.search(said):
        return "an opset or IR version that is newer than it"
    if "NOT_IMPLEMENTED" in said or "is not a registered function" in said:
        return "an operator or a type that it has not"
    if "locale" in said:
        return "a locale that this machine has not"
    return "does not load"


def is_a_fault(outcome: Outcome) -> bool:
    """Whether it is ours: what the protocol has no type for may be refused, and nothing else."""
    return outcome.kind == WRONG or (outcome.kind == REFUSED and not outcome.reason.endswith(_NO_TYPE))


def summary(outcomes: Iterable[Outcome]) -> list[tuple[str, str, int]]:
    """(outcome, reason, how many) in the order of ORDER, the most frequent first."""
    counted = Counter((outcome.kind, outcome.reason) for outcome in outcomes)
    rows = [(kind, reason, count) for (kind, reason), count in counted.items()]
    return sorted(rows, key=lambda row: (ORDER.index(row[0]), -row[2], row[1]))
