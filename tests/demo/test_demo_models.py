"""What the four versions do, and how their artifacts hang together."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo import artifacts, facts
from demo.data import FEATURES, Census
from demo.facts import Facts
from demo.models import DIS, RELP, RELP_KNOWN, Models
from demo.onnx_session import session_of
from demo_made_up import people
from headgate_serving.artifact import digest_of
from headgate_serving.monitor import read_profile

GOOD = Facts(
    rows=100,
    accuracy_v1=0.78,
    accuracy_v2=0.79,
    held_out_accuracy_v1=0.77,
    held_out_accuracy_v2=0.79,
    accuracy_v4=0.5,
    positive_v1=0.6,
    positive_v2=0.61,
    positive_v4=0.3,
    label_shift_v2=0.01,
    score_shift_v2=0.02,
    label_shift_v4=0.31,
    score_shift_v4=0.4,
    failing_v3=0.06,
)


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v4"])
def test_all_versions_have_the_same_form(models: Models, version: str) -> None:
    session = session_of(models.versions[version])
    (tensor,) = session.get_inputs()
    assert (tensor.name, tensor.type, tensor.shape[1]) == ("input", "tensor(float)", len(FEATURES))
    assert [output.name for output in session.get_outputs()] == ["label", "probabilities"]
    rows = people(20, seed=1)
    rows = rows.take(np.flatnonzero(rows.features[:, RELP] < RELP_KNOWN))
    labels, probabilities = session.run(None, {"input": rows.features})
    assert (labels.dtype, labels.shape) == (np.int64, (len(rows),))
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (len(rows), 2))


def test_v3_fails_on_the_missing_code_and_nowhere_else(models: Models) -> None:
    good, bad = session_of(models.versions["v2"]), session_of(models.versions["v3"])
    rows = people(300, seed=2)
    for row in rows.features:
        one = row[None, :]
        if row[RELP] >= RELP_KNOWN:
            with pytest.raises(Exception, match="indices element out of data bounds"):
                bad.run(None, {"input": one})
        else:
            assert np.array_equal(bad.run(None, {"input": one})[1], good.run(None, {"input": one})[1])


def test_the_failing_share_is_that_of_the_missing_code(models: Models) -> None:
    rows = people(2000, seed=3)
    share = facts.failing_share(session_of(models.versions["v3"]), rows, sample=200)
    assert share == pytest.approx((rows.features[:, RELP] >= RELP_KNOWN).mean())
    assert facts.failing_share(session_of(models.versions["v2"]), rows, sample=200) == 0


def test_v4_answers_as_v2_would_to_swapped_columns(models: Models) -> None:
    rows = people(500, seed=4).features
    swapped = rows.copy()
    swapped[:, [RELP, DIS]] = rows[:, [DIS, RELP]]
    served = session_of(models.versions["v4"]).run(None, {"input": rows})
    meant = session_of(models.versions["v2"]).run(None, {"input": swapped})
    assert np.array_equal(served[0], meant[0])
    assert np.array_equal(served[1], meant[1])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"accuracy_v2": 0.781}, "better than v1"),
        ({"score_shift_v2": 0.07}, "shifts the scores"),
        ({"failing_v3": 0.08}, "v3 fails"),
        ({"label_shift_v4": 0.1}, "v4 shifts"),
    ],
)
def test_models_that_would_spoil_the_story_are_found(change: dict[str, Any], problem: str) -> None:
    found = replace(GOOD, **change).problems()
    assert (problem in found[0]) if problem else found == []


def test_packed_artifacts_are_what_headgate_serves(models: Models, tmp_path: Path) -> None:
    census = Census(people(500), people(200, seed=5))
    measured = facts.measure(models, census.reference, census.live)
    artifacts.pack(tmp_path, models, census, measured)
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["facts"]["failing_v3"] == measured.failing_v3
    for version in artifacts.VERSIONS:
        folder = tmp_path / version
        assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.onnx", "profile.json"]
    assert "candidates/renamed-input" in about["digests"]
    for name, digest in about["digests"].items():
        assert digest == digest_of(tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "candidates" / "shuffled").iterdir()) == [
        *("manifest.json", "model.onnx", "profile.json", "samples.json")
    ]
    layouts = {v: read_profile((tmp_path / v / "profile.json").read_text()).layout for v in artifacts.VERSIONS}
    assert layouts["v2"] == layouts["v3"] == layouts["v4"] != layouts["v1"]
    with np.load(tmp_path / artifacts.ROWS) as rows:
        assert sorted(map(tuple, rows["features"])) == sorted(map(tuple, census.live.features.astype(np.uint8)))
        assert rows["labels"].sum() == census.live.labels.sum()


def test_the_key_is_the_same_every_time() -> None:
    assert artifacts.key() == artifacts.key()


def test_what_runs_in_pods_imports_nothing_that_is_not_there() -> None:
    allowed = {"numpy", "h11", "headgate_serving", "onnxruntime", "__future__"}
    stdlib = __import__("sys").stdlib_module_names
    for name in artifacts.IN_PODS:
        source = (artifacts.HERE / name).read_text()
        for line in source.splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]) and not words[1].startswith("."):
                assert words[1].split(".")[0] in allowed | stdlib, (name, line)
