"""What a preflight reads and writes is bounded and checked: evaluations, metadata, reports."""

import json
from pathlib import Path
from typing import Any

import pytest

from headgate.api.preflight import MOST_TEXT, Check, CheckName, Report
from headgate_serving.artifact.evaluation import read_evaluation
from headgate_serving.errors import ArtifactInvalid
from headgate_serving.preflight import schema
from headgate_serving.preflight.command import fitting
from headgate_serving.preflight.endpoint import Endpoint
from headgate_serving.preflight.evaluation import check
from headgate_serving.preflight.findings import Findings, NothingToCheck, shown
from headgate_serving.preflight.signature import MetadataInvalid, Signature, Spec, read_signature
from headgate_serving.preflight.subject import Asked, Subject

NAMES: tuple[CheckName, ...] = ("evaluation", "schema", "samples", "edgeCases", "robustness", "load")


def test_the_longest_report_fits_into_a_termination_message() -> None:
    figures = {f"figure{at}": 123456.123456 for at in range(4)}
    checks = [Check(name=name, outcome="Failed", message="ж" * MOST_TEXT, figures=figures) for name in NAMES]
    told = fitting(Report(checks=checks, seconds=1.0)).manifest()
    assert len(json.dumps({"reason": "PreflightDone", **told})) <= 4096
    assert [each["name"] for each in told["checks"]] == list(NAMES)


def test_text_of_others_is_shown_in_one_line_and_shortened() -> None:
    assert shown("a\n\x1b[31mb\u202e") == "a [31mb"
    assert len(shown("x" * 1000)) == 80


def evaluated(tmp_path: Path, text: str) -> Findings:
    (tmp_path / "evaluation.json").write_text(text)
    endpoint = Endpoint("http://127.0.0.1:1", "m", 1.0, 0.0)
    findings = Findings()
    check(Subject(Asked(endpoint, tmp_path), None), findings)
    return findings


def test_metrics_that_hold_and_that_do_not(tmp_path: Path) -> None:
    metrics = [
        {"name": "accuracy", "value": 0.95, "min": 0.93},
        {"name": "accuracy", "value": 0.90, "min": 0.93, "slice": "age < 30"},
        {"name": "loss", "value": 0.3, "max": 0.2},
    ]
    found = evaluated(tmp_path, json.dumps({"format": 1, "metrics": metrics}))
    assert found.wrong == [
        "accuracy of age < 30 is 0.9, and has to be at least 0.93",
        "loss is 0.3, and has to be at most 0.2",
    ]
    assert found.figures == {"metrics": 3, "failed": 2}


def test_without_an_evaluation_there_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(NothingToCheck):
        check(Subject(Asked(Endpoint("http://127.0.0.1:1", "m", 1.0, 0.0), tmp_path), None), Findings())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no JSON"),
        ('{"format": 2, "metrics": []}', '"format": 1'),
        ('{"format": 1, "metrics": []}', "1 to 1000"),
        ('{"format": 1, "metrics": [{"name": "a", "value": 1}]}', "metrics[0] has neither"),
        ('{"format": 1, "metrics": [{"name": "a", "value": "1", "min": 0}]}', "'value' has to be a number"),
        ('{"format": 1, "metrics": [{"name": "a", "value": NaN, "min": 0}]}', "no JSON"),
        ('{"format": 1, "metrics": [{"name": "a", "value": 1, "minimum": 0}]}', "unknown 'minimum'"),
        ('{"format": 1, "metrics": [{"name": "a", "value": 1, "min": 2, "max": 1}]}', "'min' is above 'max'"),
    ],
)
def test_a_malformed_evaluation_fails_and_says_where(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactInvalid):
        read_evaluation(text.encode())
    (found,) = evaluated(tmp_path, text).wrong
    assert told in found


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"<html>",
        b'{"inputs": {}, "outputs": 3}',
        b'{"inputs": [{"datatype": "FP32", "shape": []}]}',
        b'{"inputs": [{"name": "x", "shape": []}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": ["a"]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": []}, {"name": "x", "datatype": "FP32", "shape": []}]}',
    ],
)
def test_metadata_that_can_not_be_read(raw: bytes) -> None:
    with pytest.raises(MetadataInvalid):
        read_signature(raw)


def signature(inputs: list[Spec], outputs: list[Spec]) -> Signature:
    return Signature({one.name: one for one in inputs}, {one.name: one for one in outputs})


X, Y = Spec("x", "FP32", (-1, 4)), Spec("y", "FP32", (-1, 2))
ANY = Spec("x", "FP32", None)
BREAKS: list[tuple[Any, Any, Any, Any, str]] = [
    ([X], [Spec("x", "FP32", (-1, 5))], [Y], [Y], "the input x has the shape [-1, 5]"),
    ([X], [Spec("x", "FP32", (-1, 4, 1))], [Y], [Y], "of 3 dimensions"),
    ([ANY], [X], [Y], [Y], "and took any"),
    ([X, Spec("o", "FP32", (1,), True)], [X, Spec("o", "FP32", (1,))], [Y], [Y], "was optional and is required"),
    ([X, Spec("o", "FP32", (1,), True)], [X], [Y], [Y], "the input o is gone"),
    ([X], [X, Spec("n", "FP32", (1,))], [Y], [Y], "a new required input n"),
    ([X], [X], [Y], [Spec("y", "FP32", (-1, 3))], "the output y has the shape [-1, 3]"),
    ([X], [X], [Y], [Spec("y", "FP32", (-1,))], "the output y has the shape [-1]"),
    ([X], [X], [Y], [Spec("y", "FP64", (-1, 2))], "the output y is FP64"),
]
FITS: list[tuple[Any, Any, Any, Any]] = [
    ([Spec("x", "FP32", (-1, 4))], [Spec("x", "FP32", (-1, -1))], [Y], [Y]),
    ([X], [ANY], [Y], [Y]),
    ([X], [X], [Y], [Spec("y", "FP32", (-1, -1))]),
    ([X], [X], [Spec("y", "FP32", (1,))], [Spec("y", "FP32", (-1,))]),
    ([X], [X, Spec("o", "FP32", (1,), True)], [Y], [Y, Spec("z", "FP32", (1,))]),
]


@pytest.mark.parametrize(("ins", "new_ins", "outs", "new_outs", "told"), BREAKS)
def test_differences_that_break_a_client(
    ins: list[Spec], new_ins: list[Spec], outs: list[Spec], new_outs: list[Spec], told: str
) -> None:
    (wrong,) = compared(ins, new_ins, outs, new_outs).wrong
    assert told in wrong


@pytest.mark.parametrize(("ins", "new_ins", "outs", "new_outs"), FITS)
def test_differences_that_break_nobody(
    ins: list[Spec], new_ins: list[Spec], outs: list[Spec], new_outs: list[Spec]
) -> None:
    assert compared(ins, new_ins, outs, new_outs).wrong == []


def compared(ins: list[Spec], new_ins: list[Spec], outs: list[Spec], new_outs: list[Spec]) -> Findings:
    candidate, stable = (told_by(signature(*each)) for each in ((new_ins, new_outs), (ins, outs)))
    findings = Findings()
    schema.check(Subject(candidate, stable), findings)
    return findings


def told_by(asked: Signature) -> Asked:
    version = Asked(Endpoint("http://127.0.0.1:1", "m", 1.0, 0.0), None)
    version.__dict__["signature"] = asked
    return version
