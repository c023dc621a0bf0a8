"""Blocks of rows from the counters of pods that come, go and begin anew."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.statistics.counters import Series
from headgate.core.statistics.history import blocks_of

AGE = ("age", "l1")


def counter(
    pod: str, bin_: str, samples: dict[Any, Any] | dict[str, Any], feature: str = "age", layout: str = "l1"
) -> Series:
    labels = {"feature": feature, "layout": layout, "bin": bin_, "instance": pod}
    return Series(labels, tuple((float(t), float(v)) for t, v in samples.items()))


def test_between_two_points_a_counter_gains_its_difference() -> None:
    a = counter("p", "a", {0: 1000, 60: 1100, 120: 1150})
    b = counter("p", "b", {0: 500, 60: 500, 120: 700})
    assert blocks_of([a, b]) == {AGE: [{"a": 100}, {"a": 50, "b": 200}]}


def test_pods_are_added_up_and_layouts_and_features_kept_apart() -> None:
    found = blocks_of(
        [
            counter("p", "a", {0: 0, 60: 100}),
            counter("q", "a", {0: 0, 60: 50}),
            counter("p", "a", {0: 0, 60: 300}, layout="l2"),
            counter("p", "a", {0: 0, 60: 400}, feature="sex"),
        ]
    )
    assert found == {AGE: [{"a": 150}], ("age", "l2"): [{"a": 300}], ("sex", "l1"): [{"a": 400}]}


def test_when_a_process_began_anew_all_its_counters_count_from_zero() -> None:
    """The bin that is higher than before, by chance, too."""
    a = counter("p", "a", {0: 1000, 60: 900})
    b = counter("p", "b", {0: 100, 60: 110})
    untouched = counter("q", "b", {0: 100, 60: 110})
    assert blocks_of([a, b, untouched]) == {AGE: [{"a": 900, "b": 110 + 10}]}


def test_a_pod_that_comes_later_counts_from_zero_and_one_that_goes_is_no_drop() -> None:
    stays = counter("p", "a", {0: 0, 60: 100, 120: 200})
    comes = counter("q", "a", {60: 40, 120: 50})
    goes = counter("r", "a", {0: 70, 60: 80})
    assert blocks_of([stays, comes, goes]) == {AGE: [{"a": 100 + 40 + 10}, {"a": 100 + 10}]}


def test_a_hole_in_the_points_loses_nothing() -> None:
    seen = counter("p", "a", {0: 0, 60: 100, 240: 400})
    other = counter("q", "a", {0: 0, 60: 0, 120: 0, 180: 0, 240: 0})
    assert blocks_of([seen, other]) == {AGE: [{"a": 100}, {}, {}, {"a": 300}]}


def test_what_was_counted_before_the_first_point_is_used_while_there_is_nothing_else() -> None:
    assert blocks_of([counter("p", "a", {0: 5000})]) == {AGE: [{"a": 5000}]}
    assert blocks_of([counter("p", "a", {0: 5000, 60: 5099})]) == {AGE: [{"a": 5000}, {"a": 99}]}
    assert blocks_of([counter("p", "a", {0: 5000, 60: 5100})]) == {AGE: [{"a": 100}]}


def test_no_series_are_no_blocks() -> None:
    assert blocks_of([]) == {}
    assert blocks_of([counter("p", "a", {})]) == {}


@given(st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=2, max_size=20))
def test_without_restarts_the_blocks_add_up_to_what_was_gained(gains: list[Any]) -> None:
    totals = np.cumsum(np.array(gains), axis=0)
    series = [counter("p", f"b{at}", dict(enumerate(totals[:, at]))) for at in range(4)]
    (blocks,) = blocks_of(series).values()
    gained = totals[-1] - totals[0]
    expected = gained if gained.sum() >= 100 else totals[-1]
    assert [sum(block.get(f"b{at}", 0) for block in blocks) for at in range(4)] == expected.tolist()
