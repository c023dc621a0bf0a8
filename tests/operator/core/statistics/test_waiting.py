"""Pieces of evidence of one version alone: kept until the other's come, used once, and not for ever."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from headgate.core.model import BaselineRate
from headgate.core.signals import predictions
from headgate.core.signals import rate as errors
from headgate.core.signals.predictions import PredictionBlock, PredictionState
from headgate.core.signals.rate import RateState
from headgate.core.statistics import rates, shares, waiting
from headgate.core.statistics.alone import log_e_alone
from headgate.core.statistics.difference import log_mixture
from headgate.core.statistics.rates import ODDS_WEIGHTS, AttemptBlock, Counts, History, Rates
from headgate.core.statistics.shares import Answers, Shares
from told import as_json, through_json, verdict

MARGIN = 0.005
CEILING = -math.log(0.01)
FAR = 1e6
KNOWN = (90, 1, 1.0)
LAYOUT = "0123456789ab"


def history(trials: int, events: int, dispersion: float = 1.0, rollouts: int = 1) -> Rates:
    return Rates.start(History(*(np.full(rollouts, float(v)) for v in (trials, events, dispersion))))


def counts(*blocks: Any) -> Counts:
    """Blocks of (n_c, y_c, n_s, y_s), one for each rollout."""
    return Counts(*np.array(blocks, dtype=float).T)


def folded(
    looks: list[Any],
    known: tuple[Any, ...] = KNOWN,
    margin: float = MARGIN,
    ceiling: Any = CEILING,
    seconds: float = 5.0,
) -> Rates:
    state = history(*known)
    for look in looks:
        state = rates.fold(state, counts(look), margin, ceiling, seconds)
    return state


def logs(state: Rates) -> NDArray[Any]:
    return np.concatenate([state.harm, state.worse, state.safe, state.stake[:, None]], axis=1)


def through_the_api_server(seen: PredictionState | RateState) -> Any:
    return through_json(seen)


@st.composite
def pieces(draw: Any, most: int = 4) -> Any:
    """What a scrape brings where there are few requests: often one version's attempts, or none."""
    n_c, n_s = draw(st.sampled_from([(0, 0), (1, 0), (0, 1), (0, most), (most, 0), (1, 1)]))
    return n_c, draw(st.integers(0, n_c)), n_s, draw(st.integers(0, n_s))


@st.composite
def one_block_in_pieces(draw: Any) -> Any:
    """Pieces of one version alone, and at last one of the other: the sum is one block."""
    first = draw(st.lists(st.integers(0, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=5))
    n, y = draw(st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
    last = draw(st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
    looks, end = [*first, (n, y)], last
    if draw(st.booleans()):
        return [(0, 0, *look) for look in looks] + [(*end, 0, 0)]
    return [(*look, 0, 0) for look in looks] + [(0, 0, *end)]


@settings(max_examples=80, deadline=None)
@given(st.lists(one_block_in_pieces(), min_size=1, max_size=4), st.sampled_from([0.0, MARGIN, 0.1]))
def test_pieces_are_worth_what_they_are_worth_together(blocks: list[Any], margin: float) -> None:
    in_pieces = folded([look for block in blocks for look in block], margin=margin, seconds=0.0)
    whole = folded([tuple(np.sum(block, axis=0)) for block in blocks], margin=margin, seconds=0.0)
    np.testing.assert_allclose(logs(in_pieces), logs(whole), atol=1e-12)
    np.testing.assert_array_equal(in_pieces.counts, whole.counts)
    assert not in_pieces.waiting.trials


def test_attempts_that_never_meet_in_a_scrape_are_evidence() -> None:
    """Each by itself they were worth nothing: 27 failures of 27 attempts, and the candidate stayed."""
    state = folded([(0, 0, 1, 0), (1, 1, 0, 0)] * 27)
    assert state.log_harm > CEILING
    assert state.log_worse > CEILING
    assert state.excess == pytest.approx(27, abs=0.5)


@settings(max_examples=80, deadline=None)
@given(st.lists(pieces(), max_size=30), st.sampled_from([0.0, 5.0, 400.0]))
def test_everything_is_counted_once(looks: list[Any], seconds: float) -> None:
    state = folded(looks, seconds=seconds)
    total = np.sum(looks, axis=0) if looks else np.zeros(4)
    np.testing.assert_array_equal(np.array(state.seen)[:, 0], total)
    np.testing.assert_array_equal(state.counts.plus(state.waiting), state.seen)
    assert not (state.waiting.n_c[0] and state.waiting.n_s[0]), "both versions wait"
    assert state.alone.trials[0] <= state.counts.n_c[0]


@settings(max_examples=80, deadline=None)
@given(st.lists(pieces(), max_size=30), st.randoms(), st.sampled_from([0.0, 5.0, 400.0]))
def test_outcomes_decide_neither_when_a_block_is_complete_nor_how_the_ramp_goes_on_in_it(
    looks: list[Any], random: Any, seconds: float
) -> None:
    others = [(n_c, random.randint(0, n_c), n_s, random.randint(0, n_s)) for n_c, _, n_s, _ in looks]
    mine, theirs = folded(looks, seconds=seconds), folded(others, seconds=seconds)
    for name in ("n_c", "n_s"):
        np.testing.assert_array_equal(getattr(mine.waiting, name), getattr(theirs.waiting, name))
    np.testing.assert_array_equal(mine.waited, theirs.waited)
    np.testing.assert_array_equal(mine.alone.trials, theirs.alone.trials)
    settled = mine.settled
    assert not settled.waiting.trials
    np.testing.assert_array_equal(settled.counts, mine.counts)
    np.testing.assert_array_equal(settled.stable_rate, mine.stable_rate)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(pieces(), pieces(), pieces()), min_size=1, max_size=12), st.sampled_from([5.0, 40.0, 900.0]))
def test_rollouts_that_are_folded_together_become_what_each_becomes_alone(looks: list[Any], seconds: float) -> None:
    known = History(np.array([0.0, 90.0, 5e5]), np.array([0.0, 1.0, 100.0]), np.array([1.0, 1.0, 3.0]))
    together = Rates.start(known)
    alone = [together.take(np.array([i])) for i in range(3)]
    for look in looks:
        together = rates.fold(together, counts(*look), MARGIN, FAR, seconds)
        alone = [rates.fold(s, counts(look[i]), MARGIN, FAR, seconds) for i, s in enumerate(alone)]
    for i, mine in enumerate(alone):
        np.testing.assert_allclose(logs(together)[i], logs(mine)[0], atol=1e-9)
        for name in ("counts", "waiting", "alone"):
            np.testing.assert_array_equal(np.array(getattr(together, name))[:, i], np.array(getattr(mine, name))[:, 0])
        assert together.waited[i] == mine.waited[0]


SPLITS = ([(0, 2), (1, 0)], [(2, 0), (0, 1)], [(0, 1), (1, 0), (1, 0), (0, 1)], [(0, 2), (2, 1), (1, 0), (0, 1)])
"""(n_c, n_s) of each scrape: one block in two pieces, and two blocks."""


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("margin", [0.0, MARGIN, 0.2])
@pytest.mark.parametrize("ceiling", [0.4, CEILING])
def test_over_all_outcomes_of_small_blocks_the_mean_of_each_e_value_is_at_most_one(
    split: list[Any], margin: float, ceiling: float
) -> None:
    each = [range(n + 1) for sizes in split for n in sizes]
    outcomes = np.array(list(itertools.product(*each)), dtype=float)
    state = history(40, 1, rollouts=len(outcomes))
    for i, (n_c, n_s) in enumerate(split):
        in_all = [np.full(len(outcomes), float(n)) for n in (n_c, n_s)]
        block = Counts(in_all[0], outcomes[:, 2 * i], in_all[1], outcomes[:, 2 * i + 1])
        state = rates.fold(state, block, margin, ceiling, 5.0)
    assert not state.waiting.trials.any()
    for p_s in (0.0, 0.001, 0.02, 0.2, 0.5, 0.8, 1.0):
        for p_c in {min(p_s + margin, 1.0), p_s, p_s / 2, 0.0}:
            chance = mass(outcomes, split, p_c, p_s)
            assert np.sum(chance * np.exp(state.log_harm)) <= 1 + 1e-9
            if p_c <= p_s:
                assert np.sum(chance * np.exp(state.log_worse)) <= 1 + 1e-9
        if margin and p_s + margin <= 1:
            for p_c in {p_s + margin, (p_s + margin + 1) / 2, 1.0}:
                assert np.sum(mass(outcomes, split, p_c, p_s) * np.exp(state.log_safe)) <= 1 + 1e-9


def mass(outcomes: NDArray[Any], split: list[Any], p_c: float, p_s: float) -> Any:
    """The probability of each outcome."""
    rows = [binom.pmf(outcomes[:, 2 * i], n_c, p_c) for i, (n_c, _) in enumerate(split)]
    rows += [binom.pmf(outcomes[:, 2 * i + 1], n_s, p_s) for i, (_, n_s) in enumerate(split)]
    return np.prod(rows, axis=0)


def test_a_piece_of_stable_does_not_wait_for_longer_than_half_an_hour() -> None:
    looks = [(0, 0, 1, 1)] * 361
    assert folded(looks[:-1]).waiting.n_s == [360]
    state = folded(looks)
    assert [*state.waiting.n_s, *state.waited, *state.counts.n_s] == [0, 0, 361]
    np.testing.assert_array_equal(logs(state), 0.0)
    assert state.stable_rate > 0.5, "what was let go still tells how often stable fails"


def test_a_few_pieces_wait_however_long_it_takes() -> None:
    """One request in an hour: there is nothing else to go by."""
    state = folded([(0, 0, 1, 0), (1, 1, 0, 0)] * 12, seconds=3600.0)
    assert state.log_harm > CEILING


@pytest.mark.parametrize(("seconds", "judged"), [(1.0, False), (1.6, True)])
def test_a_candidate_that_stable_is_not_beside_is_judged_by_what_stable_was(seconds: float, judged: bool) -> None:
    state = folded([(1, 1, 0, 0)] * 20, seconds=seconds)
    assert (state.alone.trials[0] == 20) == judged
    assert (state.log_harm[0] > CEILING) == judged
    assert (state.log_worse[0] > CEILING) == judged


def test_alone_a_candidate_that_is_as_good_as_stable_was_neither_goes_nor_passes() -> None:
    random = np.random.default_rng(1)
    looks = [(50, int(random.binomial(50, 0.02)), 0, 0) for _ in range(200)]
    state = folded(looks, known=(5000, 100, 1.0), seconds=60.0)
    assert state.alone.trials == [200 * 50]
    assert state.log_harm < 0
    assert state.log_safe == pytest.approx([0.0], abs=1e-12)


def test_where_nothing_is_known_of_stable_a_candidate_alone_is_not_judged() -> None:
    state = folded([(1, 1, 0, 0)] * 60, known=(0, 0, 1.0))
    np.testing.assert_array_equal(logs(state), 0.0)
    assert state.counts.n_c == [60]


@pytest.mark.parametrize("trust", [1.0, 0.3])
@pytest.mark.parametrize("margin", [0.0, 0.1])
@pytest.mark.parametrize(("n", "trials"), [(1, 1), (3, 4), (12, 5), (6, 30)])
def test_over_all_histories_the_mean_of_the_e_value_alone_is_at_most_one(
    n: int, trials: int, margin: float, trust: float
) -> None:
    y, events = (a.ravel().astype(float) for a in np.meshgrid(np.arange(n + 1), np.arange(trials + 1), indexing="ij"))
    same = np.ones(len(y))
    q = np.tile([0.05, 0.3, 0.9], (len(y), 1))
    e = np.exp(log_e_alone(same * n, y, same * trials, events, same * trust, q, margin))
    for p_s in np.linspace(0, 1, 21):
        for p_c in {min(p_s + margin, 1.0), p_s, p_s / 3, 0.0}:
            chance = binom.pmf(y, n, p_c) * binom.pmf(events, trials, p_s)
            assert np.all(np.sum(chance[:, None] * e, axis=0) <= 1 + 1e-9)


def test_after_promotion_what_waited_is_judged_with_the_rest_and_once() -> None:
    waited = folded([(3, 2, 0, 0)])
    alone = rates.fold_alone(waited, counts((10, 1, 4, 4)), MARGIN, 0.005)
    whole = rates.fold_alone(folded([]), counts((13, 3, 4, 4)), MARGIN, 0.005)
    np.testing.assert_allclose(alone.harm, whole.harm)
    np.testing.assert_array_equal(alone.counts, whole.counts)
    again = rates.fold_alone(alone, counts((0, 0, 0, 0)), MARGIN, 0.005)
    np.testing.assert_array_equal(again.harm, alone.harm)
    stables = rates.fold_alone(folded([(0, 0, 3, 2)]), counts((10, 1, 0, 0)), MARGIN, 0.005)
    assert [*stables.counts.n_s, *stables.counts.y_s] == [3, 2]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(pieces(), st.booleans()), min_size=1, max_size=25),
    st.sampled_from([(0, 0, 1.0), KNOWN, (90_000, 450, 6.2)]),
    st.sampled_from([1.0, 45.0, 900.0]),
)
def test_the_status_keeps_what_waits_however_often_the_operator_restarts(
    looks: list[Any], known: tuple[Any, ...], seconds: float
) -> None:
    state = history(*known)
    whole = seen = errors.begun(BaselineRate(*known))
    for (n_c, y_c, n_s, y_s), restarts in looks:
        seen = through_the_api_server(seen) if restarts else seen
        block = AttemptBlock(n_c, y_c, n_s, y_s)
        seen, whole = (errors.fold(e, block, MARGIN, CEILING, seconds) for e in (seen, whole))
        state = rates.fold(state, counts((n_c, y_c, n_s, y_s)), MARGIN, CEILING, seconds)
    assert seen == whole
    stored = errors.state_of(through_the_api_server(seen))
    for name in ("counts", "waiting", "alone"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(state, name))
    np.testing.assert_allclose(stored.waited, state.waited, atol=1e-3)
    np.testing.assert_allclose(stored.harm, state.harm, atol=1e-6 * len(looks))
    total = np.sum([look for look, _ in looks], axis=0).tolist()
    told = [seen.candidateAttempts, seen.candidateFailures, seen.stableAttempts, seen.stableFailures]
    assert told == total, "people are told everything, also what waits"
    assert errors.settled(seen).candidateAttempts == state.counts.n_c[0]


def test_what_waits_takes_a_few_bytes_of_the_status() -> None:
    waits = errors.fold(RateState(), AttemptBlock(0, 0, 10**9, 10**9), MARGIN, CEILING, 5.0)
    nothing_waits = errors.fold(waits, AttemptBlock(1, 0, 0, 0), MARGIN, CEILING)
    without = replace(waits, waiting=[])
    assert len(as_json(waits)) - len(as_json(without)) < 80
    assert (len(waits.waiting), nothing_waits.waiting, nothing_waits.stableAttempts) == (5, [], 10**9)


@pytest.mark.parametrize("stored", [[], [1.0], [1.0, 2.0, 3.0], [1, 2, 3, 4, 5, 6]])
def test_a_status_of_another_release_is_read(stored: list[Any]) -> None:
    seen = RateState(candidateAttempts=5, waiting=stored, alone=stored)
    state = errors.state_of(seen)
    assert [*state.counts.n_c, *state.waiting.trials, *state.alone.trials] == [5, 0, 0]


# Predictions


def answers(candidate: dict[str, Any], stable: dict[str, Any], output: str = "label") -> PredictionBlock:
    return PredictionBlock(output, LAYOUT, candidate, stable)


def told(blocks: list[Any], seconds: float = 5.0, restarts: bool = False) -> PredictionState:
    seen = PredictionState()
    for block in blocks:
        seen = through_the_api_server(seen) if restarts else seen
        seen = predictions.fold(seen, [block], 0.05, seconds)
    return seen


def test_answers_that_never_meet_in_a_scrape_are_evidence() -> None:
    seen = told([answers({}, {"c00 no": 1}), answers({"c01 yes": 1}, {})] * 40)
    assert seen.logHarm > CEILING
    whole = told([answers({"c01 yes": 1}, {"c00 no": 1})] * 40)
    assert seen == whole
    assert seen.logDiffers == whole.logDiffers > 0


bins = st.dictionaries(st.sampled_from(["n00 [0,0.2]", "n01 (0.2,0.5]", "n02 (0.5,1]", "missing"]), st.integers(0, 5))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(bins, st.sampled_from(["candidate", "stable", "both"])), min_size=1, max_size=12))
def test_predictions_wait_through_restarts_and_count_once(looks: list[Any]) -> None:
    blocks = [
        answers(found if who != "stable" else {}, found if who != "candidate" else {}, "score") for found, who in looks
    ]
    seen = told(blocks)
    assert seen == told(blocks, restarts=True)
    for version in ("candidate", "stable"):
        total = sum(n for block in blocks for b, n in getattr(block, version).items() if b != "missing")
        assert getattr(seen, f"{version}Answers") == total
        (output,) = seen.outputs
        used = sum(n for b, n in getattr(output, f"{version}Waiting").items())
        assert getattr(output, f"{version}Answers") + used == total
    assert not (output.candidateWaiting and output.stableWaiting)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=15))
def test_the_arrays_wait_as_the_status_does(looks: list[Any]) -> None:
    """`simulate` folds arrays, the operator bins: one class of two, so that one event says it all."""
    state, seen = Shares.start(1, 2), PredictionState()
    for yes, no, who in looks:
        c = {"c00 no": no * (who != 1), "c01 yes": yes * (who != 1)}
        s = {"c00 no": no * (who != 0), "c01 yes": yes * (who != 0)}
        block = Answers(
            *(np.array([v], float) for v in (list(c.values()), [sum(c.values())])),
            *(np.array([v], float) for v in (list(s.values()), [sum(s.values())])),
        )
        state = shares.fold(state, block, 0.05, 400.0)
        seen = predictions.fold(seen, [answers(c, s)], 0.05, 400.0)
    (output,) = seen.outputs
    assert state.waited == output.waited
    assert state.waiting.n_c == sum(output.candidateWaiting.values())
    assert state.waiting.n_s == sum(output.stableWaiting.values())
    assert state.candidate_answers == output.candidateAnswers
    for i, event in enumerate(output.events):
        assert event.up == pytest.approx(float(state.up[0, i]), abs=1e-3)


def test_answers_without_counterpart_do_not_wait_for_longer_than_half_an_hour() -> None:
    seen = told([answers({}, {"c00 no": 1})] * 361)
    (output,) = seen.outputs
    assert (output.stableWaiting, output.waited, output.stableAnswers) == ({}, 0.0, 361)
    assert (seen.logHarm, seen.logSafe, seen.stableAnswers) == (0.0, 0.0, 361)


def test_bins_that_nobody_knows_do_not_wait() -> None:
    """A pod may count whatever it likes; the status is written all the same."""
    seen = told([answers({}, {f"c{i:05d} {i}": 1}) for i in range(predictions.MOST_EVENTS)])
    assert len(seen.outputs[0].stableWaiting) <= predictions.MOST_WAITING
    assert seen.stableAnswers == predictions.MOST_EVENTS


@pytest.mark.parametrize("name", ['a "quoted" one', "naïve 東京", "is: {x}, 3", "\\"])
def test_bins_of_any_name_wait(name: str) -> None:
    seen = told([answers({}, {f"c00 {name}": 3})], restarts=True)
    assert through_the_api_server(seen) == seen
    assert seen.outputs[0].stableWaiting == {f"c00 {name}": 3}


def test_an_output_of_which_only_one_version_has_answers_passes_nothing() -> None:
    seen = PredictionState()
    for _ in range(200):
        met = answers({"c00 no": 50, "c01 yes": 50}, {"c00 no": 50, "c01 yes": 50})
        seen = predictions.fold(seen, [met, answers({}, {"c00 no": 1}, "other")], 0.05, 1.0)
    assert seen.logSafe <= 0.0
    assert verdict(seen, CEILING) == "Inconclusive"


def test_the_longest_waiting_is_that_of_the_version_that_waits() -> None:
    n = np.array([25.0, 25.0, 5.0, 25.0])
    none, waited = np.zeros(4), np.array([29.0, 31.0, 9000.0, 1799.0])
    assert waiting.ripe(n, none, waited, 30.0).expired.tolist() == [False, True, False, True]
    assert waiting.ripe(none, n, waited, 30.0).expired.tolist() == [False] * 4
    assert waiting.ripe(n, none, waited).expired.tolist() == [False] * 4
    assert waiting.ripe(n, n, waited).together.all()


def test_the_mixture_of_what_was_judged_alone_is_what_the_status_says() -> None:
    seen = errors.begun(BaselineRate(*KNOWN))
    for _ in range(21):
        seen = errors.fold(seen, AttemptBlock(1, 1, 0, 0), MARGIN, CEILING, 5.0)
    state = errors.state_of(through_the_api_server(seen))
    assert seen.alone == [20, 20]
    assert seen.logHarm == pytest.approx(float(log_mixture(state.harm, ODDS_WEIGHTS)[0]), abs=1e-4)
    assert replace(state.settled).seen.n_c == [20]
