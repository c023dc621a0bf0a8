"""Columns that stand for classes with names: of a classifier that ends in a ZipMap, from its rows to its series."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import serving_models as models
from headgate_serving.authoring.reference import reference_of
from headgate_serving.errors import ProfileInvalid
from headgate_serving.monitor import InputForm, Profile, build_profile, monitor_of, read_profile
from headgate_serving.monitor.profile import Column, Label
from headgate_serving.runtime.model import load_model

FORMS = {"X": InputForm(1, False)}
THREE = ("ant", "bee", "cat")
ANSWERS = np.eye(3)[[0, 1, 1, 2, 2, 2]]


def built(classes: tuple[str, ...] = THREE, answers: np.ndarray = ANSWERS, label: Label | None = None) -> Profile:
    columns = [Column("x", "X", 0, np.arange(float(len(answers))))]
    return build_profile(columns, {"P": answers}, label, {"P": classes} if classes else None)[0]


def counted(profile: Profile, answers: np.ndarray, classes: dict[str, tuple[str, ...]]) -> dict[str, dict[str, int]]:
    """Answers of a model with these classes, in the bins of the profile."""
    monitor = monitor_of(None, [profile], FORMS, ["P"], classes)
    assert monitor
    monitor.observe({"X": np.zeros((len(answers), 1))}, {"P": answers}, len(answers))
    return {
        series.name: {label.split(" ")[-1]: n for label, n in zip(series.labels, series.counts.tolist(), strict=True)}
        for series in monitor.predictions()
    }


def test_categories_have_the_names_of_the_classes() -> None:
    profile = built()
    assert read_profile(profile.to_json()) == profile
    (largest, _) = profile.outputs
    assert (largest.name, largest.bins.labels()[:3]) == ("argmax(P)", ["c00 cat", "c01 bee", "c02 ant"])
    live = np.array([[0.1, 0.2, 0.7], [1, 0, 0], [np.nan, 0, 1]])
    found = counted(profile, live, {"P": THREE})["argmax(P)"]
    assert found == {"cat": 1, "bee": 0, "ant": 1, "other": 0, "unseen": 0, "invalid": 1}


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_another_version_may_have_them_in_another_order(order: tuple[int, ...]) -> None:
    profile, classes = built(), tuple(THREE[at] for at in order)
    same = counted(profile, ANSWERS, {"P": THREE})
    assert counted(profile, ANSWERS[:, order], {"P": classes}) == same
    assert counted(profile, ANSWERS[:, order], {}) != same  # whoever has no names has to have the order


def test_the_second_of_two_as_well() -> None:
    answers = np.linspace([0.0, 1.0], [1.0, 0.0], 9)
    profile = built(("no", "yes"), answers)
    same = counted(profile, answers[:3], {"P": ("no", "yes")})
    assert counted(profile, answers[:3, ::-1], {"P": ("yes", "no")}) == same


OTHERS = {
    "one of three": (*THREE[:2], "dog"),
    "one more": (*THREE, "dog"),
    "one less": THREE[:2],
}


@pytest.mark.parametrize("name", OTHERS)
def test_answers_that_are_other_classes_are_not_counted_under_wrong_names(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    classes = OTHERS[name]
    assert counted(built(), np.eye(len(classes)), {"P": classes}) == {}
    assert "this model lacks it: argmax(P), max(P) (with the same classes)" in caplog.text
    two = built(("no", "yes"), np.linspace([0.0, 1.0], [1.0, 0.0], 9))
    assert counted(two, np.eye(len(classes)), {"P": classes}) == {}
    with pytest.raises(ProfileInvalid, match=r"has no argmax\(P\), max\(P\) \(with the same classes\)"):
        monitor_of(built(), [], FORMS, ["P"], {"P": classes})


def test_a_label_of_thousands_of_digits_is_a_name() -> None:
    truth = np.array(["9" * 5000, "0", "0", "1", "1", "1"], object)
    assert [(one.rows, one.correct) for one in built((), label=Label("true", truth)).accuracy] == [(6, 0)]


def test_a_label_is_compared_by_name() -> None:
    """Where the truth holds fewer classes than the model knows, and where their order is not that of their names."""
    truth = np.array(["ant", "bee", "bee", "bee", "ant", ""], object)
    assert [(one.rows, one.correct) for one in built(label=Label("true", truth)).accuracy] == [(5, 3)]
    two = np.array([[0.9, 0.1], [0.2, 0.8]])
    found = built(("z", "a"), two, Label("true", np.array(["z", "a"], object))).accuracy
    assert [(one.rows, one.correct) for one in found] == [(2, 2)]


def test_damaged_classes() -> None:
    with pytest.raises(ProfileInvalid, match="2 classes of output 'argmax"):
        read_profile(built().to_json().replace('"ant",\n', "", 1))


def test_the_profile_of_a_classifier_that_ends_in_a_zipmap(tmp_path: Path) -> None:
    path = models.zipmap(tmp_path / "model.onnx", THREE)
    (tmp_path / "data.csv").write_text("a,b,c\n" + "1,2,3\n9,1,1\n2,1,3\n")
    profile = reference_of(path, tmp_path / "data.csv", None).profile
    found = {output.name: output.bins.labels() for output in profile.outputs}
    assert found["argmax(OUT)"][:2] == ["c00 cat", "c01 ant"]
    assert load_model(path).classes == {"OUT": THREE}


def test_a_profile_of_a_model_that_tells_no_shape_has_columns(tmp_path: Path) -> None:
    path = models.score(tmp_path / "model.onnx")
    whole = onnx.load(path)
    whole.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(whole, path)
    (tmp_path / "data.csv").write_text("a,b\n1,2\n3,4\n5,7\n")
    features = reference_of(path, tmp_path / "data.csv", None).profile.features
    assert [(feature.name, feature.input, feature.column) for feature in features] == [("a", "X", 0), ("b", "X", 1)]
