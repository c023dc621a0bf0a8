"""A signal by the user's own counters: what counts, what never does, and how it is told."""

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.api.spec import Spec
from headgate.core.model import BaselineRate
from headgate.core.signals import user_signals
from headgate.core.signals.ratio import LOST_AFTER, RatioState
from headgate.core.signals.signal import PASS
from headgate.core.user_queries import Asked
from told import through_json

NOW = 1_800_000_000.0
CANCELLED = {"name": "cancelled", "events": "bad", "trials": "all", "margin": "5%"}


def spec_with(*signals: dict[str, Any]) -> Spec:
    model = {"version": "v1", "uri": "pvc://models/fraud/v1"}
    return Spec.model_validate({"model": model, "rollout": {"signals": list(signals)}})


SPEC = spec_with(CANCELLED)
(RATIO,) = user_signals(SPEC)
(HARDLY,) = user_signals(spec_with(CANCELLED | {"margin": "0.01%"}))


def asked(at: float, candidate: tuple[float, float], stable: tuple[float, float]) -> Asked:
    return Asked(NOW + at, candidate, stable)


def after(*blocks: Asked, state: RatioState | None = None) -> RatioState:
    state = state or RatioState()
    for block in blocks:
        state = through_json(RATIO.fold(state, block, SPEC, 1.0, 5.0))
    return state


def counts(state: RatioState) -> list[float]:
    return list(RATIO.counts(state).values())[:4]


def test_what_was_counted_before_the_first_reading_is_not_the_rollouts() -> None:
    state = after(asked(0, (900, 1000), (10, 1000)))
    assert counts(state) == [0, 0, 0, 0]
    assert counts(after(asked(1, (901, 1010), (10, 1100)), state=state)) == [10, 1, 100, 0]


def test_at_the_opening_it_begins_with_what_is_there() -> None:
    state = RATIO.begin(SPEC, BaselineRate(), asked(0, (5, 10), (5, 10)))
    assert state
    assert counts(after(asked(1, (6, 12), (5, 20)), state=state)) == [2, 1, 10, 0]


def test_the_same_reading_counts_once() -> None:
    block = asked(1, (1, 10), (0, 10))
    state = after(asked(0, (0, 0), (0, 0)), block)
    assert after(block, asked(0.5, (5, 90), (0, 90)), state=state) == state


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_however_often_one_reads_each_event_counts_once(steps: list[Any]) -> None:
    blocks, totals = [asked(0, (0, 0), (0, 0))], [0, 0, 0, 0]
    for at, (y_c, more_c, y_s, more_s) in enumerate(steps, 1):
        totals = [a + b for a, b in zip(totals, (y_c, y_c + more_c, y_s, y_s + more_s), strict=True)]
        blocks.append(asked(at, (totals[0], totals[1]), (totals[2], totals[3])))
    y_c, n_c, y_s, n_s = totals
    assert counts(after(*blocks)) == [n_c, y_c, n_s, y_s]


def read(rate_c: float, rate_s: float, looks: int = 400) -> RatioState:
    rng = random.Random(1)
    totals = [0.0] * 4
    blocks = [asked(0, (0, 0), (0, 0))]
    for at in range(1, looks):
        for place, rate in ((0, rate_c), (2, rate_s)):
            totals[place] += sum(rng.random() < rate for _ in range(20))
            totals[place + 1] += 20
        blocks.append(asked(at, (totals[0], totals[1]), (totals[2], totals[3])))
    return after(*blocks)


def test_a_candidate_that_is_worse_by_more_than_the_margin_is_shown_to_be() -> None:
    state = read(0.3, 0.1)
    assert state.logHarm > 5 > state.logSafe
    reason, message = RATIO.harm(state, SPEC, "stable v1", "The evidence is strong.")
    assert reason == "SignalHigher"
    assert message.startswith("cancelled: ")
    assert "on stable v1: higher by more than 5%. The evidence is strong." in message


def test_one_that_is_equal_passes() -> None:
    state = read(0.1, 0.1)
    assert state.logSafe >= PASS > state.logHarm
    assert RATIO.passed(state, SPEC).startswith("Not higher than stable by 5%: cancelled: ")


@given(st.lists(st.sampled_from(["goes on", "starts anew", "is gone", "is back", "trouble"]), max_size=40))
def test_whatever_its_pods_do_no_more_is_counted_than_happened(what: list[str]) -> None:
    """One of two starts anew, is not scraped, and comes back with all that it had counted."""
    one, other, is_gone, blocks = [0.0, 0.0], [0.0, 0.0], False, []
    for at, each in enumerate(what, 1):
        one = [one[0] + 1, one[1] + 2]
        other = [0.0, 0.0] if each == "starts anew" else [other[0] + 1, other[1] + 2]
        is_gone = each == "is gone" or (is_gone and each != "is back")
        y, n = one if is_gone else (one[0] + other[0], one[1] + other[1])
        blocks.append(replace(asked(at, (y, n), (0.0, at * 4.0)), trouble="no" if each == "trouble" else ""))
    counted = RATIO.counts(after(*blocks))
    assert counted["candidateTrials"] <= 4 * len(what)
    assert counted["candidateEvents"] <= 2 * len(what)


def largest_harm(seed: int, looks: int = 150) -> float:
    """Of two equal versions with two pods each, which start anew, and are not scraped for some looks."""
    rng = np.random.default_rng(seed)
    pods, away, state, largest = np.zeros((4, 2)), np.zeros(4), RatioState(), 0.0
    for at in range(looks):
        trials = rng.poisson(10, 4)
        pods += np.stack([rng.binomial(trials, 0.1), trials], axis=1)
        pods[rng.random(4) < 0.01] = 0
        away = np.maximum(0, np.where(rng.random(4) < 0.02, rng.integers(1, 5, 4), away - 1))
        seen = np.where(away[:, None] > 0, 0.0, pods)
        (y_c, n_c), (y_s, n_s) = seen[:2].sum(axis=0).tolist(), seen[2:].sum(axis=0).tolist()
        state = HARDLY.fold(state, asked(5 * at, (y_c, n_c), (y_s, n_s)), SPEC, 5.0, 4.6)
        largest = max(largest, state.logHarm)
    assert state.rates.candidateAttempts > 0
    return largest


def test_equal_versions_whose_pods_come_and_go_are_seldom_called_worse() -> None:
    """At most one of twenty may come to 20, however often one looks."""
    assert sum(largest_harm(seed) >= math.log(20) for seed in range(40)) <= 2


def test_a_counter_that_begins_anew_adds_nothing_and_is_told() -> None:
    state = after(asked(0, (50, 1000), (50, 1000)), asked(1, (0, 3), (51, 1010)))
    assert (counts(state), state.logHarm, state.logSafe) == ([0, 0, 0, 0], 0, 0)
    assert "lower than they were" in RATIO.trouble(state)


def test_a_pod_that_was_not_scraped_for_a_moment_is_not_counted_again() -> None:
    state = after(asked(0, (50, 1000), (50, 1000)), asked(1, (25, 500), (51, 1010)), asked(2, (51, 1010), (52, 1020)))
    assert counts(state) == [10, 1, 20, 2]
    assert RATIO.trouble(state) == ""


def test_a_counter_that_stays_low_is_counted_on_from_there() -> None:
    low = asked(1, (0, 3), (50, 1010))
    later = asked(1 + LOST_AFTER, (4, 40), (50, 1400))
    state = after(asked(0, (50, 1000), (50, 1000)), low, later)
    assert (counts(state), RATIO.trouble(state)) == ([0, 0, 0, 0], "")
    assert counts(after(asked(2 + LOST_AFTER, (5, 50), (51, 1500)), state=state)) == [10, 1, 100, 1]


@pytest.mark.parametrize("counter", [-1.0, 1e300])
def test_what_can_be_no_counter_is_told(counter: float) -> None:
    state = after(asked(0, (0, 0), (0, 0)), asked(1, (0, counter), (0, 10)))
    assert (counts(state)[0], "a counter is below 0" in RATIO.trouble(state)) == (0, True)


def test_more_bad_events_than_events_wait_for_the_rest() -> None:
    state = after(asked(0, (0, 0), (0, 0)), asked(1, (3, 0), (0, 10)))
    assert "more bad events than events" in RATIO.trouble(state)
    assert counts(after(asked(2, (3, 10), (0, 20)), state=state)) == [10, 3, 20, 0]


def test_counters_of_other_queries_begin_anew() -> None:
    (other,) = user_signals(spec_with(CANCELLED | {"trials": "others"}))
    state = other.fold(after(asked(0, (0, 0), (0, 0))), asked(1, (9, 99), (9, 99)), SPEC, 1.0, 5.0)
    assert counts(state) == [0, 0, 0, 0]
    assert counts(other.fold(state, asked(2, (9, 100), (9, 100)), SPEC, 1.0, 5.0)) == [1, 0, 1, 0]


@given(st.lists(st.booleans(), max_size=30))
def test_what_can_not_be_read_changes_no_evidence(readable: list[bool]) -> None:
    whole = [asked(at, (at, 2 * at), (at, 2 * at)) for at in range(len(readable) + 2)]
    some = [
        block if ok else replace(block, trouble="it has no series")
        for block, ok in zip(whole, [True, *readable, True], strict=True)
    ]
    state = after(*some)
    assert counts(state) == counts(after(*whole))
    unread = after(*(replace(each, trouble="it has no series") for each in whole))
    assert (unread.logHarm, unread.logSafe, RATIO.trouble(unread)) == (0, 0, "it has no series")


def test_all_signals_of_the_user_share_what_there_is_for_them() -> None:
    spec = spec_with(CANCELLED, CANCELLED | {"name": "late"}, CANCELLED | {"name": "told", "required": False})
    first, second, told = user_signals(spec)
    assert (first.capital, second.capital) == (0.125, 0.125)
    assert [each.wanted(spec, None, None) for each in (first, second, told)] == [True, True, False]  # type: ignore[arg-type]
    assert told.advisory
    assert not told.is_due(RatioState(), spec)
