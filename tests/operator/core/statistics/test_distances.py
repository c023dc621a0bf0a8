"""Distances on binned counts, against scipy and against formulas written out by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from headgate.core.statistics.distances import (
    jensen_shannon,
    kolmogorov_smirnov,
    population_stability_index,
    shares,
    total_variation,
)

ALL = [kolmogorov_smirnov, total_variation, population_stability_index, jensen_shannon]
counts = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=2, max_size=12).filter(
    lambda pairs: all(sum(side) > 0 for side in zip(*pairs, strict=True))
)


@given(counts)
def test_ks_is_the_statistic_of_scipy_on_the_bins_numbers(pairs: list[Any]) -> None:
    live, reference = np.array(pairs).T
    bins = np.arange(len(pairs))
    found = stats.ks_2samp([-1, *np.repeat(bins, live)], [-1, *np.repeat(bins, reference)], method="asymp").statistic
    live, reference = np.insert(live, 0, 1), np.insert(reference, 0, 1)
    assert kolmogorov_smirnov(live, reference) == pytest.approx(found, abs=1e-12)


values = st.lists(st.floats(0, 1), min_size=2, max_size=60)


@settings(max_examples=50)
@given(values, values)
def test_ks_in_bins_is_below_that_of_the_values_by_at_most_one_bin(live: list[Any], reference: list[Any]) -> None:
    edges = np.linspace(0, 1, 11)
    n, m = np.histogram(live, edges)[0], np.histogram(reference, edges)[0]
    exact = stats.ks_2samp(live, reference, method="asymp").statistic
    binned = kolmogorov_smirnov(n, m)
    assert binned - 1e-12 <= exact <= binned + np.minimum(shares(n), shares(m)).max() + 1e-12


@given(counts)
def test_jensen_shannon_is_that_of_scipy(pairs: list[Any]) -> None:
    live, reference = np.array(pairs, float).T
    found = jensenshannon(live + 0.5, reference + 0.5, base=2)
    assert jensen_shannon(live, reference) == pytest.approx(found, abs=1e-7)


@given(counts)
def test_psi_is_both_relative_entropies_together(pairs: list[Any]) -> None:
    live, reference = np.array(pairs, float).T
    p, q = (live + 0.5) / (live + 0.5).sum(), (reference + 0.5) / (reference + 0.5).sum()
    assert population_stability_index(live, reference) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))


@given(counts)
def test_total_variation_is_the_largest_gain_of_any_set_of_bins(pairs: list[Any]) -> None:
    live, reference = np.array(pairs, float).T
    gains = live / live.sum() - reference / reference.sum()
    assert total_variation(live, reference) == pytest.approx(gains[gains > 0].sum(), abs=1e-12)
    assert kolmogorov_smirnov(live, reference) <= total_variation(live, reference) + 1e-12


@pytest.mark.parametrize("distance", ALL, ids=lambda d: d.__name__)
def test_many_windows_at_once_are_as_one_after_the_other(distance: Callable[..., Any]) -> None:
    random = np.random.default_rng(1)
    live, reference = random.integers(0, 50, (3, 4, 6)), random.integers(1, 50, 6)
    together = distance(live, reference)
    assert together.shape == (3, 4)
    assert together[2, 1] == distance(live[2, 1], reference)


@pytest.mark.parametrize("distance", ALL, ids=lambda d: d.__name__)
@pytest.mark.parametrize(
    ("live", "reference"), [([0, 0], [3, 4]), ([3, 4], [0, 0]), ([10**9, 0], [10**9, 0]), ([7], [1])]
)
def test_nothing_and_the_same_are_at_distance_zero(
    distance: Callable[..., Any], live: list[Any], reference: list[Any]
) -> None:
    assert distance(live, reference) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("distance", ALL, ids=lambda d: d.__name__)
def test_bins_that_share_nothing_are_far_apart_and_finite(distance: Callable[..., Any]) -> None:
    assert 0.99 < distance([10**9, 0], [0, 10**9]) < 50
