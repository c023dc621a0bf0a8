"""A day of blocks in one array."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.statistics.history import BLOCKS, MOST_BINS, STEP, History, Profile, profile_of

NOW = 1_800_000_000.0
YOUNG, OLD, SEX = ("age", "n00 [0,9]", "l"), ("age", "n01 (9,20]", "l"), ("sex", "c00 1", "l")
PROFILE = profile_of({SEX: 2000.0, OLD: 1000.0, YOUNG: 1000.0})


def history(profile: Profile = PROFILE) -> History:
    return History(profile.fingerprint, len(profile.places))


def rows(found: History, *newest: float) -> list[Any]:
    """Rows by feature."""
    return [feature.rows for feature in found.drift(PROFILE, np.array(newest or [0.0] * 3), 0.1)]


def test_a_profile_has_its_features_by_name_with_their_bins_side_by_side() -> None:
    assert PROFILE.places == {YOUNG: 0, OLD: 1, SEX: 2}
    assert PROFILE.counts.tolist() == [1000.0, 1000.0, 2000.0]
    assert PROFILE.features == (("age", ("n00 [0,9]", "n01 (9,20]"), 0), ("sex", ("c00 1",), 2))


def test_the_same_bins_are_the_same_profile_whatever_their_counts() -> None:
    same = profile_of({YOUNG: 1.0, OLD: 2.0, SEX: 3.0})
    assert same.fingerprint == PROFILE.fingerprint
    assert profile_of({YOUNG: 1.0, OLD: 2.0}).fingerprint != PROFILE.fingerprint
    assert profile_of({(f, b, "l2"): 1.0 for f, b, _ in (YOUNG, OLD, SEX)}).fingerprint != PROFILE.fingerprint


def test_no_profile_has_more_bins_than_there_is_room_for() -> None:
    wide = profile_of({(f"f{f:03}", f"c{b:04}", "l"): 1.0 for f in range(12) for b in range(1000)})
    assert (len(wide.features), len(wide.places), wide.left_out) == (10, MOST_BINS, 2)
    assert profile_of({("f", f"c{b:05}", "l"): 1.0 for b in range(MOST_BINS + 1)}).left_out == 1


def test_at_first_a_day_is_missing_and_then_what_has_become_complete() -> None:
    found = history()
    ends = found.missing(NOW + 100)
    assert (len(ends), ends[-1], ends[0]) == (BLOCKS, NOW, NOW - (BLOCKS - 1) * STEP)
    found.add(ends, np.zeros((3, BLOCKS)))
    assert found.missing(NOW + STEP - 1) == []
    assert found.missing(NOW + 2 * STEP) == [NOW + STEP, NOW + 2 * STEP]
    assert len(found.missing(NOW + 1000 * STEP)) == BLOCKS


def test_blocks_leave_after_a_day() -> None:
    found = history()
    found.add(found.missing(NOW), np.ones((3, BLOCKS)))
    assert rows(found) == [2 * BLOCKS, BLOCKS]
    found.add([NOW + STEP], np.array([[10.0], [0.0], [10.0]]))
    assert rows(found, 1, 1, 2) == [2 * (BLOCKS - 1) + 12, BLOCKS - 1 + 12]
    found.add(found.missing(NOW + 1000 * STEP)[-1:], np.zeros((3, 1)))
    assert rows(found) == [0, 0]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(1, 7))
def test_however_the_blocks_are_read_the_last_day_is_there(pauses: Sequence[int], page: int) -> None:
    found, now = history(), NOW
    for pause in pauses:
        now += pause * STEP
        ends = found.missing(now)
        for at in range(0, len(ends), page):
            part = ends[at : at + page]
            found.add(part, np.tile([end / STEP - NOW / STEP + 10_000 for end in part], (3, 1)))
    expected = [now / STEP - NOW / STEP + 10_000 - back for back in range(BLOCKS)]
    assert rows(found)[1] == sum(expected)
    assert not math.isinf(found.end)


def test_what_a_model_costs_is_one_array() -> None:
    bins = profile_of({(f"f{f:02}", f"n{b:02} x", "l"): 1.0 for f in range(20) for b in range(13)})
    found = history(bins)
    assert found._counts.nbytes == 260 * BLOCKS * 4 < 50 * 1024
