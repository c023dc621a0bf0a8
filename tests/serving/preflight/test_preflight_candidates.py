"""Good candidates pass every check, bad ones fail the one that is made for them: real servers, real models."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from onnx import TensorProto, helper

import serving_models
from headgate_serving.preflight.command import main
from ports import free_port
from preflight_versions import WEIGHTS, Version, classifier, packaged, preflight
from router_mounts import Mount
from serving_process import Served
from stories.certificates import authority

Make = Callable[[Path], Path]
PASSES = {"Passed", "Skipped"}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADGATE_TERMINATION_LOG", str(tmp_path / "words"))
    return tmp_path / "words"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("versions")


@pytest.fixture(scope="module")
def artifact(folder: Path) -> Path:
    """That of the stable version."""
    return packaged(classifier(folder / "stable.onnx"))


@contextlib.contextmanager
def serving(artifact: Path, home: Path, *options: str, before: str = "pass") -> Iterator[Version]:
    home.mkdir(exist_ok=True)
    served = Served(artifact, *options, log=home / "log", before=before)
    try:
        yield Version(served, artifact)
    finally:
        served.stop()


@pytest.fixture(scope="module")
def stable(artifact: Path, folder: Path) -> Iterator[Version]:
    with serving(artifact, folder / "stable-home") as version:
        yield version


def near(path: Path) -> Path:
    return classifier(path, WEIGHTS + 0.05)


GOOD: dict[str, Make] = {
    "equal": classifier,
    "retrained": near,
    "added output": lambda path: classifier(path, more_outputs=True),
    "optional input": lambda path: classifier(path, optional=True),
}


@pytest.mark.parametrize("what", GOOD)
def test_a_good_candidate_passes_all(what: str, stable: Version, tmp_path: Path, log: Path) -> None:
    with serving(packaged(GOOD[what](tmp_path / "good.onnx")), tmp_path / "home") as candidate:
        checks = preflight(log, candidate, stable)
    assert {check.outcome for check in checks.values()} <= PASSES, checks
    assert [name for name, check in checks.items() if check.outcome == "Skipped"] == ["evaluation", "load"], checks
    assert checks["edgeCases"].figures["cases"] > 8


def test_the_first_version_is_looked_at_alone(stable: Version, log: Path) -> None:
    checks = preflight(log, stable, None)
    assert {check.outcome for check in checks.values()} <= PASSES, checks
    assert "no stable version" in checks["schema"].message


BROKEN: dict[str, tuple[Make, str]] = {
    "renamed input": (lambda path: classifier(path, names=("sum", "P", "L")), "the input X is gone (renamed to sum?)"),
    "renamed output": (lambda path: classifier(path, names=("X", "scores", "L")), "the output P is gone"),
    "retyped input": (lambda path: classifier(path, kind=TensorProto.DOUBLE), "the input X is FP64 and was FP32"),
    "batch dimension lost": (lambda path: classifier(path, rows=1), "it has lost its batch dimension"),
    "another task": (serving_models.score, "the output P is gone"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_would_break_a_client_fails_the_schema(what: str, stable: Version, tmp_path: Path, log: Path) -> None:
    make, told = BROKEN[what]
    with serving(packaged(make(tmp_path / "bad.onnx")), tmp_path / "home") as candidate:
        checks = preflight(log, candidate, stable)
    assert checks["schema"].outcome == "Failed"
    assert told in checks["schema"].message


def test_permuted_class_labels_fail_the_schema(tmp_path: Path, log: Path) -> None:
    versions = []
    with contextlib.ExitStack() as stack:
        for name, classes in (("old", ("cat", "dog")), ("new", ("dog", "cat"))):
            model = serving_models.zipmap(tmp_path / f"{name}.onnx", classes)
            versions.append(stack.enter_context(serving(packaged(model), tmp_path / name)))
        checks = preflight(log, versions[1], versions[0])
    assert checks["schema"].outcome == "Failed"
    assert "in another order" in checks["schema"].message


SWAPPED = WEIGHTS[::-1].copy()


def test_swapped_weights_fail_the_samples_of_the_right_model(
    artifact: Path, stable: Version, tmp_path: Path, log: Path
) -> None:
    wrong = shutil.copytree(artifact, tmp_path / "wrong")
    classifier(wrong / "model.onnx", SWAPPED)
    with serving(wrong, tmp_path / "home") as candidate:
        checks = preflight(log, candidate, stable)
    assert checks["samples"].outcome == "Failed"
    assert checks["samples"].figures["wrong"] > 0


def test_swapped_weights_with_samples_of_their_own_are_only_counted(stable: Version, tmp_path: Path, log: Path) -> None:
    with serving(packaged(classifier(tmp_path / "wrong.onnx", SWAPPED)), tmp_path / "home") as candidate:
        checks = preflight(log, candidate, stable)
    assert checks["samples"].outcome == "Passed"
    assert checks["samples"].figures["otherAnswers"] > 0.4


def detector(path: Path, least: float) -> Path:
    """A label, and those rows of which the first feature is above `least`: how many depends on the data."""
    nodes = [
        helper.make_node("ArgMax", ["X"], ["L"], axis=1, keepdims=0),
        helper.make_node("Split", ["X"], ["one", "other"], axis=1, num_outputs=2),
        helper.make_node("Constant", [], ["least"], value_floats=[least]),
        helper.make_node("Greater", ["one", "least"], ["above"]),
        helper.make_node("Squeeze", ["above", "axis"], ["which"]),
        helper.make_node("Compress", ["X", "which"], ["found"], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_tensor_value_info("L", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("found", TensorProto.FLOAT, ["m", 2]),
        ],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_candidate_that_finds_more_than_stable_breaks_no_client(tmp_path: Path, log: Path) -> None:
    with contextlib.ExitStack() as stack:
        versions = []
        for name, least in (("stable", 0.5), ("candidate", -0.5)):
            model = packaged(detector(tmp_path / f"{name}.onnx", least))
            versions.append(stack.enter_context(serving(model, tmp_path / name)))
        checks = preflight(log, versions[1], versions[0])
    assert {check.outcome for check in checks.values()} <= PASSES, checks
    assert checks["samples"].figures["stableSamples"] > 0


def nan_for_some(path: Path) -> Path:
    """The square root of the first feature plus 2: NaN for 2 % of the rows."""
    two = helper.make_node("Constant", [], ["two"], value_floats=[2.0])
    root = [helper.make_node("Add", ["x", "two"], ["more"]), helper.make_node("Sqrt", ["more"], ["features"])]
    return classifier(path, before=[two, *root])


@pytest.mark.parametrize("alone", [False, True])
def test_nan_for_some_rows_fails_the_edge_cases(alone: bool, stable: Version, tmp_path: Path, log: Path) -> None:
    with serving(packaged(nan_for_some(tmp_path / "nan.onnx")), tmp_path / "home") as candidate:
        checks = preflight(log, candidate, None if alone else stable)
    assert checks["edgeCases"].outcome == "Failed"
    assert "NaN or infinite" in checks["edgeCases"].message


_ON_NAN = """
import os
import time
import numpy as np
from headgate_serving.runtime import model
ran = model.Model.run
def run(self, inputs, outputs, run=None):
    if any(np.isnan(one).any() for one in inputs.values()):
        {do}
    return ran(self, inputs, outputs, run)
model.Model.run = run
"""


def test_a_crash_on_a_case_fails_and_stable_is_spared(
    stable: Version, artifact: Path, tmp_path: Path, log: Path
) -> None:
    with serving(artifact, tmp_path / "home", before=_ON_NAN.format(do="os._exit(1)")) as candidate:
        checks = preflight(log, candidate, stable)
    assert checks["edgeCases"].outcome == "Failed"
    assert "NaN everywhere: the connection was lost" in checks["edgeCases"].message
    assert stable.served.client.get("/v2/health/ready").status_code == 200


def test_a_hang_on_a_case_fails(stable: Version, artifact: Path, tmp_path: Path, log: Path) -> None:
    with serving(artifact, tmp_path / "home", before=_ON_NAN.format(do="time.sleep(5)")) as candidate:
        checks = preflight(log, candidate, stable, "--timeout", "3")
    assert checks["edgeCases"].outcome == "Failed"
    assert "NaN everywhere: no answer within 3 s" in checks["edgeCases"].message


def test_rows_that_are_mixed_fail_the_robustness(stable: Version, tmp_path: Path, log: Path) -> None:
    mixes = [
        helper.make_node("Constant", [], ["axis"], value_int=0),
        helper.make_node("CumSum", ["x", "axis"], ["features"]),
    ]
    with serving(packaged(classifier(tmp_path / "mixed.onnx", before=mixes)), tmp_path / "home") as candidate:
        checks = preflight(log, candidate, stable)
    assert checks["robustness"].outcome == "Failed"
    assert "order of the rows" in checks["robustness"].message


def test_a_model_whose_odd_inputs_fail_passes_where_stable_fails_too(tmp_path: Path, log: Path) -> None:
    """A number that the table does not have is an error of ONNX Runtime, as an unseen category often is."""
    folder = tmp_path / "table"
    folder.mkdir()
    serving_models.table(folder / "model.onnx")
    sample = {
        "row": 0,
        "request": {"inputs": [{"name": "IN", "datatype": "INT64", "shape": [1], "data": [2]}]},
        "response": {"outputs": [{"name": "OUT", "datatype": "FP32", "shape": [1], "data": [20.0]}]},
    }
    whole = {"format": 1, "tolerance": {"relative": 0.0, "absolute": 0.0}, "samples": [sample]}
    (folder / "samples.json").write_text(json.dumps(whole))
    with serving(folder, tmp_path / "home") as version:
        for other in (None, version):
            checks = preflight(log, version, other)
            assert {check.outcome for check in checks.values()} <= PASSES, checks


@pytest.mark.parametrize("kind", ["INT64", "STRING", "BOOL", "FLOAT16", "FLOAT"])
def test_a_model_without_papers_passes(kind: str, tmp_path: Path, log: Path) -> None:
    (tmp_path / "bare").mkdir()
    serving_models.identity(tmp_path / "bare" / "model.onnx", getattr(TensorProto, kind))
    with serving(tmp_path / "bare", tmp_path / "home") as version:
        for other in (None, version):
            checks = preflight(log, version, other)
            assert {check.outcome for check in checks.values()} <= PASSES, checks
            assert checks["edgeCases"].outcome == "Passed", checks


@pytest.mark.parametrize("make", [serving_models.mixed, serving_models.broadcast, serving_models.with_defaults])
def test_a_first_dimension_that_is_no_batch_is_no_fault(make: Make, tmp_path: Path, log: Path) -> None:
    (tmp_path / "bare").mkdir()
    make(tmp_path / "bare" / "model.onnx")
    with serving(tmp_path / "bare", tmp_path / "home") as version:
        checks = preflight(log, version, version)
    assert {check.outcome for check in checks.values()} <= PASSES, checks


def test_nobody_there_is_no_report(artifact: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate_serving.preflight.command._READY_SECONDS", 0.2)
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["--model", "fraud", "--candidate", url, "--artifact", str(artifact)]) == 1
    assert json.loads(log.read_text())["reason"] == "CandidateUnreachable"


def test_checks_can_be_turned_off(stable: Version, log: Path) -> None:
    checks = preflight(log, stable, None, "--check", "edgeCases=Off", "--check", "robustness=Off")
    assert list(checks) == ["evaluation", "schema", "samples", "load"]


def test_a_check_that_is_unknown(artifact: Path, log: Path) -> None:
    url = "http://127.0.0.1:1"
    assert main(["--model", "m", "--candidate", url, "--artifact", str(artifact), "--check", "fairness=Off"]) == 1
    assert json.loads(log.read_text())["reason"] == "SettingsInvalid"


def test_versions_that_speak_tls_are_asked_as_routers_ask_them(
    folder: Path, artifact: Path, stable: Version, log: Path, tmp_path: Path
) -> None:
    pods, routers = authority("pods"), authority("routers")
    own, shown = Mount(tmp_path / "own"), Mount(tmp_path / "shown")
    certificate, client = pods.issue("fraud.ns.svc"), routers.issue("router")
    own.fill(tls_crt=certificate.pem, tls_key=certificate.key, ca_crt=routers.pem)
    shown.fill(tls_crt=client.pem, tls_key=client.key, ca_crt=pods.pem)
    with serving(artifact, tmp_path / "home", "--tls", str(own.root)) as served:
        candidate = Version(served.served, artifact, "https")
        secured = ["--candidate-secret", str(shown.root), "--server-name", "fraud.ns.svc"]
        checks = preflight(log, candidate, stable, *secured)
        assert {check.outcome for check in checks.values()} <= PASSES
        asked = ["--model", "fraud", "--candidate", candidate.url, "--artifact", str(artifact)]
        # Pods that show another name get no request; the reason says what is wrong.
        for options, reason in (
            ([*secured[:2], "--server-name", "other.ns.svc"], "CandidateUnreachable"),
            (secured[:2], "SettingsInvalid"),
            (["--candidate-secret", str(tmp_path), *secured[2:]], "UnusableSecret"),
        ):
            assert main([*asked, *options]) != 0
            assert json.loads(log.read_text())["reason"] == reason
