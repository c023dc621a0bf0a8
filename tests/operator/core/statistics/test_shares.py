"""The accumulators of shares: exact in small blocks, quiet on a stream whose distribution never stands still.

The stream is made of Seattle's hourly temperatures, out of a wheel in the cache, see `setup.wheels`.
"""

import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, multinomial

from headgate.core.signals import predictions
from headgate.core.signals.predictions import PredictionBlock, PredictionState
from headgate.core.statistics import shares
from headgate.core.statistics.difference import log_mean
from headgate.core.statistics.shares import Answers, Shares, log_e_same
from told import verdict
from tools.setup import wheels

SPLITS = 200
CANDIDATE = 0.3
"""Share of the requests that the candidate gets."""
BINS = 10


def row(*values: Any) -> NDArray[Any]:
    return np.array([values], dtype=float)


@st.composite
def pasts(draw: Any, bins: Any) -> Any:
    """What was counted of both versions before: nothing, a little, or a lot and different."""
    counts = st.lists(st.sampled_from([0, 1, 3, 40, 5000]), min_size=bins, max_size=bins)
    return row(*draw(counts)), row(*draw(counts))


@st.composite
def distributions(draw: Any, bins: Any) -> Any:
    weights = np.array(draw(st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0, 20.0]), min_size=bins, max_size=bins)))
    return (weights + (weights.sum() == 0)) / (weights + (weights.sum() == 0)).sum()


def outcomes(n: int, bins: int) -> NDArray[Any]:
    """All ways in which n answers fall into the bins."""
    return np.array([c for c in itertools.product(range(n + 1), repeat=bins) if sum(c) == n], dtype=float)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 3), st.integers(0, 4), st.integers(0, 4))
def test_under_a_common_distribution_the_mean_is_at_most_one(data: Any, bins: int, n_c: int, n_s: int) -> None:
    past_c, past_s = data.draw(pasts(bins))
    p = data.draw(distributions(bins))
    c, s = outcomes(n_c, bins), outcomes(n_s, bins)
    log_e = log_e_same(past_c[:, None], past_s[:, None], c[:, None, :], s[None, :, :])
    chance = multinomial.pmf(c, n_c, p)[:, None] * multinomial.pmf(s, n_s, p)[None, :]
    assert np.sum(chance * np.exp(log_e)) <= 1 + 1e-9


def test_a_block_of_one_version_says_nothing() -> None:
    past = row(5, 80, 1), row(40, 3, 3)
    assert log_e_same(*past, row(0, 0, 0), row(7, 1, 0)) == pytest.approx([0.0], abs=1e-12)
    assert log_e_same(*past, row(9, 0, 2), row(0, 0, 0)) == pytest.approx([0.0], abs=1e-12)
    assert log_e_same(*past, row(0, 0, 0), row(0, 0, 0)) == [0.0]


def test_the_first_block_says_nothing_for_nothing_is_known_yet() -> None:
    nothing = row(0, 0, 0)
    assert log_e_same(nothing, nothing, row(9, 0, 0), row(0, 9, 0)) == pytest.approx([0.0], abs=1e-12)


def test_two_versions_that_differ_are_told_apart() -> None:
    random, log_e = np.random.default_rng(1), 0.0
    past_c, past_s = row(0, 0), row(0, 0)
    for _ in range(50):
        c, s = row(*random.multinomial(10, [0.7, 0.3])), row(*random.multinomial(40, [0.5, 0.5]))
        log_e += float(log_e_same(past_c, past_s, c, s)[0])
        past_c, past_s = past_c + c, past_s + s
    assert log_e > math.log(100)


NULLS = {"up": 1, "down": -1, "not_up": 1, "not_down": -1}
"""Each e-process is against a movement of at most, or of at least, so many times the margin."""


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 8),
    st.integers(0, 8),
    st.sampled_from([(0, 0, 0, 0), (20, 100, 5, 100), (900, 1000, 100, 1000), (0, 50, 50, 50)]),
    st.sampled_from([0.05, 0.1, 0.3]),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.01, 0.2]),
)
def test_the_mean_of_each_e_value_is_at_most_one_wherever_it_is_a_bet_against(
    n_c: int, n_s: int, past: tuple[Any, ...], margin: float, p: float, inside: float
) -> None:
    y_c, y_s = (a.ravel()[:, None].astype(float) for a in np.meshgrid(range(n_c + 1), range(n_s + 1), indexing="ij"))
    many = len(y_c)
    before = Shares.start(many, 1)
    c, counted_c, s, counted_s = (np.full((many, 1), float(v)) for v in past)
    before = replace(before, candidate=c, stable=s, candidate_answers=counted_c, stable_answers=counted_s)
    after = shares.fold(before, Answers(y_c, np.full((many, 1), n_c), y_s, np.full((many, 1), n_s)), margin)
    for name, sign in NULLS.items():
        nearer = inside if name in ("up", "not_down") else -inside
        edge = sign * margin
        p_s = min(max(p, 1e-9, 1e-9 - edge), 1 - 1e-9 - max(edge, 0))
        p_c = min(max(p_s + edge - nearer, 1e-9), 1 - 1e-9)
        chance = binom.pmf(y_c, n_c, p_c) * binom.pmf(y_s, n_s, p_s)
        assert np.sum(chance * np.exp(getattr(after, name))) <= 1 + 1e-9, name


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_outputs_that_are_folded_together_become_what_each_becomes_alone(seed: int, looks: int) -> None:
    random = np.random.default_rng(seed)
    together, alone = Shares.start(3, 2), [Shares.start(1, 2) for _ in range(3)]
    for _ in range(looks):
        n_c, n_s = random.integers(0, 50, (3, 1)), random.integers(0, 200, (3, 1))
        y_c, y_s = (random.binomial(n, 0.3, (3, 2)) for n in (n_c, n_s))
        counted = [part.astype(float) for part in (y_c, n_c, y_s, n_s)]
        together = shares.fold(together, Answers(*counted), 0.05)
        parts = ((state, Answers(*(a[[i]] for a in counted))) for i, state in enumerate(alone))
        alone = [shares.fold(*part, 0.05) for part in parts]
    for i, state in enumerate(alone):
        mine = together.take(np.array([i]))
        for name in (*NULLS, "candidate", "stable_answers"):
            np.testing.assert_allclose(getattr(mine, name), getattr(state, name), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1), st.floats(0, 1), st.sampled_from([1e-6, 0.05, 0.9])
)
def test_a_thousand_million_answers_give_finite_evidence(
    n_c: int, n_s: int, p_c: float, p_s: float, margin: float
) -> None:
    block = Answers(row(int(n_c * p_c)), row(n_c), row(int(n_s * p_s)), row(n_s))
    state = shares.fold(shares.fold(Shares.start(1, 1), block, margin), block, margin)
    assert all(np.isfinite(getattr(state, name)).all() for name in NULLS)


@pytest.fixture(scope="module")
def seattle(tmp_path_factory: Any) -> NDArray[Any]:
    """The deciles of the year, hour by hour as one-hot rows of shape (days, 24, bins)."""
    place = wheels.VEGA_DATASETS.extract("seattle-temps.csv", tmp_path_factory.mktemp("seattle"))
    with place.open() as file:
        rows = list(csv.DictReader(file))
    values = np.array([float(r["temp"]) for r in rows])
    edges = np.quantile(values, np.arange(1, BINS) / BINS)
    days = len(values) // 24
    return np.eye(BINS)[np.searchsorted(edges, values)][: days * 24].reshape(days, 24, BINS)


def splits(seattle: NDArray[Any], count: int, seed: int = 1) -> Iterator[Any]:
    """Day by day, how many rows of each bin candidate and stable got; each of shape (splits, bins)."""
    random = np.random.default_rng(seed)
    for day in seattle:
        mine = (random.random((count, 24)) < CANDIDATE).astype(float)
        yield mine @ day, (1 - mine) @ day


def largest(seattle: NDArray[Any], margin: float) -> tuple[Any, ...]:
    """The largest ln e-values that each split of the year reached: of harm, and of "not the same"."""
    state = Shares.start(SPLITS, BINS - 1)
    past_c = past_s = np.zeros((SPLITS, BINS))
    harm, same, peaks = np.zeros(SPLITS), np.zeros(SPLITS), np.zeros(SPLITS)
    for c, s in splits(seattle, SPLITS):
        same = same + log_e_same(past_c, past_s, c, s)
        past_c, past_s = past_c + c, past_s + s
        cuts = [np.cumsum(part, axis=1)[:, :-1] for part in (c, s)]
        n_c, n_s = (part.sum(axis=1, keepdims=True) for part in (c, s))
        state = shares.fold(state, Answers(cuts[0], n_c, cuts[1], n_s), margin)
        harm = np.maximum(harm, log_mean(np.concatenate([state.up, state.down], axis=1)))
        peaks = np.maximum(peaks, same)
    return harm, peaks


def at_most(alarms: Any, alpha: float) -> Any:
    """Whether so many of the splits are no more than alpha, by the upper end of the binomial 99 % interval."""
    return alarms <= binom.ppf(0.99, SPLITS, alpha)


def test_the_stream_never_stands_still(seattle: NDArray[Any]) -> None:
    """One day says next to nothing of another: half a year apart no decile is common."""
    january, july = seattle[:14].sum(axis=(0, 1)), seattle[190:204].sum(axis=(0, 1))
    assert np.abs(january / january.sum() - july / july.sum()).sum() / 2 > 0.9


@pytest.mark.parametrize("margin", [0.05, 0.1])
def test_two_halves_of_one_stream_that_follows_the_seasons_are_alike(seattle: NDArray[Any], margin: float) -> None:
    """A candidate and stable that are split at random from the same year do not alarm, at alpha = 1 % and 5 %."""
    harm, same = largest(seattle, margin)
    assert at_most(np.sum(harm >= math.log(100)), 0.01)
    assert at_most(np.sum(same >= math.log(20)), 0.05)


def test_the_status_says_the_same_of_that_stream(seattle: NDArray[Any]) -> None:
    """The first splits through `predictions`, bin by bin as a runtime counts them."""
    margin, days = 0.05, 60
    names = [f"n{i:02d} ({i},{i + 1}]" for i in range(BINS)]
    seen = PredictionState()
    state = Shares.start(1, BINS - 1)
    past_c = past_s = np.zeros((1, BINS))
    differs = 0.0
    for c, s in splits(seattle[:days], 1):
        counted = (dict(zip(names, (int(v) for v in part[0]), strict=True)) for part in (c, s))
        seen = predictions.fold(seen, [PredictionBlock("temp", "0123456789ab", *counted)], margin)
        cuts = [np.cumsum(part, axis=1)[:, :-1] for part in (c, s)]
        n_c, n_s = (part.sum(axis=1, keepdims=True) for part in (c, s))
        state = shares.fold(state, Answers(cuts[0], n_c, cuts[1], n_s), margin)
        differs += float(log_e_same(past_c, past_s, c, s)[0])
        past_c, past_s = past_c + c, past_s + s
    # Four decimals are stored, for each block.
    assert seen.logHarm == pytest.approx(float(log_mean(np.hstack([state.up, state.down]))[0]), abs=1e-4 * (days + 1))
    assert seen.logSafe == pytest.approx(float(np.minimum(state.not_up, state.not_down).min()), abs=1e-4 * (days + 1))
    assert seen.logDiffers == pytest.approx(differs, abs=1e-4 * (days + 1))
    assert verdict(seen, math.log(100)) != "Fail"
    assert seen.logDiffers < math.log(20)
