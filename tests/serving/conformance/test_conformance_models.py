"""A sample of what `make conformance` serves: the test cases of the onnx package, against the real server."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import serving_models as models
from bench.conformance import check, onnx_cases
from bench.conformance.__main__ import COLLECTIONS, COMMAND, DOCUMENT, run
from bench.conformance.check import EQUAL, NOT_COMPARABLE, REFUSED, UNSUPPORTED, WRONG, Case, Outcome, is_a_fault
from bench.conformance.host import Host

EVERY = 40
PROCESSES = 2


def test_a_sample_of_the_cases_of_the_onnx_package(tmp_path: Path) -> None:
    tests = onnx_cases.tests()
    assert len(tests) > 2000
    sample = [*tests[::EVERY], *(test for test in tests if test.name.endswith("_empty_set"))]
    outcomes = run([partial(onnx_cases.case_of, test, tmp_path) for test in sample], tmp_path, PROCESSES)
    assert not [outcome for outcome in outcomes if is_a_fault(outcome)]
    kinds = Counter(outcome.kind for outcome in outcomes)
    assert kinds[EQUAL] > 0.6 * len(sample), kinds


def test_what_is_written_of_all_of_them_has_no_fault() -> None:
    written = DOCUMENT.read_text().partition(f"<!-- written by {COMMAND} -->")[2]
    assert written.count("| equal | bit for bit |") == len(COLLECTIONS)
    refused = [line for line in written.splitlines() if line.startswith("| refused")]
    assert all(line.split(" | ")[1].endswith("as input or output") for line in refused), refused
    assert WRONG not in written


OutcomeOf = Callable[..., Outcome]
"""Model, and its inputs by name."""


@pytest.fixture
def outcome_of(tmp_path: Path) -> Iterator[OutcomeOf]:
    """What comes of a model, with one row of ones unless something else is asked."""
    with Host(tmp_path / "host") as host:
        row = {"X": np.ones((1, 2), np.float32)}
        yield lambda model, **inputs: check.outcome_of(Case("it", model, [inputs or row]), host)


def test_what_the_check_finds(tmp_path: Path, outcome_of: OutcomeOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to see a wrong answer, for all else rests on that."""
    score = models.score(tmp_path / "score.onnx")
    assert outcome_of(score) == Outcome("it", EQUAL, "bit for bit")
    assert outcome_of(models.zipmap(tmp_path / "zipmap.onnx"), IN=np.array([[1, 3]], np.float32)).kind == EQUAL
    assert outcome_of(models.sequence(tmp_path / "sequence.onnx"), IN=np.array([[1, 3]], np.float32)).kind == EQUAL
    refused = outcome_of(models.sequence(tmp_path / "sequence.onnx", more="OUT_0"), IN=np.array([[1, 3]], np.float32))
    assert refused == Outcome("it", REFUSED, "a sequence as input or output")
    assert not is_a_fault(refused)
    assert is_a_fault(Outcome("it", REFUSED, "400: input …: expected shape [0], got [0]"))
    random = models.save(
        tmp_path / "random.onnx",
        [helper.make_node("RandomNormalLike", ["X"], ["Y"])],
        [("X", TensorProto.FLOAT, ["n", 2])],
        [("Y", TensorProto.FLOAT, ["n", 2])],
    )
    assert outcome_of(random).kind == NOT_COMPARABLE
    (tmp_path / "no.onnx").write_bytes(b"pickle")
    assert outcome_of(tmp_path / "no.onnx").kind == UNSUPPORTED
    fails = models.table(tmp_path / "table.onnx")
    assert outcome_of(fails, IN=np.array([9])) == Outcome("it", UNSUPPORTED, "fails in the run")
    run = check.Reference.run
    for wrong in (lambda values: values * 1.1, lambda values: values[:, None], lambda values: values.astype("f8")):
        monkeypatch.setattr(
            check.Reference,
            "run",
            lambda self, inputs, wrong=wrong: {**(found := run(self, inputs)), "score": wrong(found["score"])},
        )
        assert outcome_of(score).kind == WRONG
