"""How the runtime starts, and the reasons with which it does not."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import serving_models as models
from headgate_serving.errors import ModelInvalid, ProfileInvalid, SettingsInvalid
from headgate_serving.monitor import build_profile
from headgate_serving.monitor.profile import Column
from headgate_serving.runtime.model import load_model
from headgate_serving.runtime.settings import read_settings
from headgate_serving.server.supervisor import main
from headgate_serving.server.worker import load
from headgate_serving.termination import LIMIT, write_termination_log
from serving_process import Served

ROWS = np.array([[0.5, 1.5], [-2.5, 1.0], [3.25, -1.0], [0.75, 0.0]], np.float32)


def profile_json(scale: float = 1.0, input_name: str = "X") -> str:
    columns = [Column(name, input_name, at, ROWS[:, at] * scale) for at, name in enumerate(("a", "b"))]
    sums = ROWS.sum(axis=1)
    profile, left_out = build_profile(columns, {"score": sums, "label": sums > 0})
    assert not left_out
    return profile.to_json()


def artifact(folder: Path, **papers: str) -> Path:
    models.score(folder / "model.onnx")
    for name, text in papers.items():
        (folder / f"{name}.json").write_text(text)
    return folder


def garbage(folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(b"pickle")
    return folder


def another_format(folder: Path) -> Path:
    (folder / "model.pkl").touch()
    return folder


def empty_sequence(path: Path) -> Path:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    output = helper.make_value_info("OUT", kind)
    graph = helper.make_graph([helper.make_node("SequenceEmpty", [], ["OUT"])], "test", [], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


BAD_MODELS = {
    "garbage": (garbage, "can't load .*onnx.checker"),
    "another format": (another_format, r"no model at .*found: model\.pkl"),
    "nothing": (lambda folder: folder / "nowhere", "no model at"),
    "a sequence": (lambda folder: empty_sequence(folder / "model.onnx"), "seq.*let the graph end in one"),
    "complex": (lambda folder: models.identity(folder / "model.onnx", TensorProto.COMPLEX64), "can't carry|can't load"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_what_is_no_model_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    make, reason = BAD_MODELS[name]
    with pytest.raises(ModelInvalid, match=reason):
        load_model(make(tmp_path))


def missing_operator(path: Path) -> Path:
    """Right, but ONNX Runtime has no Det of doubles."""
    return models.save(
        path,
        [helper.make_node("Det", ["X"], ["Y"])],
        [("X", TensorProto.DOUBLE, [2, 2])],
        [("Y", TensorProto.DOUBLE, [])],
    )


def missing_locale(path: Path) -> Path:
    """Right, but nobody has that locale."""
    node = helper.make_node("StringNormalizer", ["X"], ["Y"], case_change_action="LOWER", locale="xx_YY.UTF-8")
    text = TensorProto.STRING
    return models.save(path, [node], [("X", text, ["n"])], [("Y", text, ["m"])])


@pytest.mark.parametrize(
    ("make", "advice"), [(missing_operator, "another opset.*custom engine"), (missing_locale, r"locale.*en_US\.UTF-8")]
)
def test_a_right_file_is_not_blamed(tmp_path: Path, make: Callable[[Path], Path], advice: str) -> None:
    path = make(tmp_path / "model.onnx")
    onnx.checker.check_model(path)
    with pytest.raises(ModelInvalid, match=advice) as refused:
        load_model(path)
    assert "onnx.checker" not in str(refused.value)


def test_the_process_ends_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"pickle")
    process = Served(tmp_path, log=tmp_path / "termination-log")
    assert process.stop() == ModelInvalid.exit_status
    assert process.last_words["reason"] == "ModelInvalid"
    assert "onnx.checker" in process.last_words["message"]


@pytest.mark.parametrize(
    ("place", "name"),
    [("fraud", "fraud"), ("fraud.v2", "fraud.v2"), ("fraud.v2/m.x.onnx", "m.x"), ("fraud.v2.onnx", "fraud.v2.onnx")],
)
def test_a_model_is_called_as_its_folder_is_or_its_file(tmp_path: Path, place: str, name: str) -> None:
    path = tmp_path / place
    if place.startswith("fraud.v2/"):
        path.parent.mkdir()
        path.touch()
    else:
        path.mkdir()
    assert read_settings(["--model", str(path)], {}).name == name


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port", "--metrics-port"])
def test_a_port_that_is_taken_is_named(tmp_path: Path, option: str) -> None:
    models.score(tmp_path / "model.onnx")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = Served(tmp_path, option, str(port), log=tmp_path / "termination-log")
        assert process.stop() == SettingsInvalid.exit_status
    assert process.last_words["reason"] == "SettingsInvalid"
    assert f"{option}: can't listen at 127.0.0.1:{port}" in process.last_words["message"]


def test_counts_in_its_own_bins_and_in_the_baselines(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "artifact", profile=profile_json())
    baseline = tmp_path / "baseline"
    baseline.mkdir()
    (baseline / "profile.json").write_text(profile_json(scale=2.0))
    own, other = (json.loads((at / "profile.json").read_text())["layout"] for at in (folder, baseline))
    process = Served(folder, "--baseline", str(baseline), log=tmp_path / "termination-log")
    try:
        item = {"name": "X", "datatype": "FP32", "shape": [4, 2], "data": [*ROWS[:3].ravel().tolist(), None, 99]}
        answer = process.client.post("/v2/models/fraud/infer", json={"inputs": [item], "outputs": [{"name": "label"}]})
        assert answer.status_code == 200
        assert process.client.get("/v2/models/fraud").json()["headgate"]["monitoring"] == "on"
        series = process.metrics()
    finally:
        assert process.stop() == 0

    def counted(name: str, *labels: str) -> dict[str, float]:
        found = {k: v for k, v in series.items() if k.startswith(name) and all(label in k for label in labels)}
        assert all('headgate_revision="fraud-1a2b3c4d"' in key for key in found)
        return {key.split('bin="')[1].split('"')[0].split()[0]: value for key, value in found.items() if value}

    for layout in (own, other):
        feature = counted("headgate_feature_bin_total", 'feature="a"', layout)
        assert sum(feature.values()) == 4
        assert feature["missing"] == 1
        assert counted("headgate_prediction_bin_total", 'output="score"', layout)["invalid"] == 1
        assert sum(counted("headgate_prediction_bin_total", 'output="label"', layout).values()) == 4
    assert counted("headgate_feature_bin_total", 'feature="b"', own)["above"] == 1
    assert sum(counted("headgate_feature_reference", 'feature="a"', own).values()) == len(ROWS)
    assert sum(counted("headgate_prediction_reference", 'output="label"', own).values()) == len(ROWS)
    assert not counted("headgate_feature_reference", other)


def test_several_profiles_are_counted_in_and_the_first_is_the_models_own(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "artifact", profile="{")  # not looked at where others are given
    paths = [tmp_path / f"{scale}.json" for scale in (1, 2, 3)]
    for scale, path in enumerate(paths, 1):
        path.write_text(profile_json(scale=scale))
    layouts = [json.loads(path.read_text())["layout"] for path in paths]
    options = [option for path in paths for option in ("--profile", str(path))]
    for argv, environ in ((options, {}), ([], {"HEADGATE_PROFILE": os.pathsep.join(map(str, paths))})):
        loaded = load(read_settings(["--model", str(folder), *argv], environ))
        assert loaded.monitor
        assert loaded.profile
        assert loaded.profile.layout == layouts[0]
        assert list(dict.fromkeys(series.layout for series in loaded.monitor.features())) == layouts
    with pytest.raises(ProfileInvalid, match=r"can't read the profile .*none\.json"):
        load(read_settings(["--model", str(folder), "--profile", str(tmp_path / "none.json")], {}))


def test_the_same_layout_is_counted_once(tmp_path: Path) -> None:
    folder = artifact(tmp_path, profile=profile_json())
    loaded = load(read_settings(["--model", str(folder), "--baseline", str(folder)], {}))
    assert loaded.monitor
    assert len(loaded.monitor.features()) == 2
    assert loaded.digest.startswith("sha256:")


def test_a_damaged_baseline_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "artifact")
    (tmp_path / "profile.json").write_text("{")
    loaded = load(read_settings(["--model", str(folder), "--baseline", str(tmp_path)], {}))
    assert loaded.monitor is None
    assert "off" in loaded.monitoring


@pytest.mark.parametrize(
    "text", ["{", profile_json(input_name="Z"), profile_json().replace('"version": 1', '"version": 9')]
)
def test_a_profile_that_is_wrong_is_said(tmp_path: Path, text: str) -> None:
    folder = artifact(tmp_path, profile=text)
    with pytest.raises(ProfileInvalid):
        load(read_settings(["--model", str(folder)], {}))


def test_options_come_from_the_environment_and_the_command_line_wins() -> None:
    environ = {
        "HEADGATE_MODEL_PATH": "/artifact",
        "HEADGATE_MODEL": "fraud",
        "HEADGATE_HTTP_PORT": "9000",
        "HEADGATE_METRICS_PORT": "9002",
        "HEADGATE_NAMESPACE": "ns",
        "HEADGATE_REVISION": "fraud-1",
    }
    settings = read_settings(["--http-port", "9100"], environ)
    assert (settings.model, settings.name, settings.http_port) == (Path("/artifact"), "fraud", 9100)
    assert settings.metrics_port == 9002
    assert list(settings.labels.values()) == ["ns", "fraud", "fraud-1"]


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({}, "no model given"),
        ({"HEADGATE_MODEL_PATH": "/a", "HEADGATE_HTTP_PORT": "tcp://10.0.0.1:80"}, "http port: expected a whole"),
        ({"HEADGATE_MODEL_PATH": "/a", "HEADGATE_GRACE": "soon"}, "grace: expected seconds"),
        ({"HEADGATE_MODEL_PATH": "/a", "HEADGATE_NAME": "a/b"}, "slash"),
    ],
)
def test_settings_that_can_not_be_right(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsInvalid, match=reason):
        read_settings([], environ)


def test_last_words_fit_and_are_never_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("HEADGATE_TERMINATION_LOG", str(log))
    write_termination_log("ModelInvalid", "ü" * 5000)
    assert len(log.read_bytes()) <= LIMIT
    assert json.loads(log.read_text())["reason"] == "ModelInvalid"
    monkeypatch.setenv("HEADGATE_TERMINATION_LOG", str(tmp_path / "no" / "log"))
    write_termination_log("ModelInvalid", "nobody reads this")


def test_main_says_what_is_wrong_with_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("HEADGATE_TERMINATION_LOG", str(log))
    assert main(["--model", str(tmp_path), "--threads", "0"]) == 1
    assert json.loads(log.read_text())["reason"] == "SettingsInvalid"
