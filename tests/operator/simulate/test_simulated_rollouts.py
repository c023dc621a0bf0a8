"""Simulated rollouts: what happens to good and bad candidates, and what is lost on the way to Prometheus."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headgate.api.spec import Spec
from headgate.core.signals import SIGNALS
from headgate.core.statistics import rates
from headgate.simulate.policy import Policy, ShadowPolicy, policy_of
from headgate.simulate.rollout import BUDGET_SPENT, HARMFUL, PROMOTED, UNDECIDED, Course, Outcome, simulate
from headgate.simulate.signals import simulated
from headgate.simulate.summary import as_table, summarise, wald_bound
from headgate.simulate.world import World

ENDLESS = Policy(alpha=1e-12, margin=0.0, fixed_weight=40.0, risk_budget=None)
"""Decides nothing about equal versions."""


def run(
    world: World, policy: Policy | None = None, runs: int = 200, seed: int = 1, longest: float = 600.0, **more: Any
) -> Outcome:
    return simulate(replace(world, history=120.0), policy or Policy(), runs, seed, longest, **more)


@pytest.fixture
def counted(monkeypatch: Any) -> list[Any]:
    """What the evidence was given: one `Counts` for each scrape."""
    given, fold = [], rates.fold

    def recorded(state: Any, block: Any, margin: Any, ceiling: Any, seconds: Any) -> Any:
        given.append(block)
        return fold(state, block, margin, ceiling, seconds)

    monkeypatch.setattr(rates, "fold", recorded)
    return given


@pytest.mark.parametrize(
    "world",
    [
        World(0.005, 0.05),
        World(0.005, 0.02, burst=5, season=True, outage_at=20.0),
        World(0.005, 0.005, missed_scrapes=0.2, restart_every=60.0, prediction_shift=0.2),
    ],
)
def test_a_seed_gives_the_same_result_twice_and_another_one_another(world: World) -> None:
    first, again, other = (run(world, runs=20, seed=seed, longest=100.0) for seed in (7, 7, 8))
    for name in ("decision", "seconds", "requests", "bad_answers", "carrier"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.courses == again.courses
    assert not np.array_equal(first.requests, other.requests)


@pytest.mark.parametrize(
    ("candidate", "shift"), [(0.005, None), (0.05, None), (0.015, None), (0.005, 0.4), (0.005, 0.1)]
)
def test_shares_add_up_to_one(candidate: float, shift: float | None) -> None:
    world, policy = World(0.005, candidate, prediction_shift=shift), Policy()
    summary = summarise(world, policy, run(world, policy, runs=50, longest=100.0))
    assert summary["rolled_back"] + summary["promoted"] + summary["undecided"] == pytest.approx(1)
    assert sum(summary["rolled_back_by"].values()) == pytest.approx(summary["rolled_back"])
    assert summary["runs"] == 50


def test_a_candidate_that_always_fails_is_out_within_two_scrapes() -> None:
    outcome = run(World(0.005, 1.0), runs=500)
    assert np.all(outcome.decision == HARMFUL)
    assert np.mean(outcome.seconds <= 2) >= 0.9


@pytest.mark.parametrize("rps", [0.05, 0.5, 5.0])
def test_with_few_requests_a_candidate_that_always_fails_is_out_within_its_budget(rps: float) -> None:
    outcome = simulate(World(0.002, 1.0, rps=rps, scrape=5.0), Policy(), 300, 1, 3600.0)
    assert np.mean(outcome.decision == HARMFUL) >= 0.99
    assert np.percentile(outcome.requests, 95) <= 20


@pytest.mark.parametrize(("rps", "longest"), [(0.05, 14400.0), (0.5, 3600.0)])
@pytest.mark.parametrize("weight", [1.0, 10.0, 50.0])
def test_with_few_requests_an_equal_candidate_is_hardly_ever_taken_for_a_bad_one(
    rps: float, longest: float, weight: float
) -> None:
    """At alpha = 10 %: at most 48 of 300, which a binomial law of that share exceeds once in 2,000 times."""
    policy = Policy(alpha=0.1, margin=0.0, fixed_weight=weight, risk_budget=None)
    outcome = simulate(World(0.05, 0.05, rps=rps, scrape=5.0), policy, 300, 1, longest)
    assert np.sum(outcome.decision == HARMFUL) <= 48


def test_an_equal_candidate_is_promoted() -> None:
    outcome = run(World(0.005, 0.005), runs=100, longest=900.0)
    assert np.mean(outcome.decision == PROMOTED) >= 0.98
    assert np.mean(outcome.decision == HARMFUL) <= 0.01


def test_a_candidate_that_is_a_little_worse_spends_the_budget_and_little_more() -> None:
    """Margin 5 points: no harm in the test's sense; but 20 answers more than stable would have spoilt are enough."""
    outcome = run(World(0.005, 0.03), Policy(margin=0.05, max_weight=5.0), runs=100, longest=3600.0)
    spent = outcome.decision == BUDGET_SPENT
    assert np.mean(spent | (outcome.decision == PROMOTED)) >= 0.99
    excess = 0.025 * outcome.requests[spent]
    assert excess.mean() <= 30


def test_without_a_budget_nothing_is_spent() -> None:
    outcome = run(World(0.005, 0.03), Policy(margin=0.05, fixed_weight=20.0, risk_budget=None), runs=50, longest=300.0)
    assert not np.any(outcome.decision == BUDGET_SPENT)


def test_with_retries_users_see_a_bad_answer_only_where_stable_fails_too() -> None:
    never = run(World(0.0, 1.0), runs=100)
    assert not never.bad_answers.any()
    policy = Policy(margin=0.0, fixed_weight=20.0, risk_budget=None)
    half = run(World(0.5, 0.9), policy, runs=300)
    assert half.bad_answers.sum() == pytest.approx(0.45 * half.requests.sum(), rel=0.05)


def test_without_retries_users_see_all_bad_answers() -> None:
    outcome = run(World(0.0, 1.0), Policy(retry_on_stable=False), runs=100)
    np.testing.assert_array_equal(outcome.bad_answers, outcome.requests)


def test_a_candidate_that_fails_only_later_is_not_found_before() -> None:
    policy = Policy(margin=0.0, fixed_weight=20.0, risk_budget=None)
    outcome = run(World(0.005, 0.5, late_onset=60.0), policy, runs=200, longest=200.0)
    assert np.all(outcome.decision == HARMFUL)
    assert np.mean(outcome.seconds >= 60) >= 0.98
    assert np.mean(outcome.seconds <= 75) >= 0.95


def test_a_common_outage_is_held_against_nobody() -> None:
    outcome = run(World(0.01, 0.01, outage_at=5.0), runs=100, longest=310.0)
    assert np.mean((outcome.decision == HARMFUL) | (outcome.decision == BUDGET_SPENT)) <= 0.02


def test_a_shift_of_the_predictions_is_told_apart_from_failures() -> None:
    outcome = run(World(0.005, 0.005, prediction_shift=0.4), runs=60)
    assert np.mean((outcome.decision == HARMFUL) & (outcome.carrier == "predictions")) >= 0.95
    assert set(run(World(0.005, 0.5, prediction_shift=0.0), runs=60).carrier) == {"errors"}


def test_missed_scrapes_lose_no_evidence(counted: list[Any]) -> None:
    """Counters go on counting: the next scrape that succeeds brings what was missed."""
    outcome = run(World(0.01, 0.01, missed_scrapes=0.5), ENDLESS, runs=100, longest=60.0)
    assert np.all(outcome.decision == UNDECIDED)
    read = np.sum([block.n_c for block in counted], axis=0)
    up_to_date = (counted[-1].n_c + counted[-1].n_s) > 0
    np.testing.assert_array_equal(read[up_to_date], outcome.requests[up_to_date])
    assert np.all(read <= outcome.requests)
    assert 0.3 <= np.mean(up_to_date) <= 0.7
    empty = np.mean([np.mean(block.n_s == 0) for block in counted])
    assert empty == pytest.approx(0.5, abs=0.03)


def test_with_all_scrapes_missed_nothing_is_decided() -> None:
    outcome = run(World(0.0, 1.0, missed_scrapes=1.0), runs=20, longest=20.0)
    assert np.all(outcome.decision == UNDECIDED)


def test_restarts_lose_some_of_the_evidence(counted: list[Any]) -> None:
    outcome = run(World(0.01, 0.01, restart_every=10.0), ENDLESS, runs=100, longest=60.0)
    read = np.sum([block.n_c for block in counted], axis=0)
    assert 0.01 <= 1 - read.sum() / outcome.requests.sum() <= 0.1
    assert np.all(read <= outcome.requests)


def test_restarts_and_missed_scrapes_do_not_roll_back_equal_candidates() -> None:
    world = World(0.02, 0.02, missed_scrapes=0.3, restart_every=20.0)
    outcome = run(world, runs=100, longest=200.0)
    assert np.mean(outcome.decision == HARMFUL) <= 0.02


@pytest.mark.parametrize("burst", [5, 50])
def test_bursts_do_not_roll_back_equal_candidates(burst: int) -> None:
    outcome = run(World(0.005, 0.005, burst=burst), runs=150, longest=200.0)
    assert np.mean((outcome.decision == HARMFUL) | (outcome.decision == BUDGET_SPENT)) <= 0.02


def test_the_weight_at_most_doubles_and_stays_below_the_largest() -> None:
    outcome = run(World(0.0, 0.0), Policy(max_weight=30.0), runs=20, longest=300.0)
    for course in outcome.courses:
        weights = np.array(course.weights)
        assert np.all(weights[1:] <= 2 * weights[:-1] + 1e-9)
        assert (weights.min() > 0, weights.max()) == (True, 30.0)
        assert course.outcome == PROMOTED


def test_an_explicit_ladder_is_climbed_to_its_end_before_promotion() -> None:
    spec = {
        "model": {"version": "v2", "uri": "pvc://models/fraud/v2"},
        "rollout": {"steps": [{"weight": 5, "hold": "10s"}, {"weight": 20, "hold": "100s"}]},
    }
    policy = policy_of(Spec.model_validate(spec))
    outcome = run(World(0.0, 0.0), policy, runs=20, longest=300.0)
    assert np.all(outcome.decision == PROMOTED)
    assert np.all(outcome.seconds >= 110)
    first = outcome.courses[0]
    assert {w for t, w in zip(first.times, first.weights, strict=True) if t <= 10} == {5}
    assert {w for t, w in zip(first.times, first.weights, strict=True) if t > 10} == {20}


def test_a_fixed_weight_is_the_share_that_the_candidate_gets(counted: list[Any]) -> None:
    run(World(0.01, 0.01), ENDLESS, runs=100, longest=60.0)
    n_c, n_s = (sum(getattr(block, name).sum() for block in counted) for name in ("n_c", "n_s"))
    assert n_c / (n_c + n_s) == pytest.approx(0.4, abs=0.005)


def test_a_weight_that_changes_all_the_time_stays_between_one_and_fifty_percent() -> None:
    outcome = run(World(0.01, 0.01), ENDLESS, runs=12, longest=100.0, weight_every=10.0)
    weights = np.array([course.weights for course in outcome.courses])[:, 10:]
    assert 1 <= weights.min() < 3
    assert 25 < weights.max() <= 50
    assert all(len(set(row)) >= 8 for row in weights.tolist())


def test_progress_is_told_as_it_is_made() -> None:
    told = []
    run(World(0.01, 0.01), ENDLESS, runs=5, longest=100.0, progress=lambda now, left: told.append((now, left)))
    assert told == [(20.0, 5), (40.0, 5), (60.0, 5), (80.0, 5), (100.0, 5)]


def kl(p: float, q: float) -> float:
    return sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)


def walds(stable: float, candidate: float, weight: int, alpha: float = 0.01, beta: float = 0.05) -> float:
    """Section 1 of the statistics: what no test that misses at most beta can beat, without a margin."""
    w = weight / 100
    q = w * candidate + (1 - w) * stable
    needed = (1 - beta) * math.log((1 - beta) / alpha) + beta * math.log(beta / (1 - alpha))
    return needed / (kl(candidate, q) + (1 - w) / w * kl(stable, q))


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("weight", [1, 10, 50, 99])
@pytest.mark.parametrize(("stable", "candidate"), [(0.005, 0.5), (0.005, 0.05), (0.005, 0.02), (0.2, 0.21), (0.005, 1)])
def test_walds_bound_without_a_margin_is_the_formula(
    stable: float, candidate: float, weight: int, alpha: float
) -> None:
    assert wald_bound(stable, candidate, weight, alpha) == pytest.approx(walds(stable, candidate, weight, alpha), 1e-5)


@pytest.mark.parametrize(
    ("candidate", "weight", "expected"),
    [(0.5, 10, 4), (0.05, 10, 76), (0.02, 10, 388), (0.05, 50, 191), (0.02, 50, 857)],
)
def test_walds_bound_is_known(candidate: float, weight: int, expected: int) -> None:
    assert round(wald_bound(0.005, candidate, weight, 0.01) or 0) == expected


@pytest.mark.parametrize("weight", [1, 10, 50])
def test_walds_bound_grows_with_the_margin_until_nothing_is_wrong(weight: int) -> None:
    margins = (0.0, 0.001, 0.005, 0.01, 0.02, 0.04, 0.0449)
    bounds = [wald_bound(0.005, 0.05, weight, 0.01, margin) for margin in margins]
    assert np.all(np.diff(np.array(bounds, float)) > 0)
    assert wald_bound(0.005, 0.05, weight, 0.01, 0.046) is None


@pytest.mark.parametrize(("stable", "candidate", "weight"), [(0.05, 0.05, 10), (0.05, 0.01, 10), (0.01, 0.5, 100)])
def test_there_is_no_bound_for_a_good_candidate_or_without_stable(stable: float, candidate: float, weight: int) -> None:
    assert wald_bound(stable, candidate, weight, 0.01) is None


def test_no_test_beats_walds_bound_and_ours_is_near() -> None:
    world, policy = World(0.005, 0.05), Policy(margin=0.0, fixed_weight=10.0, risk_budget=None)
    summary = summarise(world, policy, run(world, policy, runs=300, longest=1800.0))
    assert summary["wald_bound"] == pytest.approx(walds(0.005, 0.05, 10), abs=0.01)
    assert 1 <= summary["ratio_to_bound"] <= 1.7


def outcome_of(*decisions: Any) -> Outcome:
    n = len(decisions)
    return Outcome(np.array(decisions), np.zeros(n, bool), np.ones(n), np.full(n, 100.0), np.zeros(n), [Course()])


@pytest.mark.parametrize(("missed", "compared"), [(0, True), (5, True), (6, False), (100, False)])
def test_the_bound_is_compared_only_where_nearly_all_were_rolled_back(missed: int, compared: bool) -> None:
    """It holds for tests that miss at most 5 %."""
    world, policy = World(0.005, 0.05), Policy(margin=0.0, fixed_weight=10.0, risk_budget=None)
    summary = summarise(world, policy, outcome_of(*[UNDECIDED] * missed, *[HARMFUL] * (100 - missed)))
    assert summary["wald_bound"] is not None
    assert (summary["ratio_to_bound"] is not None) == compared
    assert ("times it" in as_table(summary)) == compared
    assert ("too few" in as_table(summary)) != compared


def test_where_the_weight_follows_the_budget_there_is_no_bound() -> None:
    summary = summarise(World(0.005, 0.05), Policy(), outcome_of(HARMFUL))
    assert (summary["wald_bound"], summary["ratio_to_bound"]) == (None, None)


def test_every_signal_can_be_simulated() -> None:
    assert [signal.name for signal in SIGNALS if simulated(signal) is None] == []


def test_bad_answers_that_no_margin_is_for_are_an_error() -> None:
    with pytest.raises(ValueError, match="no margin for the signal 'latency'"):
        run(World(0.001, 0.001, bad={"latency": (0.01, 0.1)}), Policy(margins={}), runs=2)


def test_slow_answers_roll_back_and_equal_ones_do_not() -> None:
    policy = Policy(margin=0.02)
    slow = run(World(0.001, 0.001, bad={"latency": (0.01, 0.1)}), policy, runs=60)
    assert np.mean((slow.decision == HARMFUL) & (slow.carrier == "latency")) >= 0.95
    alike = run(World(0.001, 0.001, bad={"latency": (0.01, 0.01)}), policy, runs=60, longest=1200.0)
    assert np.mean(alike.decision == HARMFUL) <= 0.05
    assert np.mean(alike.decision == PROMOTED) >= 0.5


def test_a_shadow_ends_a_candidate_that_answers_otherwise_before_any_user_gets_it() -> None:
    policy = Policy(shadow=ShadowPolicy())
    outcome = run(World(0.001, 0.5, agreement=0.9), policy, runs=60)
    assert set(outcome.decision) == {HARMFUL}
    assert set(outcome.carrier) == {"shadow"}
    assert outcome.requests.sum() == outcome.bad_answers.sum() == 0


def test_a_shadow_that_agrees_opens_the_canary_which_then_decides() -> None:
    policy = Policy(shadow=ShadowPolicy())
    outcome = run(World(0.001, 0.5, agreement=1.0), policy, runs=60)
    assert np.all((outcome.decision == HARMFUL) | (outcome.decision == BUDGET_SPENT))
    assert set(outcome.carrier) == {"errors"}
    assert np.all(outcome.requests > 0)
    seen = outcome.courses[0].weights
    assert seen[0] == 0
    assert seen[-1] > 0
