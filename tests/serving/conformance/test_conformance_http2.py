"""h2spec against the gRPC port of a real process: all cases pass but those that `bench/conformance/h2spec.py` lists."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import serving_models as models
from bench.conformance.__main__ import DOCUMENT
from bench.conformance.h2spec import COMMAND, PASSED, STAYS, outcomes, wrong
from serving_process import Served


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    models.score(tmp_path / "model.onnx")
    process = Served(tmp_path, log=tmp_path / "termination-log")
    yield int(process.grpc_address.rpartition(":")[2])
    process.stop()


def test_h2spec(port: int) -> None:
    found = outcomes(port)
    passed = list(found.values()).count(PASSED)
    print(f"{passed} of {len(found)} cases of h2spec pass")
    assert not {name: found.get(name, "no such case") for name in wrong(found)}
    written = DOCUMENT.read_text().partition(f"<!-- written by {COMMAND} -->")[2]
    assert f"| ours | {passed} | 0 | {len(STAYS)} |" in written, f"{COMMAND} writes it anew"


def test_a_case_that_newly_passes_is_noticed_as_one_that_newly_fails() -> None:
    as_listed = dict.fromkeys(STAYS, "failed") | {"another": PASSED}
    assert not wrong(as_listed)
    (first, *_) = STAYS
    assert wrong(as_listed | {first: PASSED}) == [first]
    assert wrong(as_listed | {"another": "failed"}) == ["another"]
    assert wrong(as_listed | {"another": "skipped"}) == ["another"]
