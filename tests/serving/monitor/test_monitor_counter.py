"""Counting live traffic: complete, in bulk, from several threads, in bounded memory."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from headgate_serving.errors import ProfileInvalid
from headgate_serving.monitor import InputForm, Monitor, MonitorCollector, Profile, build_profile
from headgate_serving.monitor import counter as counter_module
from headgate_serving.monitor.counter import attach
from headgate_serving.monitor.profile import Column

RNG = np.random.default_rng(3)
TABLE = np.column_stack([RNG.normal(size=300), RNG.integers(0, 4, 300)]).astype(np.float32)
TEXT = np.array(RNG.choice(["red", "blue"], (300, 1)), object)
FORMS = {"X": InputForm(2, False), "T": InputForm(1, True)}


def reference(scale: float = 1.0) -> Profile:
    columns = [
        Column("a", "X", 0, TABLE[:, 0] * scale),
        Column("b", "X", 1, TABLE[:, 1]),
        Column("t", "T", 0, TEXT[:, 0]),
    ]
    return build_profile(columns, {"p": TABLE[:, :2].astype(np.float64), "label": TABLE[:, 1].astype(int)})[0]


def monitor(*profiles: Profile) -> Monitor:
    return Monitor([attach(profile, FORMS, ["p", "label"]) for profile in profiles])


def totals(counted: Monitor) -> dict[str, list[int]]:
    series = [*counted.features(), *counted.predictions()]
    return {f"{one.layout} {one.name}": one.counts.tolist() for one in series}


def request(rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int]:
    inputs = {"X": TABLE[rows], "T": TEXT[rows]}
    return inputs, {"p": TABLE[rows], "label": TABLE[rows, 1].astype(int)}, len(rows)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=20), seed=st.integers(0, 99))
def test_requests_of_any_size_count_as_one_large_one(sizes: list[int], seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, len(TABLE), sum(sizes))
    single, many = monitor(reference()), monitor(reference())
    single.observe(*request(rows))
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        many.observe(*request(part))
    assert totals(many) == totals(single)
    assert all(sum(counts) == len(rows) for counts in totals(many).values())


def test_what_has_no_rows_counts_as_nothing() -> None:
    counted = monitor(reference())
    empty = (
        {"X": TABLE[:0], "T": TEXT[:0]},
        {"p": np.zeros((0, 7), np.float32), "label": np.zeros((0, 3), int)},
        0,
    )
    for seen in (request(np.arange(5)), empty, request(np.arange(5, 9)), empty):
        counted.observe(*seen)
    assert all(sum(counts) == 9 for counts in totals(counted).values())


def test_the_reference_itself_counts_as_the_reference() -> None:
    profile = reference()
    counted = monitor(profile)
    counted.observe(*request(np.arange(300)))
    assert [tuple(one.counts.tolist()) for one in counted.features()] == [f.counts for f in profile.features]
    assert [tuple(one.counts.tolist()) for one in counted.predictions()] == [p.counts for p in profile.outputs]


@pytest.mark.parametrize(
    "answer",
    [
        np.array([[0.1, np.nan]]),
        np.array([[np.inf, 0.1]]),
        np.zeros((1, 3)),
        np.zeros((2, 2)),
        np.zeros(1),
        np.array(1.0),
    ],
    ids=["nan", "infinite", "three columns", "two rows", "one column", "no axis"],
)
def test_an_answer_that_is_no_answer_is_invalid(answer: np.ndarray) -> None:
    counted = monitor(reference())
    inputs, outputs, rows = request(np.array([0]))
    counted.observe(inputs, outputs | {"p": answer}, rows)
    assert counted.predictions()[0].counts.tolist()[-1] == 1
    assert sum(counted.predictions()[0].counts) == 1


def test_outputs_that_were_not_computed_are_not_counted() -> None:
    counted = monitor(reference())
    inputs, _, rows = request(np.arange(5))
    counted.observe(inputs, {}, rows)
    assert sum(counted.predictions()[0].counts) == 0
    assert sum(counted.features()[0].counts) == 5


def test_several_threads_lose_nothing() -> None:
    counted = monitor(reference(), reference(2.0))
    rows = np.arange(50)

    def work() -> None:
        for _ in range(200):
            counted.observe(*request(rows))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {sum(counts) for counts in totals(counted).values()} == {4 * 200 * 50}
    assert counted.dropped == 0


@pytest.mark.parametrize("pause", [0.0, 10.0], ids=["slow", "fast"])
def test_the_buffer_is_bounded_and_follows_the_time_that_counting_takes(
    pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_module, "PAUSE", pause)
    counted = monitor(reference())
    inputs, outputs, rows = request(np.arange(30))
    largest = 0
    for _ in range(3000):
        counted.observe(inputs, outputs, rows)
        largest = max(largest, len(counted._buffer) * rows)
    expected = counter_module.MOST_ROWS if pause else counter_module.FEWEST_ROWS
    assert expected - rows <= largest <= expected
    assert {sum(counts) for counts in totals(counted).values()} == {3000 * 30}


def test_large_tensors_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = monitor(reference())
    inputs, outputs, rows = request(np.arange(20))
    monkeypatch.setattr(counter_module, "MOST_BYTES", sum(tensor.nbytes for tensor in inputs.values()))
    counted.observe(inputs, outputs, rows)
    assert not counted._buffer


def test_who_observes_does_not_wait_for_a_scrape() -> None:
    counted = monitor(reference())
    inputs, outputs, rows = request(np.arange(counter_module.FEWEST_ROWS))
    with counted._counting:
        counted.observe(inputs, outputs, rows)
        assert len(counted._buffer) == 1
    counted.observe(inputs, outputs, rows)
    assert not counted._buffer


def test_what_can_not_be_counted_is_counted_as_dropped(caplog: pytest.LogCaptureFixture) -> None:
    counted = monitor(reference())
    counted.observe({"X": np.array([["a", "b"]], object), "T": TEXT[:1]}, {}, 1)
    counted.observe(*request(np.arange(3)))
    counted.flush()
    assert counted.dropped == 4
    assert "could not count" in caplog.text


def test_rows_without_a_column_have_no_value_in_it() -> None:
    forms = {"X": InputForm(None, False), "T": InputForm(1, True)}
    counted = Monitor([attach(reference(), forms, ["p", "label"])])
    counted.observe(*request(np.arange(4)))
    counted.observe({"X": TABLE[:3, :1], "T": TEXT[:3]}, {}, 3)
    a, b, _ = counted.features()
    assert (a.counts[-1], sum(a.counts)) == (0, 7)
    assert (b.counts[-1], sum(b.counts)) == (3, 7)


def test_a_foreign_profile_is_refused_and_a_baseline_fitted_as_far_as_it_goes() -> None:
    profile = reference()
    with pytest.raises(ProfileInvalid, match=r"has no b, t"):
        attach(profile, {"X": InputForm(1, False)}, ["p", "label"])
    layout = attach(profile, {"X": InputForm(1, False)}, ["label"], own=Profile(0, (), ()))
    assert [f.name for f in layout.features] == ["a"]
    assert [p.name for p in layout.outputs] == ["label"]
    assert layout.layout == profile.layout


def test_a_baselines_features_are_found_where_this_version_has_them() -> None:
    own, _ = build_profile([Column("b", "Z", 0, TABLE[:, 1]), Column("a", "Z", 1, TABLE[:, 0])], {})
    layout = attach(reference(), {"Z": InputForm(2, False)}, [], own=own)
    assert [(f.name, f.input, f.column) for f in layout.features] == [("a", "Z", 1), ("b", "Z", 0)]
    text = attach(reference(), {"Z": InputForm(2, True)}, [], own=own)
    assert [f.name for f in text.features] == ["b"]


def test_the_series_are_those_of_the_contract_and_start_at_zero() -> None:
    profile = reference()
    registry = CollectorRegistry()
    labels = {"headgate_namespace": "ns", "headgate_model": "m", "headgate_revision": "m-1"}
    counted = monitor(profile)
    registry.register(MonitorCollector(counted, profile, labels))
    text = generate_latest(registry).decode()
    every = 'headgate_model="m",headgate_namespace="ns",headgate_revision="m-1",layout="' + profile.layout + '"'
    assert f'headgate_feature_bin_total{{bin="missing",feature="t",{every}}} 0.0' in text
    assert 'headgate_prediction_bin_total{bin="c00 ' in text
    of_all = [*(feature.bins for feature in profile.features), *(output.bins for output in profile.outputs)]
    bins = sum(len(each.labels()) for each in of_all)
    assert sum("_bin_total{" in line for line in text.splitlines()) == bins
    assert sum("_reference{" in line for line in text.splitlines()) == bins
    counted.observe(*request(np.arange(7)))
    red = profile.features[2].bins.labels()[0]
    seen = int((TEXT[:7, 0] == red.split()[1]).sum())
    after = generate_latest(registry).decode()
    assert f'headgate_feature_bin_total{{bin="{red}",feature="t",{every}}} {seen}.0' in after
