"""`headgate package`: from a model and its data to an artifact and the YAML, and back by the fetcher."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

import serving_models
from golden_samples import deviations
from headgate_cli import main, reference, validate
from headgate_cli.manifest_text import read
from headgate_serving.artifact import digest_of
from headgate_serving.artifact.command import main as fetch
from headgate_serving.runtime.model import Model, load_model
from patience import PATIENCE

ROWS = 400
Package = Callable[..., int]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have it: a classifier of two features, its training data, a card."""
    folder = tmp_path_factory.mktemp("laptop")
    rows = np.random.default_rng(1).normal(size=(ROWS, 2)).astype(np.float32)
    labels = (rows.sum(axis=1) > 0).astype(np.int64)
    classifier = LogisticRegression().fit(rows, labels)
    onnx = to_onnx(classifier, rows[:1], options={"zipmap": False}, target_opset=17)
    (folder / "classifier.onnx").write_bytes(onnx.SerializeToString())
    table = pa.table({"amount": rows[:, 0], "age": rows[:, 1], "fraud": labels})
    parquet.write_table(table, folder / "train.parquet")
    (folder / "README.md").write_text("# Fraud\nTrained on made-up rows.\n")
    return folder


@pytest.fixture
def package(laptop: Path) -> Package:
    def run(to: str, *more: str) -> int:
        options = ["--model", str(laptop / "classifier.onnx"), "--data", str(laptop / "train.parquet")]
        return main(["package", *options, "--labels", "fraud", "--to", to, *more])

    return run


def test_an_evaluation_goes_along_and_a_malformed_one_does_not(package: Package, tmp_path: Path) -> None:
    given = tmp_path / "evaluated.json"
    given.write_text('{"format": 1, "metrics": [{"name": "accuracy", "value": 0.95, "min": 0.93}]}')
    assert package(str(tmp_path / "to"), "--evaluation", str(given)) == 0
    manifest = json.loads((tmp_path / "to" / "manifest.json").read_text())
    assert "evaluation.json" in manifest["files"]
    assert (tmp_path / "to" / "evaluation.json").read_bytes() == given.read_bytes()
    given.write_text('{"format": 1, "metrics": [{"name": "accuracy"}]}')
    assert package(str(tmp_path / "other"), "--evaluation", str(given)) == 2
    assert not (tmp_path / "other").exists()


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str, str]:
    out, err = capsys.readouterr()
    return yaml.safe_load(out), out, err


def test_makes_an_artifact_and_the_yaml_that_asks_for_it(
    laptop: Path, tmp_path: Path, package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "models" / "fraud" / "2026-11-20"
    assert package(str(to), "--card", str(laptop / "README.md")) == 0
    document, out, err = printed(capsys)
    files = {path.name for path in to.iterdir()}
    assert files == {"model.onnx", "profile.json", "samples.json", "card.md", "manifest.json"}
    digest = digest_of(to)
    assert document == {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud"},
        "spec": {"model": {"version": "2026-11-20", "uri": to.as_uri(), "digest": digest}},
    }
    assert validate.check(document) == []
    assert out.startswith(f"# digest: {digest}\n")
    assert "accuracy of label" in err
    assert fetch(["--uri", to.as_uri(), "--digest", digest, "--to", str(tmp_path / "to")]) == 0


@pytest.mark.parametrize("version", ["72225e2", "31e4", "0x1f", "12e03", "2026-11-20"])
def test_every_text_in_the_yaml_is_text_to_kubectl(
    tmp_path: Path, package: Package, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    assert package(str(tmp_path / "fraud"), "--name", "y", "--version", version) == 0
    out = capsys.readouterr().out
    assert f'version: "{version}"' in out
    (document,) = read(out).documents
    assert (document["metadata"]["name"], document["spec"]["model"]["version"]) == ("y", version)


def test_the_samples_are_rows_of_the_data_with_the_models_own_answers(tmp_path: Path, package: Package) -> None:
    assert package(str(tmp_path / "fraud")) == 0
    samples = json.loads((tmp_path / "fraud" / "samples.json").read_text())
    assert [one["row"] for one in samples["samples"]] == [0, 57, 114, 171, 228, 285, 342, 399]
    model = load_model(tmp_path / "fraud")
    assert deviations(model, tmp_path / "fraud") == []
    request = samples["samples"][1]["request"]["inputs"][0]
    assert (request["datatype"], request["shape"], len(request["data"])) == ("FP32", [1, 2], 2)
    samples["samples"][1]["response"]["outputs"][0]["data"][0] ^= 1
    samples["samples"][2]["response"]["outputs"][1]["data"][0] += 0.01
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "samples.json").write_text(json.dumps(samples))
    assert [line.partition(":")[0] for line in deviations(model, changed)] == ["row 57", "row 114"]


def test_the_same_inputs_give_the_same_digest(
    tmp_path: Path, package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    assert package(str(tmp_path / "a")) == package(str(tmp_path / "b")) == 0
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    printed_digests = {line for line in capsys.readouterr().out.splitlines() if line.startswith("# digest")}
    assert printed_digests == {f"# digest: {digest_of(tmp_path / 'a')}"}


def test_another_artifact_is_not_replaced_unless_one_says_so(
    tmp_path: Path, package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    assert package(str(tmp_path / "fraud")) == 0
    assert package(str(tmp_path / "fraud")) == 0
    assert "already at" in capsys.readouterr().err
    before = digest_of(tmp_path / "fraud")
    other = ["--columns", "age,amount"]
    assert package(str(tmp_path / "fraud"), *other) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert digest_of(tmp_path / "fraud") == before
    assert package(str(tmp_path / "fraud"), *other, "--overwrite") == 0
    assert digest_of(tmp_path / "fraud") != before


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_folder_with_anything_else_is_never_replaced(
    package: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (project / ".git" / "HEAD").write_text("ref")
    (project / "train.py").write_text("1")
    assert package(str(project), *more) == 2
    said = capsys.readouterr().err
    assert "train.py" in said
    assert "--overwrite" not in said
    assert sorted(path.name for path in project.iterdir()) == [".git", "train.py"]


def test_an_artifact_with_a_file_of_somebodys_beside_it_is_not_replaced(package: Package, tmp_path: Path) -> None:
    project = tmp_path / "fraud"
    assert package(str(project)) == 0
    (project / "train.py").write_text("mine")
    assert package(str(project), "--overwrite") == 2
    assert (project / "train.py").read_text() == "mine"


def test_a_link_to_a_folder_is_followed_and_a_file_is_refused(
    package: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert package(str(tmp_path / "link")) == 0
    assert (tmp_path / "real" / "manifest.json").is_file()
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "file").write_text("x")
    assert package(str(tmp_path / "file"), "--overwrite") == 2
    assert "is a file" in capsys.readouterr().err


def with_weights(laptop: Path, folder: Path, location: str) -> Path:
    """The classifier, whose weights are at `location`, which the file says as it is written here."""
    import onnx

    model = onnx.load(laptop / "classifier.onnx")
    shift = onnx.numpy_helper.from_array(np.zeros((1, 2), "f4"), "shift")
    model.graph.initializer.append(shift)
    model.graph.node.insert(0, onnx.helper.make_node("Add", ["X", "shift"], ["shifted"]))
    for node in list(model.graph.node)[1:]:
        node.input[:] = ["shifted" if name == "X" else name for name in node.input]
    folder.mkdir()
    onnx.save(model, folder / "big.onnx", save_as_external_data=True, location="w", size_threshold=1)
    say_location(folder / "big.onnx", location)
    (folder / location).parent.mkdir(exist_ok=True)
    (folder / "w").rename(folder / location)
    return folder / "big.onnx"


def say_location(file: Path, location: str) -> None:
    import onnx

    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    onnx.save(model, file)


def test_external_data_comes_along(tmp_path: Path, laptop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = with_weights(laptop, tmp_path / "m", "big.onnx.data")
    common = ["--data", str(laptop / "train.parquet"), "--labels", "fraud", "--to", str(tmp_path / "fraud")]
    assert main(["package", "--model", str(model), *common]) == 0
    assert (tmp_path / "fraud" / "big.onnx.data").is_file()
    (tmp_path / "m" / "big.onnx.data").unlink()
    assert main(["package", "--model", str(model), *common]) == 2
    assert "big.onnx.data" in capsys.readouterr().err


@pytest.mark.parametrize("location", ["./weights.bin", "sub//weights.bin", "./sub/./weights.bin", ".//weights.bin"])
def test_external_data_comes_along_however_its_place_is_written(tmp_path: Path, laptop: Path, location: str) -> None:
    model = with_weights(laptop, tmp_path / "m", location)
    to = tmp_path / "fraud"
    common = ["--data", str(laptop / "train.parquet"), "--labels", "fraud", "--to", str(to)]
    assert main(["package", "--model", str(model), *common]) == 0
    assert (to / os.path.normpath(location)).is_file()
    assert fetch(["--uri", to.as_uri(), "--digest", digest_of(to), "--to", str(tmp_path / "to")]) == 0
    assert deviations(load_model(tmp_path / "to"), to) == []


@pytest.mark.parametrize("location", ["../weights.bin", "./model.onnx", ".//profile.json", "./."])
def test_external_data_elsewhere_or_in_the_way_is_refused(
    tmp_path: Path, laptop: Path, capsys: pytest.CaptureFixture[str], location: str
) -> None:
    model = with_weights(laptop, tmp_path / "m", "w")
    say_location(model, location)
    common = ["--data", str(laptop / "train.parquet"), "--labels", "fraud", "--to", str(tmp_path / "fraud")]
    assert main(["package", "--model", str(model), *common]) == 2
    assert location in capsys.readouterr().err
    assert not (tmp_path / "fraud").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--model", "nothing.onnx"], "no model at nothing.onnx"),
        (["--model", "{laptop}/README.md"], "no ONNX file"),
        (["--data", "nothing.parquet"], "nothing.parquet"),
        (["--data", "{laptop}/README.md"], ".csv or a .parquet"),
        (["--labels", "weather"], "weather"),
        (["--columns", "amount"], "takes 2 columns"),
        (["--card", "nothing.md"], "nothing.md"),
        (["--to", "https://place/fraud"], "can't be pushed to"),
        (["--to", "pvc://claim/fraud"], "into the claim"),
        (["--to", "ftp://place/fraud"], "--to"),
        (["--to", "{laptop}/train.parquet"], "train.parquet"),
        (["--to", "{laptop}/new.onnx"], "is a folder"),
        (["--name", "Fraud!"], "--name"),
        (["--version", "a b"], "--version"),
    ],
)
def test_every_error_is_one_line_and_status_two(
    laptop: Path,
    tmp_path: Path,
    package: Package,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(laptop))  # noqa: PTH208
    assert package(str(tmp_path / "fraud"), *(one.format(laptop=laptop) for one in change)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("headgate package: ")
    assert told in err
    assert sorted(os.listdir(laptop)) == before  # noqa: PTH208
    assert not (tmp_path / "fraud").exists()


@pytest.fixture
def logarithm(tmp_path: Path) -> list[str]:
    """OUT is the logarithm of two columns: NaN below 0, infinite at 0."""

    serving_models.by_rows(tmp_path / "log.onnx", "Log")
    a = np.ones(5000)
    a[100:230], a[400:402] = -1.5, 0
    parquet.write_table(pa.table({"a": a, "b": np.arange(5000) + 1.0}), tmp_path / "rows.parquet")
    return ["--model", str(tmp_path / "log.onnx"), "--data", str(tmp_path / "rows.parquet")]


TOLD = (
    "invalid answers: OUT is NaN or infinite in 132 of 5000 answers, first in row 100 (a=-1.5, b=101): [nan, 4.61512]"
)


def test_answers_that_are_no_numbers_are_said(
    tmp_path: Path, logarithm: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["package", *logarithm, "--to", str(tmp_path / "fraud")]) == 0
    assert TOLD in capsys.readouterr().err.splitlines()
    assert main(["profile", *logarithm, "--out", str(tmp_path / "p.json")]) == 0
    assert TOLD in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("command", ["package", "profile"])
def test_how_far_a_slow_model_is_is_said(
    tmp_path: Path,
    logarithm: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """Also before the first answer: it may never come."""
    run, awaited = Model.run, [f"headgate {command}: {done} of 5000 rows answered after " for done in (256, 0)]

    def slow(*given: Any) -> Any:
        deadline, wanted = time.monotonic() + PATIENCE, awaited.pop() if awaited else ""
        while wanted not in capsys.readouterr().err:
            assert time.monotonic() < deadline, wanted
            time.sleep(0.01)
        return run(*given)

    monkeypatch.setattr(Model, "run", slow)
    monkeypatch.setattr(reference, "EVERY", 0.01)
    assert main([command, *logarithm, "--to" if command == "package" else "--out", str(tmp_path / "place")]) == 0
    assert not awaited


@pytest.mark.parametrize("command", ["package", "profile"])
def test_strict_refuses_them_and_writes_nothing(
    tmp_path: Path, logarithm: list[str], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    place = tmp_path / "place"
    to = ["--to" if command == "package" else "--out", str(place)]
    assert main([command, *logarithm, *to, "--strict"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == TOLD
    assert "--strict" in err.splitlines()[1]
    assert not place.exists()


def test_a_column_that_may_be_an_index_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.csv").write_text(",a\n" + "0,1.5\n1,2.5\n" * 9)
    assert main(["profile", "--data", str(tmp_path / "rows.csv"), "--out", str(tmp_path / "p.json")]) == 0
    assert "kept: first column: it has no name" in capsys.readouterr().err
    assert main(["profile", "--data", str(tmp_path / "rows.csv"), "--columns", ",a", "--out", str(tmp_path / "p")]) == 0
    assert "kept" not in capsys.readouterr().err


def test_strict_lets_valid_answers_pass(tmp_path: Path, package: Package) -> None:
    assert package(str(tmp_path / "fraud"), "--strict") == 0


def test_ctrl_c_ends_a_model_that_does_not(tmp_path: Path) -> None:
    model = serving_models.endless(tmp_path / "model.onnx")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    command = [sys.executable, "-c", "import sys; from headgate_cli import main; sys.exit(main())", "profile"]
    process = subprocess.Popen(
        [*command, "--model", str(model), "--data", str(tmp_path / "rows.csv")], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    try:
        assert "0 of 1 rows answered" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
