"""The traffic of a simulation has the rates that it advertises."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.core.statistics.rates import Counts
from headgate.simulate import world as simulated
from headgate.simulate.world import (
    DAY,
    OUTAGE_SECONDS,
    SCORE_BINS,
    Version,
    World,
    scores,
    stable_history,
    without_restarted,
)


def phases(*values: Any) -> NDArray[Any]:
    return np.array(values, dtype=float)


def served(
    world: World, rate: float, looks: int, rollouts: int = 200, pods: int = 1, expected: float = 50.0, seed: int = 1
) -> tuple[Any, ...]:
    """Attempts and failures of each rollout and pod, summed over so many scrapes."""
    random, version = np.random.default_rng(seed), Version(world, pods, rollouts)
    n, y = np.zeros((rollouts, pods)), np.zeros((rollouts, pods))
    for _ in range(looks):
        attempts, failures = version.serve(random, np.full(rollouts, expected), np.full(rollouts, rate))
        assert np.all((failures >= 0) & (failures <= attempts))
        n, y = n + attempts, y + failures
    return n, y


@pytest.mark.parametrize("burst", [1, 5, 50])
@pytest.mark.parametrize("rate", [0.005, 0.1, 0.5])
@pytest.mark.parametrize("pods", [1, 2])
def test_the_mean_share_of_failures_is_the_rate_whether_they_come_in_bursts_or_not(
    burst: int, rate: float, pods: int
) -> None:
    n, y = served(World(rate, rate, burst=burst), rate, looks=400, pods=pods)
    shares = y.sum(axis=1) / n.sum(axis=1)
    error = shares.std() / np.sqrt(len(shares))
    # No burst is under way at the first scrape, but those of the last are: some two of them are missing.
    missing = 2 * burst * pods / n.sum(axis=1).mean()
    assert -4 * error - missing <= shares.mean() - rate <= 4 * error


@pytest.mark.parametrize("burst", [5, 50])
def test_bursts_make_the_counts_vary_as_much_more_as_they_are_long(burst: int) -> None:
    rate, looks = 0.01, 400
    _, independent = served(World(rate, rate), rate, looks)
    _, bursty = served(World(rate, rate, burst=burst), rate, looks)
    assert 0.6 * burst <= bursty.sum(axis=1).var() / independent.sum(axis=1).var() <= 1.6 * burst


@pytest.mark.parametrize("burst", [1, 5, 50])
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_never_is_never_and_always_is_always(burst: int, rate: float) -> None:
    n, y = served(World(rate, rate, burst=burst), rate, looks=20)
    assert np.array_equal(y, rate * n)


def test_requests_arrive_at_the_rate_that_was_asked_for_on_all_pods_alike() -> None:
    n, _ = served(World(0.0, 0.0), 0.0, looks=100, pods=2, expected=30.0)
    assert n.sum(axis=1).mean() == pytest.approx(3000, rel=0.01)
    assert n[:, 0].mean() == pytest.approx(n[:, 1].mean(), rel=0.02)


def test_until_its_late_onset_the_candidate_is_like_stable() -> None:
    world = World(0.005, 0.2, late_onset=60.0)
    for time, expected in ((1.0, 0.005), (59.9, 0.005), (60.0, 0.2), (900.0, 0.2)):
        candidate, stable = world.rates(time, phases(0.3))
        assert (candidate[0], stable[0]) == pytest.approx((expected, 0.005))


@pytest.mark.parametrize(
    ("errors", "during"), [((0.005, 0.01), (0.05, 0.1)), ((0.2, 0.3), (0.5, 0.5)), ((0.7, 0.9), (0.7, 0.9))]
)
def test_an_outage_multiplies_the_rates_of_both_up_to_a_half_for_five_minutes(
    errors: tuple[Any, ...], during: tuple[Any, ...]
) -> None:
    stable_errors, candidate_errors = errors
    world = World(stable_errors, candidate_errors, outage_at=100.0)
    for time in (0.0, 99.9, 100.0 + OUTAGE_SECONDS):
        candidate, stable = world.rates(time, phases(0.0))
        assert (stable[0], candidate[0]) == pytest.approx(errors)
    for time in (100.0, 99.9 + OUTAGE_SECONDS):
        candidate, stable = world.rates(time, phases(0.0))
        assert (stable[0], candidate[0]) == pytest.approx(during)


def test_over_a_day_the_season_swings_around_the_mean_for_both_alike() -> None:
    world = World(0.01, 0.02, season=True)
    day = [world.rates(time, phases(0.0, 0.25)) for time in np.arange(0, DAY, 60.0)]
    candidate, stable = (np.array(part) for part in zip(*day, strict=True))
    assert stable.mean(axis=0) == pytest.approx([0.01, 0.01])
    assert candidate.mean(axis=0) == pytest.approx([0.02, 0.02])
    assert (stable.min(), stable.max()) == pytest.approx((0.002, 0.018), rel=1e-3)
    np.testing.assert_allclose(candidate, 2 * stable)
    quarter = int(DAY / 4 / 60)
    np.testing.assert_allclose(stable[quarter:, 0], stable[:-quarter, 1], rtol=1e-9)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6), st.booleans(), st.floats(0, 1e6), st.floats(0, 1))
@settings(deadline=None)
def test_rates_are_always_between_zero_and_one(
    stable_errors: float, candidate_errors: float, time: float, season: bool, onset: float, phase: float
) -> None:
    world = World(stable_errors, candidate_errors, season=season, late_onset=onset, outage_at=onset / 2)
    for rates in world.rates(time, phases(phase)):
        assert 0 <= rates[0] <= 1


def test_history_is_stables_traffic_of_the_time_before() -> None:
    world = World(0.01, 0.5, history=600.0)
    known = stable_history(world, np.random.default_rng(1), 100, np.zeros(100))
    assert known.trials.mean() == pytest.approx(30_000, rel=0.01)
    assert (known.events / known.trials).mean() == pytest.approx(0.01, rel=0.05)
    assert np.mean(known.dispersion == 1) >= 0.95


def test_history_tells_how_long_the_bursts_are() -> None:
    world = World(0.01, 0.01, burst=20)
    known = stable_history(world, np.random.default_rng(1), 40, np.zeros(40))
    assert 10 <= np.median(known.dispersion) <= 40


@pytest.mark.parametrize("history", [0.0, 0.5])
def test_without_history_nothing_is_known(history: float) -> None:
    known = stable_history(World(0.01, 0.01, history=history), np.random.default_rng(1), 3, np.zeros(3))
    assert [a.tolist() for a in known] == [[0, 0, 0], [0, 0, 0], [1, 1, 1]]


def test_a_restart_loses_a_part_of_what_one_pod_counted() -> None:
    many = 20_000
    block = Counts(*(np.full(many, float(v)) for v in (100, 20, 400, 80)))
    kept = without_restarted(np.random.default_rng(1), block, World(0.2, 0.2, restart_every=10.0))
    for before, n, y, pods in ((100, kept.n_c, kept.y_c, 1), (400, kept.n_s, kept.y_s, 2)):
        assert np.all((y >= 0) & (y <= n) & (n <= before))
        # One scrape in ten falls on a restart, which loses half of what the pod counted.
        assert n.mean() == pytest.approx(before * (1 - 0.1 / 2 / pods), rel=0.005)
        assert (y.sum() / n.sum()) == pytest.approx(0.2, rel=0.01)
        assert n.min() >= (0 if pods == 1 else 0.4 * before)


def test_without_restarts_nothing_is_lost() -> None:
    block = Counts(*(phases(v) for v in (100, 20, 400, 80)))
    assert without_restarted(np.random.default_rng(1), block, World(0.2, 0.2)) is block


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_a_shift_moves_that_share_of_the_scores_into_the_lower_half(shift: float) -> None:
    cuts = scores(np.random.default_rng(1), np.full(50, 10_000.0), shift)
    assert cuts.shape == (50, SCORE_BINS - 1)
    assert np.all(np.diff(cuts, axis=1) >= 0)
    assert (cuts[:, SCORE_BINS // 2 - 1] / 10_000).mean() == pytest.approx(0.5 + shift, abs=0.005)


def test_the_swing_of_a_season_leaves_every_rate_positive() -> None:
    assert 0 < simulated.SEASON < 1
