"""How much stable's bad answers cluster, from counts by window and pod."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.core.statistics.dispersion import dispersion

WINDOWS = 900
"""Half an hour, scraped every two seconds."""


def counts(pods: int, size: int, bursts: int, requests: int = 100, seed: int = 1) -> tuple[Any, ...]:
    """Bursts of `size` requests in a row on one pod that all fail, among `requests` in each window."""
    random = np.random.default_rng([seed, pods, size, bursts])
    each = requests // pods
    failed = np.zeros((pods, WINDOWS * each), dtype=bool)
    for pod, at in zip(random.integers(0, pods, bursts), random.integers(0, WINDOWS * each, bursts), strict=True):
        failed[pod, at : at + size] = True
    return np.full((WINDOWS, pods), float(each)), failed.reshape(pods, WINDOWS, each).sum(axis=2).T.astype(float)


def quantiles(pods: int, size: int, bursts: int, requests: int = 100, runs: int = 100) -> NDArray[Any]:
    """5th, 50th and 95th percentile of the dispersion."""
    found = [dispersion(*counts(pods, size, bursts, requests, seed)) for seed in range(runs)]
    return np.quantile(found, [0.05, 0.5, 0.95])


@pytest.mark.parametrize("pods", [1, 2, 4])
@pytest.mark.parametrize("failures", [0, 5, 20, 450, 5000])
def test_independent_failures_do_not_cluster(pods: int, failures: int) -> None:
    assert quantiles(pods, 1, failures)[2] == 1


@pytest.mark.parametrize("pods", [1, 2, 4])
@pytest.mark.parametrize("requests", [20, 100])
@pytest.mark.parametrize(("size", "low", "high"), [(5, 4, 6), (20, 14, 24), (50, 35, 60)])
def test_bursts_on_one_pod_give_about_their_size(pods: int, requests: int, size: int, low: int, high: int) -> None:
    assert low <= quantiles(pods, size, 10, requests)[1] <= high


@pytest.mark.parametrize(("size", "bursts"), [(5, 1), (1, 5)])
def test_of_a_handful_of_failures_nothing_is_told(size: int, bursts: int) -> None:
    assert quantiles(2, size, bursts)[2] == 1


def test_an_outage_that_hits_all_pods_is_no_cluster() -> None:
    trials, events = counts(4, 1, 200)
    events[100:130] = 20.0
    assert dispersion(trials, events) < 1.1


@pytest.mark.parametrize("pods", [1, 2])
def test_a_slow_season_is_no_cluster(pods: int) -> None:
    random = np.random.default_rng(3)
    rate = 0.005 * (1 + np.sin(np.arange(WINDOWS)[:, None] * 2 * np.pi / (5 * WINDOWS)))
    trials = np.full((WINDOWS, pods), 100.0)
    found = [dispersion(trials, random.binomial(100, rate, (WINDOWS, pods)).astype(float)) for _ in range(50)]
    assert np.quantile(found, 0.95) == 1


def test_pods_with_different_traffic_are_compared_by_their_share() -> None:
    random = np.random.default_rng(4)
    trials = np.array([[300.0, 30.0, 3.0]] * WINDOWS)
    found = [dispersion(trials, random.binomial(trials.astype(int), 0.01).astype(float)) for _ in range(50)]
    assert np.quantile(found, 0.95) == 1


def test_a_pod_that_is_always_worse_counts_as_clustering() -> None:
    random = np.random.default_rng(5)
    trials = np.full((WINDOWS, 2), 100.0)
    assert dispersion(trials, random.binomial(100, [[0.001, 0.02]] * WINDOWS).astype(float)) > 10


def test_pods_that_follow_each_other_are_one() -> None:
    trials, events = counts(1, 20, 20)
    zeros = np.zeros((WINDOWS // 2, 1))
    first, second = slice(None, WINDOWS // 2), slice(WINDOWS // 2, None)
    follow = [np.block([[a[first], zeros], [zeros, a[second]]]) for a in (trials, events)]
    assert dispersion(*follow) == dispersion(trials, events) > 10


@pytest.mark.parametrize("shape", [(0, 1), (0, 0), (1, 1), (5, 2), (900, 3)])
@pytest.mark.parametrize("failing", [0.0, 1.0])
def test_whatever_is_missing_it_is_one(shape: tuple[Any, ...], failing: float) -> None:
    trials = np.full(shape, 50.0)
    assert dispersion(trials, failing * trials) == 1
    assert dispersion(0 * trials, 0 * trials) == 1
