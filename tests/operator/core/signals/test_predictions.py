"""Predictions: the events that bins are cut into, shifts beyond the margin found, shifts within it let through."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.signals.predictions import PredictionBlock, PredictionState, events_of, fold
from headgate.core.signals.signal import PASS
from told import through_json, verdict

CLASSES = ("c00 no", "c01 yes")
SCORES = ("below", "n00 [0,0.2]", "n01 (0.2,0.5]", "n02 (0.5,0.8]", "n03 (0.8,1]", "above", "invalid")
MARGIN = 0.05


def block(
    candidate: list[Any] | tuple[Any, ...],
    stable: list[Any] | tuple[Any, ...],
    bins: tuple[Any, ...] = CLASSES,
    output: str = "label",
) -> PredictionBlock:
    return PredictionBlock(
        output, "0123456789ab", dict(zip(bins, candidate, strict=True)), dict(zip(bins, stable, strict=True))
    )


def rollout(
    blocks: int,
    shares_c: tuple[Any, ...],
    shares_s: tuple[Any, ...],
    bins: tuple[Any, ...] = CLASSES,
    n_c: int = 100,
    n_s: int = 200,
    seed: int = 1,
) -> Iterator[Any]:
    """The evidence after each block."""
    random, seen = np.random.default_rng(seed), PredictionState()
    for _ in range(blocks):
        candidate, stable = (random.multinomial(n, p).tolist() for n, p in ((n_c, shares_c), (n_s, shares_s)))
        seen = fold(seen, [block(candidate, stable, bins=bins)], MARGIN)
        yield seen


def last(evidence: Iterator[Any]) -> Any:
    *_, seen = evidence
    return seen


def test_each_category_is_an_event() -> None:
    bins = ["c00 no", "c01 not sure", "other", "unseen", "invalid", "missing"]
    assert events_of(bins) == {
        "is no": ["c00 no"],
        "is not sure": ["c01 not sure"],
        "invalid": ["invalid"],
        "other": ["other"],
        "unseen": ["unseen"],
    }


def test_a_number_is_cut_between_its_bins_in_ascending_order() -> None:
    assert events_of(sorted(SCORES)) == {
        "at most 0.2": ["below", "n00 [0,0.2]"],
        "at most 0.5": ["below", "n00 [0,0.2]", "n01 (0.2,0.5]"],
        "at most 0.8": ["below", "n00 [0,0.2]", "n01 (0.2,0.5]", "n02 (0.5,0.8]"],
        "at most 1": ["below", "n00 [0,0.2]", "n01 (0.2,0.5]", "n02 (0.5,0.8]", "n03 (0.8,1]"],
        "invalid": ["invalid"],
    }


def test_without_values_above_the_range_the_last_bin_is_no_cut() -> None:
    assert events_of(["n00 [0,0.5]", "n01 (0.5,1]"]) == {"at most 0.5": ["n00 [0,0.5]"]}


def test_the_cut_before_a_point_mass_and_the_cut_behind_it_are_two_events() -> None:
    found = events_of(["n00 [0,5)", "n01 [5,5]", "n02 (5,9]"])
    assert list(found.values()) == [["n00 [0,5)"], ["n00 [0,5)", "n01 [5,5]"]]


def test_two_edges_that_look_alike_are_two_events() -> None:
    found = events_of(["n00 [0,1]", "n01 (1,1]", "n02 (1,2]"])
    assert list(found.values()) == [["n00 [0,1]"], ["n00 [0,1]", "n01 (1,1]"]]


@given(st.integers(2, 12), st.sets(st.sampled_from(["below", "above", "missing", "invalid"])))
def test_every_cut_holds_the_one_before_it(count: int, special: set[Any]) -> None:
    bins = [f"n{i:02d} ({i},{i + 1}]" for i in range(count)]
    cuts = [set(held) for event, held in events_of([*bins, *special]).items() if event != "invalid"]
    assert len(cuts) == count - 1 + ("above" in special)
    assert all(a < b for a, b in pairwise(cuts))
    assert all("missing" not in held for held in cuts)


counts = st.lists(st.integers(0, 200), min_size=2, max_size=2)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(counts, counts), max_size=6), st.data())
def test_to_go_on_from_a_stored_state_is_the_same_as_never_having_stopped(blocks: list[Any], data: Any) -> None:
    stop = data.draw(st.integers(0, len(blocks)))
    whole = seen = PredictionState()
    for i, (candidate, stable) in enumerate(blocks):
        if i == stop:
            seen = through_json(seen)
        whole, seen = (fold(e, [block(candidate, stable)], MARGIN) for e in (whole, seen))
    assert seen == whole


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=7, max_size=7), st.lists(st.integers(0, 10**6), min_size=7, max_size=7))
def test_a_million_answers_in_a_bin_give_finite_evidence(candidate: list[Any], stable: list[Any]) -> None:
    seen = PredictionState()
    for _ in range(2):
        seen = fold(seen, [block(candidate, stable, SCORES)], MARGIN)
    numbers = [seen.logHarm, seen.logSafe, seen.logDiffers, seen.largestShift]
    numbers += [v for e in seen.outputs[0].events for v in (e.up, e.down, e.notUp, e.notDown)]
    assert all(map(math.isfinite, numbers))


def test_the_same_predictions_pass_and_raise_no_alarm() -> None:
    seen = last(rollout(40, (0.9, 0.1), (0.9, 0.1)))
    assert verdict(seen, 5.0) == "Pass"
    assert seen.logHarm < 1


def test_a_shift_within_the_margin_passes() -> None:
    seen = last(rollout(60, (0.89, 0.11), (0.9, 0.1), n_c=200, n_s=200))
    assert verdict(seen, 5.0) == "Pass"
    assert abs(seen.largestShift) == pytest.approx(1.0, abs=0.7)


def test_a_shift_beyond_the_margin_is_found() -> None:
    found = next(s for s in rollout(40, (0.75, 0.25), (0.9, 0.1)) if verdict(s, -math.log(0.01)) == "Fail")
    assert found.candidateAnswers <= 1500
    assert found.largestEvent in {"label: is no", "label: is yes"}
    assert abs(found.largestShift) == pytest.approx(15, abs=4)


def test_a_shift_of_just_the_margin_raises_no_more_alarms_than_alpha_and_hardly_ever_passes() -> None:
    runs = [list(rollout(10, (0.85, 0.15), (0.9, 0.1), n_c=300, n_s=600, seed=s)) for s in range(15)]
    assert sum(any(s.logHarm >= -math.log(0.05) for s in run) for run in runs) <= 1
    assert sum(any(s.logSafe >= PASS for s in run) for run in runs) <= 2


def test_a_score_that_moved_between_two_bins_is_found_and_named() -> None:
    before, after = (0, 0.4, 0.3, 0.2, 0.1, 0, 0), (0, 0.2, 0.5, 0.2, 0.1, 0, 0)
    seen = last(rollout(30, after, before, bins=SCORES))
    assert verdict(seen, -math.log(0.01)) == "Fail"
    assert seen.largestEvent == "label: at most 0.2"
    assert seen.largestShift == pytest.approx(-20, abs=4)


def test_answers_that_became_invalid_are_found() -> None:
    good, bad = (0, 0.4, 0.3, 0.2, 0.1, 0, 0), (0, 0.32, 0.24, 0.16, 0.08, 0, 0.2)
    seen = last(rollout(30, bad, good, bins=SCORES))
    assert verdict(seen, -math.log(0.01)) == "Fail"
    assert seen.largestEvent in {"label: invalid", "label: at most 1"}
    assert max(seen.outputs[0].events, key=lambda e: e.up).event == "invalid"


def test_missing_answers_are_no_answers() -> None:
    bins = (*CLASSES, "missing")
    seen = fold(PredictionState(), [block((9, 1, 90), (90, 10, 0), bins)], MARGIN)
    assert (seen.candidateAnswers, seen.stableAnswers) == (10, 100)
    assert {e.event for e in seen.outputs[0].events} == {"is no", "is yes"}


def test_a_category_that_appears_late_counts_from_its_first_answer() -> None:
    seen = fold(PredictionState(), [block((90, 10), (90, 10))], MARGIN)
    late = block((80, 10, 10), (90, 10, 0), (*CLASSES, "unseen"))
    seen = fold(seen, [late], MARGIN)
    unseen = next(e for e in seen.outputs[0].events if e.event == "unseen")
    assert (unseen.candidate, unseen.stable, seen.candidateAnswers) == (10, 0, 200)


def test_evidence_of_an_event_survives_a_block_that_lacks_its_bin() -> None:
    seen = last(rollout(10, (0.7, 0.3), (0.9, 0.1)))
    shifted = max(e.up for e in seen.outputs[0].events)
    assert shifted > 3
    after = fold(seen, [block((0,), (0,), ("c00 no",))], MARGIN)
    assert max(e.up for e in after.outputs[0].events) == shifted
    assert after.logHarm == seen.logHarm


def test_an_output_that_is_missing_from_a_block_keeps_its_evidence() -> None:
    both = [block((90, 10), (90, 10)), block((50, 50), (90, 10), output="other")]
    seen = fold(PredictionState(), both, MARGIN)
    after = fold(seen, [block((90, 10), (90, 10))], MARGIN)
    assert [o for o in after.outputs if o.output == "other"] == [o for o in seen.outputs if o.output == "other"]


def test_without_any_block_nothing_is_known() -> None:
    assert fold(PredictionState(), [], MARGIN) == PredictionState()
    assert verdict(PredictionState(), 5.0) == "Inconclusive"


def test_all_outputs_have_to_pass() -> None:
    seen = PredictionState()
    for _ in range(40):
        seen = fold(seen, [block((180, 20), (180, 20)), block((1, 0), (1, 0), output="rare")], MARGIN)
    assert verdict(seen, 5.0) == "Inconclusive"


def test_a_difference_alone_is_shown_and_decides_nothing() -> None:
    seen = last(rollout(100, (0.87, 0.13), (0.9, 0.1), n_c=500, n_s=500))
    assert seen.logDiffers > 5
    assert verdict(seen, -math.log(0.01)) != "Fail"
