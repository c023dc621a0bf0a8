"""Versions of a model for the preflight's tests: packaged as `headgate package` does it, and really served."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import serving_models
from headgate.api.preflight import Check, Report
from headgate_serving.authoring.package import package
from headgate_serving.preflight.command import main
from serving_process import Served

WEIGHTS = np.array([[2.0, -1.0, 0.3], [-1.0, 1.5, 0.2]], np.float32)
ROWS = np.random.default_rng(3).normal(size=(300, 2)).astype(np.float32)


def classifier(
    path: Path,
    weights: np.ndarray = WEIGHTS,
    *,
    names: tuple[str, str, str] = ("X", "P", "L"),
    kind: int = TensorProto.FLOAT,
    rows: str | int = "n",
    before: list[onnx.NodeProto] | None = None,
    more_outputs: bool = False,
    optional: bool = False,
) -> Path:
    """Probabilities and label of three classes from two features. `before` turns `x` into `features`."""
    given, scores, label = names
    nodes = [
        helper.make_node("Cast", [given], ["x"], to=TensorProto.FLOAT),
        *(before or [helper.make_node("Identity", ["x"], ["features"])]),
        helper.make_node("MatMul", ["features", "W"], ["sums"]),
        *([helper.make_node("Mul", ["sums", "SCALE"], ["scaled"])] if optional else []),
        helper.make_node("Softmax", ["scaled" if optional else "sums"], [scores], axis=1),
        helper.make_node("ArgMax", [scores], [label], axis=1, keepdims=0),
        *([helper.make_node("ReduceMax", [scores], ["CONFIDENCE"], axes=[1], keepdims=0)] if more_outputs else []),
    ]
    inputs: list[Any] = [(given, kind, [rows, 2])]
    constants = [numpy_helper.from_array(weights.astype(np.float32), "W")]
    if optional:
        inputs.append(("SCALE", TensorProto.FLOAT, [1]))
        constants.append(numpy_helper.from_array(np.ones(1, np.float32), "SCALE"))
    outputs = [(scores, TensorProto.FLOAT, [rows, 3]), (label, TensorProto.INT64, [rows])]
    outputs += [("CONFIDENCE", TensorProto.FLOAT, [rows])] if more_outputs else []
    nodes.insert(0, helper.make_node("Identity", ["W"], ["unused"]))
    return serving_models.save(path, nodes, inputs, outputs, weights=constants)


def packaged(model: Path, rows: np.ndarray = ROWS, evaluation: Path | None = None) -> Path:
    """The artifact of a model, in a folder beside it."""
    data, into = model.with_suffix(".csv"), model.parent / f"{model.stem}-artifact"
    data.write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows.tolist()))
    into.mkdir(exist_ok=True)
    package(
        model,
        data,
        into,
        names=["a", "b"],
        label=None,
        card=None,
        evaluation=evaluation,
        progress=lambda done, of: None,
    )
    return into


@dataclass(frozen=True)
class Version:
    """A server, and the artifact that it is looked at with."""

    served: Served
    artifact: Path
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.served.address}"


def preflight(log: Path, candidate: Version, stable: Version | None, *options: str) -> dict[str, Check]:
    """What the command reports, by the name of the check."""
    arguments = ["--model", "fraud", "--candidate", candidate.url, "--artifact", str(candidate.artifact)]
    if stable:
        arguments += ["--stable", stable.url, "--baseline", str(stable.artifact)]
    assert main([*arguments, "--timeout", "20", "--seconds", "300", *options]) == 0
    raw = log.read_text()
    assert len(raw) <= 4096
    words = json.loads(raw)
    assert words["reason"] == "PreflightDone"
    return {check.name: check for check in Report.read(words).checks}
