"""When a rollout is decided: on figures of the status and on arrays alike."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core import judge
from headgate.core.signals.signal import PASS

LIMIT = math.log(100)


@pytest.mark.parametrize(("log_harm", "decided"), [(-3, False), (4.6, False), (4.6052, True), (1e6, True)])
def test_harm_decides_at_one_over_alpha(log_harm: float, decided: bool) -> None:
    assert judge.harmful(log_harm, 0.01) == decided


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01, 0.003, 1e-6])
def test_evidence_that_was_stored_with_four_decimals_still_decides(alpha: float) -> None:
    """At the threshold itself it may have been rounded down."""
    assert judge.harmful(round(math.log(1 / alpha), 4), alpha)
    assert not judge.harmful(round(math.log(1 / alpha), 4) - 1e-4, alpha)


@pytest.mark.parametrize(
    ("spent", "log_worse", "passed", "decided"),
    [
        (20.0, LIMIT, False, True),
        (35.5, 9.0, False, True),
        (19.99, 9.0, False, False),  # there is budget left
        (20.0, LIMIT - 0.01, False, False),  # it may have been bad luck
        (500.0, 0.0, False, False),
        (20.0, 9.0, True, False),  # worse than stable, and shown to be so by less than the margin
    ],
)
def test_a_spent_budget_decides_only_about_a_version_that_is_shown_to_be_worse(
    spent: float, log_worse: float, passed: bool, decided: bool
) -> None:
    assert judge.budget_spent(spent, 20.0, log_worse, passed, 0.01) == decided


def test_every_signal_has_to_pass() -> None:
    assert judge.passed([PASS])
    assert judge.passed([PASS, 7.0, 12.0])
    assert not judge.passed([PASS - 1e-9])
    assert not judge.passed([50.0, 50.0, 1.0])


numbers = st.lists(st.tuples(*[st.floats(-10, 30)] * 3, st.booleans()), min_size=1, max_size=6)


@given(numbers, st.floats(0.001, 0.2))
def test_many_rollouts_are_decided_as_each_is_alone(rows: list[Any], alpha: float) -> None:
    first, second, third, passed = (np.array(column) for column in zip(*rows, strict=True))
    harmful, safe = judge.harmful(first, alpha), judge.passed([first, second])
    spent = judge.budget_spent(first, second, third, passed, alpha)
    for i, (a, b, c, d) in enumerate(rows):
        assert harmful[i] == judge.harmful(a, alpha)
        assert safe[i] == judge.passed([a, b])
        assert spent[i] == judge.budget_spent(a, b, c, d, alpha)
