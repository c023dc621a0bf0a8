"""Whatever a Prometheus does to its answers: the decision is the one on clean answers, or it comes later."""

import pytest

from faulty_metrics import FAULTS, ending

CASES = 60
GOOD, BAD = 0.001, 0.2


@pytest.mark.parametrize("failing", [GOOD, BAD])
@pytest.mark.parametrize("fault", [*FAULTS, "all of them"])
def test_faulty_answers_change_no_decision(fault: str, failing: float) -> None:
    faults = FAULTS if fault == "all of them" else (fault,)
    right = "RollingBack" if failing == BAD else "Promoting"
    found = [ending(seed, failing, faults, 0.2 + 0.6 * seed / CASES) for seed in range(CASES)]
    assert {each.decision for each in found} <= {right, ""}
    assert any(each.decision == right for each in found), "it goes on whenever an answer is well"


@pytest.mark.parametrize(("failing", "right"), [(GOOD, "Promoting"), (BAD, "RollingBack")])
def test_clean_answers_decide(failing: float, right: str) -> None:
    assert {ending(seed, failing, (), 0.0).decision for seed in range(5)} == {right}
