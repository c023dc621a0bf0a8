"""Bins: every value in exactly one, and the same one as a plain reading of the rules says."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_serving.monitor.bins import MAX_OTHERS, TOP, CategoryBins, NumericBins, bins_of, category_bins

numbers = st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf])
references = st.lists(st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 7.5]), min_size=1, max_size=80)


def naive(bins: NumericBins, value: float) -> str:
    """The label by comparing with one edge after the other."""
    labels = bins.labels()
    if math.isnan(value):
        return labels[-1]
    if value < bins.edges[0]:
        return "below"
    for place, edge in enumerate(bins.edges[1:]):
        if value <= edge:
            return labels[place + 1]
    return "above"


def naive_counts(bins: NumericBins, values: list[float]) -> dict[str, int]:
    counts = dict.fromkeys(bins.labels(), 0)
    for value in values:
        counts[naive(bins, value)] += 1
    return counts


@given(reference=references, live=st.lists(numbers, max_size=40))
def test_vectorised_counting_is_naive_counting(reference: list[float], live: list[float]) -> None:
    bins = bins_of(np.array([*reference, 0.5], np.float64))
    live = [*live, *reference]
    if isinstance(bins, NumericBins):
        counted = dict(zip(bins.labels(), bins.count(np.array(live)).tolist(), strict=True))
        assert counted == naive_counts(bins, live)
        assert sum(counted.values()) == len(live)


@given(reference=references)
def test_the_reference_is_inside_and_no_bin_is_empty(reference: list[float]) -> None:
    bins = bins_of(np.array([*reference, 0.5]))
    assert isinstance(bins, NumericBins)
    below, *inner, above, missing = bins.count(np.array([*reference, 0.5])).tolist()
    assert below == above == missing == 0
    assert min(inner) > 0
    assert list(bins.edges[1:]) == sorted(set(bins.edges[1:]))
    assert len(set(bins.labels())) == len(bins.labels())


def test_deciles_of_smooth_data_hold_a_tenth_each() -> None:
    bins = bins_of(np.linspace(0.001, 1, 1000))
    assert isinstance(bins, NumericBins)
    assert bins.count(np.linspace(0.001, 1, 1000)).tolist() == [0, *[100] * 10, 0, 0]
    assert bins.labels()[:3] == ["below", "n00 [0.001,0.1]", "n01 (0.1,0.2]"]


def test_a_value_that_holds_more_than_a_tenth_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(300), np.linspace(-3.5, -0.5, 300), np.linspace(0.5, 9.5, 400)])
    bins = bins_of(values)
    assert isinstance(bins, NumericBins)
    counts = dict(zip(bins.labels(), bins.count(values).tolist(), strict=True))
    assert counts["n03 [0,0]"] == 300
    assert [label for label in counts if label.endswith(")")] == [bins.labels()[3]]
    near = dict(zip(bins.labels(), bins.count(np.array([-1e-9, 0.0, 1e-9])).tolist(), strict=True))
    assert near["n03 [0,0]"] == 1


def test_whole_numbers_with_few_values_are_categories_by_falling_frequency() -> None:
    values = np.array([2, 1, 2, 2, 3, 3, np.nan])
    bins = bins_of(values)
    assert isinstance(bins, CategoryBins)
    assert bins.labels() == ["c00 2", "c01 3", "c02 1", "other", "unseen", "missing"]
    assert bins.count(np.array([2, 2.5, 9, np.nan, np.inf], np.float32)).tolist() == [1, 0, 0, 0, 3, 1]


def test_whole_numbers_with_many_values_are_numbers() -> None:
    assert isinstance(bins_of(np.arange(TOP + 1)), NumericBins)
    assert isinstance(bins_of(np.arange(TOP)), CategoryBins)


def test_nothing_but_missing_values_has_no_bins() -> None:
    assert bins_of(np.array([np.nan, np.nan])) is None
    assert bins_of(np.array(["", None], object)) is None


@settings(max_examples=50)
@given(
    reference=st.lists(st.text("abcdefgh", min_size=1, max_size=2), min_size=1, max_size=60),
    live=st.lists(st.text("abcdefgxyz", max_size=2) | st.none(), max_size=40),
)
def test_categories_are_counted_as_naively(reference: list[str], live: list[str | None]) -> None:
    bins = bins_of(np.array([*reference, None], object))
    assert isinstance(bins, CategoryBins)
    expected = dict.fromkeys(bins.labels(), 0)
    for value in live:
        if not value:
            expected["missing"] += 1
        elif value in bins.categories:
            expected[bins.labels()[bins.categories.index(value)]] += 1
        else:
            expected["other" if value in reference else "unseen"] += 1
    counted = bins.count(np.array([*live, None], object)[:-1])
    assert dict(zip(bins.labels(), counted.tolist(), strict=True)) == expected


def test_what_is_too_much_to_remember_is_other_not_unseen() -> None:
    bins = category_bins({f"id{number}": 1 for number in range(TOP + MAX_OTHERS + 1)})
    assert bins
    assert bins.open
    assert bins.count(np.array(["never"], object)).tolist()[-3:] == [1, 0, 0]
