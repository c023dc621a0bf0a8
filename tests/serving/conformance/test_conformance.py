"""The table against a real `headgate-serve`, and against the real Triton: no difference but those that it lists."""

from typing import Any

import pytest

from conformance_cases import CASES
from conformance_document import COMMAND, PLACE, document
from conformance_requests import asked, infer
from conformance_servers import Ours, Triton
from conformance_table import Case, answered, differences

GOOD = Case("a good request", "mixed", infer("mixed", asked()), answered())


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len(CASES) >= 150
    assert len({case.id for case in CASES}) == len(CASES)


def test_the_document_is_fresh(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--write-conformance", default=False):
        PLACE.write_text(document(CASES))
    assert PLACE.read_text() == document(CASES), f"run {COMMAND}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_ours(ours: Ours, case: Case) -> None:
    seen = ours.clients(case.model).send(case)
    assert not differences(case.ours, seen, own_words=True)
    if seen["status"] not in (200, "OK"):
        assert ours.clients("mixed").send(GOOD)["status"] == 200  # and it goes on


@pytest.mark.triton
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_triton(triton: Triton, case: Case) -> None:
    seen: dict[str, Any] = triton.clients(case.model).send(case)
    if case.triton is None:
        assert not differences(case.ours, seen, own_words=False), "a difference that the table does not list"
    else:
        assert not differences(case.triton.answer, seen, own_words=False)
        assert differences(case.ours, seen, own_words=False), "the table lists a difference that there is not"
