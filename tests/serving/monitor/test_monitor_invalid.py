"""Answers that are NaN or infinite: how many, and what the first of them looks like."""

from typing import Any

import numpy as np
import pytest

from headgate_serving.authoring.invalid import invalid_answers
from headgate_serving.monitor.profile import Column

NAN, INF = np.nan, np.inf
COLUMNS = [
    Column("amount", "X", 0, np.array([1.5, 2.5, NAN], np.float32)),
    Column("name", "S", 0, np.array(["a", "b" * 99, "c"], object)),
]

ANSWERS: dict[str, tuple[Any, str]] = {
    "a number": (
        [0.5, INF, 1],
        "in 1 of 3 answers, first in row 1 (amount=2.5, name='bbbbbbbbbbbb...bbbbbbbbbbbbb'): inf",
    ),
    "two": ([[0.5, 1], [1, 1], [1, NAN]], "in 1 of 3 answers, first in row 2 (amount=nan, name='c'): [1, nan]"),
    "many": (
        np.full((3, 40), -INF),
        "in 3 of 3 answers, first in row 0 (amount=1.5, name='a'): [-inf, -inf, -inf, -inf, -inf, …]",
    ),
    "tables": (np.full((3, 1, 2), NAN), "in 3 of 3 answers, first in row 0 (amount=1.5, name='a'): [nan, nan]"),
    "one for all rows": ([NAN], "in 1 of 1 answers, first in answer 0: nan"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_first_is_told(name: str) -> None:
    values, told = ANSWERS[name]
    (found,) = invalid_answers(COLUMNS, {"fine": np.ones(3), "p": np.array(values, np.float32)})
    assert str(found) == f"p is NaN or infinite {told}"


@pytest.mark.parametrize("values", [[1, 2, 3], ["a", "b", "c"], [True, False, True], [0.5, 1.5, 2.5], np.empty((3, 0))])
def test_what_is_valid_is_not(values: Any) -> None:
    assert invalid_answers(COLUMNS, {"p": np.array(values)}) == ()


def test_of_many_columns_the_first_are_told() -> None:
    columns = [Column(f"c{at}", "X", at, np.zeros(1)) for at in range(9)]
    (found,) = invalid_answers(columns, {"p": np.array([NAN])})
    assert found.row == "c0=0, c1=0, c2=0, c3=0, c4=0, …"
