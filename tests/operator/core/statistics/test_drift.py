"""Drift: the band, the distance in the bins' own order, and what counts as beyond it."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.statistics import drift
from headgate.core.statistics.detector import threshold
from headgate.core.statistics.drift import FeatureDrift, band, look, reference_error

BINS = ("below", "n00 [0,1]", "n01 (1,2]", "n02 (2,3]", "above")


def follow(
    feature: str, blocks: Sequence[Mapping[str, float]], reference: Mapping[str, float], tolerance: float
) -> FeatureDrift:
    """Blocks and reference by the names of their bins."""
    bins = sorted({*reference, *(b for block in blocks for b in block)}, reverse=True)
    rows = np.array([[block.get(b, 0.0) for b in bins] for block in blocks]).reshape(len(blocks), len(bins))
    return drift.follow(feature, bins, rows, [reference.get(b, 0.0) for b in bins], tolerance)


def compare(feature: str, live: Mapping[str, float], reference: Mapping[str, float], tolerance: float) -> FeatureDrift:
    """One block."""
    return follow(feature, [live], reference, tolerance)


def counts(*values: Any, bins: Any = BINS) -> dict[str, Any]:
    return dict(zip(bins, values, strict=True))


@pytest.mark.parametrize(
    ("rows", "width"),
    [(100, 0.85 * math.sqrt(9.28 / 100)), (10_000, 0.85 * math.sqrt((math.log(1 + math.log(100)) + 9.28) / 10_000))],
)
def test_the_band_is_that_of_howard_and_ramdas(rows: int, width: float) -> None:
    assert band(rows) == pytest.approx(width)


def test_before_the_first_look_nothing_is_drift() -> None:
    assert band(99) == 1.0
    assert not compare("age", counts(99, 0, 0, 0, 0), counts(0, 0, 0, 0, 10_000), 0.1).drifted


def test_the_band_narrows_with_every_row() -> None:
    widths = [band(n) for n in range(100, 20_000, 100)]
    assert all(b < a for a, b in pairwise(widths))


def test_the_distance_of_a_number_is_that_of_kolmogorov_and_smirnov() -> None:
    found = compare("age", counts(0, 10, 20, 30, 40), counts(5, 25, 30, 30, 10), 0.1)
    assert found.distance == pytest.approx(max(0.05, 0.20, 0.30, 0.30))


def test_bins_are_taken_in_their_own_order_whatever_the_order_of_the_samples() -> None:
    live, reference = counts(30, 0, 0, 0, 70), counts(0, 100, 0, 0, 0)
    shuffled = {b: live[b] for b in ("above", "n01 (1,2]", "below", "n00 [0,1]", "n02 (2,3]")}
    assert compare("age", shuffled, reference, 0.1) == compare("age", live, reference, 0.1)
    assert compare("age", live, reference, 0.1).distance == pytest.approx(0.7)


def test_below_comes_first_and_above_last() -> None:
    far = compare("age", {"below": 100}, {"above": 100}, 0.1)
    near = compare("age", {"below": 100, "n00 [0,1]": 0}, {"n00 [0,1]": 100, "above": 0}, 0.1)
    assert far.distance == near.distance == 1.0
    assert compare("age", counts(50, 0, 0, 0, 50), counts(50, 0, 0, 0, 50), 0.1).distance == 0


def test_rows_without_a_value_count_too() -> None:
    assert compare("age", {"n00 [0,1]": 60, "missing": 40}, {"n00 [0,1]": 100}, 0.1).distance == pytest.approx(0.4)


def test_the_distance_of_categories_is_half_of_all_differences() -> None:
    live, reference = {"c00 a": 50, "c01 b": 30, "unseen": 20}, {"c00 a": 70, "c01 b": 30}
    assert compare("job", live, reference, 0.1).distance == pytest.approx(0.2)


def test_the_limit_is_tolerance_and_band_and_the_references_own_error() -> None:
    found = compare("age", counts(0, 500, 500, 0, 0), counts(0, 1000, 1000, 0, 0), 0.1)
    assert found.limit == pytest.approx(0.1 + band(1000) + math.sqrt(math.log(400) / 4000))
    assert found.rows == 1000


def test_a_shift_within_the_tolerance_is_no_drift_however_many_rows_there_are() -> None:
    live, reference = counts(0, 5_900_000, 4_100_000, 0, 0), counts(0, 500_000, 500_000, 0, 0)
    assert not compare("age", live, reference, 0.1).drifted
    assert compare("age", live, reference, 0.05).drifted


def test_without_rows_or_reference_there_is_nothing_to_compare() -> None:
    assert not compare("age", {}, counts(1, 1, 1, 1, 1), 0.1).drifted
    assert not compare("age", counts(1, 1, 1, 1, 1), {}, 0.1).drifted


@given(st.dictionaries(st.sampled_from((*BINS, "missing")), st.integers(0, 10**6)), st.integers(1, 1000))
def test_the_distance_to_itself_is_zero_and_never_above_one(live: dict[str, Any], times: int) -> None:
    scaled = {b: n * times for b, n in live.items()}
    assert compare("age", scaled, live, 0.1).distance <= 1e-9
    assert 0 <= compare("age", live, {"n00 [0,1]": 1}, 0.1).distance <= 1 + 1e-9


def test_rows_from_the_reference_itself_raise_no_alarm_at_any_time() -> None:
    random, alarms = np.random.default_rng(2), 0
    for _ in range(50):
        reference = random.multinomial(2000, [0.25] * 4)
        live = np.cumsum(random.multinomial(100, [0.25] * 4, size=200), axis=0)
        names = [b for b in BINS if b != "above"]
        alarms += any(
            compare("age", dict(zip(names, row, strict=True)), dict(zip(names, reference, strict=True)), 0.01).drifted
            for row in live.tolist()
        )
    assert alarms == 0


def test_the_limit_of_categories_has_room_for_the_many_bins_that_chance_may_fill() -> None:
    reference, live = np.full(20, 500.0), np.full(20, 50.0)
    (numbers,), (categories,) = (look(live, reference, kind, 0.1).limit for kind in (False, True))
    spread = 20 * math.sqrt(0.05 * 0.95) / 2
    error = spread / 100 + math.sqrt(math.log(200) / 20_000)
    assert reference_error(reference, True) == pytest.approx(error)
    assert numbers == pytest.approx(0.1 + band(1000) + reference_error(reference, False))
    assert categories == pytest.approx(0.1 + band(1000) + error + math.sqrt(2) * 0.85 * spread / math.sqrt(1000))


@pytest.mark.parametrize("categorical", [False, True])
@pytest.mark.parametrize(("rows", "reference_rows"), [(100, 20_000), (3000, 1000)])
def test_windows_of_the_same_law_raise_no_alarm_with_the_smallest_tolerance(
    categorical: bool, rows: int, reference_rows: int
) -> None:
    random, shares = np.random.default_rng(5), np.full(20, 0.05)
    alarms = 0
    for _ in range(40):
        reference = random.multinomial(reference_rows, shares)
        windows = random.multinomial(rows, shares, size=25)
        alarms += bool(look(windows, reference, categorical, 0.001).drifted.any())
    assert alarms == 0


def test_a_change_in_the_newest_rows_is_found_though_all_rows_together_are_within_the_limit() -> None:
    quiet, changed = counts(0, 5000, 5000, 0, 0), counts(0, 800, 200, 0, 0)
    found = follow("age", [quiet] * 47 + [changed], counts(0, 50_000, 50_000, 0, 0), 0.1)
    assert found.distance < found.limit
    assert found.alarmed
    assert found.drifted
    assert (found.rows, found.feature) == (471_000, "age")


def test_blocks_without_rows_and_bins_that_only_some_blocks_have_are_fine() -> None:
    reference = counts(0, 500, 500, 0, 0)
    quiet = follow("age", [{}, {"n00 [0,1]": 100.0, "n01 (1,2]": 100.0}, {}], reference, 0.1)
    assert (quiet.rows, quiet.drifted) == (200, False)
    assert follow("age", [{}, {}], reference, 0.1).rows == 0
    assert follow("age", [], reference, 0.1).rows == 0
    assert follow("age", [{}, {"missing": 200.0}], reference, 0.1).drifted


def test_windows_that_are_too_short_to_judge_say_so_until_they_alarm_together() -> None:
    reference = [0, 5000, 5000, 0, 0]
    few = look([[0, 20, 20, 0, 0]] * 5, reference, False, 0.1)
    assert few.too_few.all()
    assert not few.drifted.any()
    gone = look([[0, 0, 40, 0, 0]] * 5, reference, False, 0.1)
    assert gone.drifted.tolist() == [False, False, True, True, True]
    assert gone.evidence[-1] > threshold(1)
    assert gone.limit[0] > 1
