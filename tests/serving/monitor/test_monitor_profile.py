"""The profile: what it holds, what its layout hash says, and that it survives being written."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import serving_models as models
from headgate_cli import digest as digest_command
from headgate_cli import profile as profile_command
from headgate_serving.authoring.reference import reference_of
from headgate_serving.errors import ProfileInvalid
from headgate_serving.monitor import CategoryBins, NumericBins, Profile, build_profile, read_profile
from headgate_serving.monitor.profile import Column, Label

RNG = np.random.default_rng(5)
ROWS = 400


def columns(seed: int = 5) -> list[Column]:
    rng = np.random.default_rng(seed)
    return [
        Column("amount", "X", 0, rng.exponential(size=ROWS)),
        Column("age", "X", 1, rng.integers(18, 90, ROWS).astype(np.float32)),
        Column("state", "S", 0, np.array(rng.choice(["MA", "NY", ""], ROWS), object)),
    ]


def profile(**outputs: np.ndarray) -> Profile:
    return build_profile(columns(), outputs)[0]


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_written_and_read_it_is_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    built, _ = build_profile(columns(seed), {"p": rng.random((ROWS, 2)), "label": rng.integers(0, 2, ROWS)})
    assert read_profile(built.to_json()) == built
    counted = [*(feature.counts for feature in built.features), *(output.counts for output in built.outputs)]
    assert [sum(counts) for counts in counted] == [ROWS] * len(counted)


def test_the_layout_depends_on_the_bins_alone() -> None:
    base = columns()
    layout = build_profile(base, {})[0].layout
    doubled = [Column(c.name, c.input, c.column, np.concatenate([c.values] * 2)) for c in base]
    moved = [Column(c.name, "OTHER", 9 - c.column, c.values) for c in reversed(base)]
    shifted = [Column(c.name, c.input, c.column, c.values + 1 if c.name == "amount" else c.values) for c in base]
    renamed = [Column(c.name + "x", c.input, c.column, c.values) for c in base]
    assert build_profile(doubled, {})[0].layout == layout
    assert build_profile(moved, {})[0].layout == layout
    assert build_profile(shifted, {})[0].layout != layout
    assert build_profile(renamed, {})[0].layout != layout
    assert build_profile(base, {"label": np.zeros(ROWS, int)})[0].layout != layout
    assert len(layout) == 12
    assert int(layout, 16) >= 0


OUTPUTS: dict[str, tuple[Any, ...]] = {
    "labels": (RNG.integers(0, 3, ROWS), "out", CategoryBins),
    "labels in a column": (RNG.integers(0, 3, (ROWS, 1)), "out", CategoryBins),
    "labels of many kinds": (np.arange(ROWS), "out", CategoryBins),
    "text": (np.array(["yes", "no"] * (ROWS // 2), object), "out", CategoryBins),
    "booleans": (RNG.random(ROWS) > 0.5, "out", CategoryBins),
    "a number": (RNG.random(ROWS), "out", NumericBins),
    "a number in a column": (RNG.random((ROWS, 1)), "out", NumericBins),
    "two classes": (RNG.random((ROWS, 2)), "out[1]", NumericBins),
    "thirty classes": (RNG.random((ROWS, 30)), "argmax(out)", CategoryBins, "max(out)", NumericBins),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_counted_of_an_output(name: str) -> None:
    tensor, *counted_as = OUTPUTS[name]
    outputs = profile(out=tensor).outputs
    assert [kind for output in outputs for kind in (output.name, type(output.bins))] == counted_as
    for output in outputs:
        assert output.bins.labels()[-1] == "invalid"
        assert sum(output.counts) == ROWS


def test_what_can_not_be_counted_is_left_out_with_a_reason() -> None:
    outputs = {"image": np.zeros((ROWS, 2, 2)), "flags": np.zeros((ROWS, 2), int), "nan": np.full(ROWS, np.nan)}
    whole = [*columns(), Column("void", "X", 2, np.full(ROWS, np.nan))]
    built, left_out = build_profile(whole, outputs)
    assert built.outputs == ()
    assert list(left_out) == ["void", "image", "flags", "nan"]


@pytest.mark.parametrize("bad", [[], [Column("a", "X", 0, np.empty(0))], [*columns(), Column("a", "X", 0, np.ones(1))]])
def test_no_rows_or_ragged_columns_are_refused(bad: list[Column]) -> None:
    with pytest.raises(ProfileInvalid):
        build_profile(bad, {})


def damage(name: str) -> str:
    whole = json.loads(profile().to_json())
    feature = whole["features"][0]
    match name:
        case "edges":
            feature["edges"][1] = feature["edges"][2]
        case "infinite edge":
            feature["edges"][-1] = 1e999
        case "counts":
            feature["counts"].pop("above")
        case "layout":
            feature["edges"][0] -= 1.0
            feature["counts"] = dict(zip(NumericBins(tuple(feature["edges"])).labels(), [1] * 99, strict=False))
        case "kind":
            feature["kind"] = "colour"
        case "column":
            feature["column"] = -1
        case "twice":
            whole["features"].append(feature)
            whole.pop("layout")
        case "list":
            return "[]"
    return json.dumps(whole)


@pytest.mark.parametrize("name", ["edges", "infinite edge", "counts", "layout", "kind", "column", "twice", "list"])
def test_a_damaged_profile_is_refused(name: str) -> None:
    with pytest.raises(ProfileInvalid):
        read_profile(damage(name))


def run(command: ModuleType, *argv: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(argv)
    status: int = args.run(args)
    return status


def test_the_command_writes_a_profile_of_csv_and_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.score(tmp_path / "model.onnx")
    data = tmp_path / "rows.csv"
    data.write_text("id,b,a\n" + "".join(f"r{n},{n % 7 - 3.5},{n / 7 if n % 5 else ''}\n" for n in range(5000)))
    assert run(profile_command, "profile", "--model", str(tmp_path), "--data", str(data), "--columns", "a,b") == 0
    written = read_profile((tmp_path / "profile.json").read_bytes())
    assert [(f.name, f.input, f.column) for f in written.features] == [("a", "X", 0), ("b", "X", 1)]
    assert dict(zip(written.features[0].bins.labels(), written.features[0].counts, strict=True))["missing"] == 1000
    assert [p.name for p in written.outputs] == ["score", "label"]
    assert written.layout in capsys.readouterr().out


def test_the_command_says_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.score(tmp_path / "model.onnx")
    data = tmp_path / "rows.csv"
    data.write_text("id,a,b\nx,1,2\n")
    for options, reason in (
        ([], "takes 2 columns, the data has 3: id, a, b"),
        (["--columns", "a,z"], "no column 'z'"),
        (["--columns", "id,a"], "column 'id' is string"),
    ):
        assert run(profile_command, "profile", "--model", str(tmp_path), "--data", str(data), *options) == 2
        assert reason in capsys.readouterr().err
    assert run(profile_command, "profile", "--model", str(tmp_path), "--data", str(tmp_path / "rows.txt")) == 2
    assert not (tmp_path / "profile.json").exists()


def test_without_a_model_every_column_that_can_be_is_a_feature_of_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "rows.csv"
    lines = (f"{n},{n % 3 == 0},{n / 7},{'ab'[n % 2]},x{n},{n % 2},,EUR,2026-01-{n % 28 + 1:02d}" for n in range(500))
    data.write_text("id,member,amount,kind,note,paid,void,currency,day\n" + "\n".join(lines) + "\n")
    assert run(profile_command, "profile", "--data", str(data), "--labels", "paid") == 0
    said = capsys.readouterr()
    written = read_profile((tmp_path / "profile.json").read_bytes())
    assert [(f.name, f.input, f.column) for f in written.features] == [
        ("member", "member", 0),
        ("amount", "amount", 0),
        ("kind", "kind", 0),
    ]
    assert (written.outputs, written.accuracy) == ((), ())
    for name in ("id", "note", "void", "currency", "day"):
        assert f"left out: {name}: " in said.err
    assert "3 features, no answers" in said.out
    place = tmp_path / "asked.json"
    asked = ["--columns", "currency,id", "--out", str(place)]
    assert run(profile_command, "profile", "--data", str(data), *asked) == 0
    assert [f.name for f in read_profile(place.read_bytes()).features] == ["currency", "id"]


def test_with_labels_the_profile_knows_how_right_the_model_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.score(tmp_path / "model.onnx")
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 3000))
    truth = a + b + rng.normal(size=3000) / 2 > 0
    data = tmp_path / "rows.csv"
    known = [("" if n % 10 == 0 else str(label)) for n, label in enumerate(truth)]
    data.write_text("a,b,good\n" + "".join(f"{x},{y},{z}\n" for x, y, z in zip(a, b, known, strict=True)))
    argv = ["profile", "--model", str(tmp_path), "--data", str(data)]
    assert run(profile_command, *argv, "--labels", "good") == 0
    said = capsys.readouterr()
    raw = (tmp_path / "profile.json").read_text()
    written = read_profile(raw)
    (accuracy,) = written.accuracy
    right = ((a.astype(np.float32) + b.astype(np.float32) > 0) == truth) & (np.arange(3000) % 10 > 0)
    assert (accuracy.output, accuracy.label, accuracy.rows, accuracy.correct) == ("label", "good", 2700, right.sum())
    assert f"accuracy of label on 2700 rows with good: {right.sum() / 2700:.4f}" in said.out
    assert "left out: accuracy of score: its answers are neither classes nor" in said.err
    assert [f.name for f in written.features] == ["a", "b"]

    assert run(profile_command, *argv, "--columns", "a,b") == 0
    plain = read_profile((tmp_path / "profile.json").read_bytes())
    assert (plain.layout, plain.accuracy) == (written.layout, ())
    assert read_profile(written.to_json()) == written
    broken = json.loads(raw)
    next(iter(broken["accuracy"][0]["bins"].values()))["correct"] = 10**6
    with pytest.raises(ProfileInvalid):
        read_profile(json.dumps(broken))
    with pytest.raises(ProfileInvalid):
        read_profile(raw.replace('"output": "label",\n   "label"', '"output": "none",\n   "label"'))


def test_what_has_no_accuracy_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.score(tmp_path / "model.onnx")
    data = tmp_path / "rows.csv"
    data.write_text("a,b,amount,word,one\n" + "".join(f"{n},{-n},{n / 7},{'xyz'[n % 3]},1\n" for n in range(50)))
    for label, reason in (
        ("amount", "left out: accuracy: the label 'amount' is a number and no class"),
        ("word", "left out: accuracy of label: it answers 0, and the label 'word' is one of x, y, z"),
        ("one", "left out: accuracy of label: the label 'one' has 1 classes"),
    ):
        argv = ["--model", str(tmp_path), "--data", str(data), "--columns", "a,b", "--labels", label]
        assert run(profile_command, "profile", *argv) == 0
        assert reason in capsys.readouterr().err


ANSWERS = {
    "labels": (np.array([0, 1, 1, 0]), ["0", "1", "0", "0"], 3),
    "flags": (np.array([False, True, True, False]), ["0", "1", "0", "0"], 3),
    "texts": (np.array(["no", "yes", "yes", "no"], object), ["no", "yes", "no", ""], 2),
    "the probability of the second": (np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [1, 0]]), ["n", "y", "n", "n"], 3),
    "a score": (np.array([0.1, 0.8, 0.6, np.nan]), ["0", "1", "0", "0"], 2),
    "three classes by number": (np.eye(3)[[0, 1, 2, 2]], ["0", "1", "1", "2"], 3),
    "three classes by name": (np.eye(3)[[0, 1, 2, 2]], ["a", "b", "b", "c"], 3),
    "three columns and two names": (np.eye(3)[[0, 1, 2, 2]], ["a", "b", "b", "b"], None),
    "a number": (np.array([3.5, 1, 2, 2]), ["0", "1", "0", "0"], None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_means(name: str) -> None:
    tensor, truth, correct = ANSWERS[name]
    rows = [Column("x", "X", 0, np.arange(4.0))]
    built, left_out = build_profile(rows, {"out": tensor}, Label("good", np.array(truth, object)))
    if correct is None:
        assert built.accuracy == ()
        assert any(name.startswith("accuracy of") for name in left_out)
    else:
        assert [one.correct for one in built.accuracy] == [correct]
        assert built.accuracy[0].rows == sum(bool(name) for name in truth)


def test_the_command_refuses_what_can_not_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("id,day,void\n" + "".join(f"{n},2026-01-01,\n" for n in range(50)))
    for options, reason in (
        ([], "no column can be a feature (id: every row"),
        (["--labels", "none"], "no column 'none'"),
        (["--labels", "day"], "column 'day' can't be a label: a time"),
        (["--columns", "day"], "column 'day' can't be a feature: a time"),
        (["--columns", "void"], "no column can be a feature (void: not one row"),
        (["--columns", "id,id"], "names 'id' twice"),
        (["--columns", "id", "--labels", "id"], "is the label"),
        (["--columns", "id", "--out", str(tmp_path)], "directory"),
        (["--model", str(tmp_path / "none.onnx")], "there is no model"),
    ):
        assert run(profile_command, "profile", "--data", str(data), *options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line


def test_inputs_of_their_own_are_found_by_name(tmp_path: Path) -> None:
    models.mixed(tmp_path / "model.onnx")
    data = tmp_path / "rows.csv"
    data.write_text("AT,TEXT\n0,a\n")
    with pytest.raises(ProfileInvalid, match="input 'X'"):
        reference_of(tmp_path / "model.onnx", data, None)


def test_the_digest_command_prints_what_the_manifest_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"abc")
    assert run(digest_command, "digest", str(tmp_path)) == 0
    assert run(digest_command, "digest", str(tmp_path), "--write") == 0
    first, second = capsys.readouterr().out.split()
    assert first == second
    assert (tmp_path / "manifest.json").is_file()
    assert run(digest_command, "digest", str(tmp_path / "nothing")) == 1
    assert run(digest_command, "digest", str(tmp_path / "model.onnx"), "--write") == 1
