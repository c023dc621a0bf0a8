"""What the benchmark of the servers makes of what it reads."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.document import table
from bench.serving import cases, messages, soak
from bench.serving.alone import WAYS, Seen, _row
from bench.serving.larger import LARGER
from bench.serving.load import read_load
from bench.serving.proc import Stat, parse_stat, tree
from bench.serving.samples import Key, Sample, Samples, ratio, spread

WRK = """Running 2s test @ http://127.0.0.1:8000
  1 threads and 16 connections
{"requests": 4000, "seconds": 2.000000, "p50_us": 700, "p99_us": 2100, "max_us": 9000, "failures": {"status": 0, "connect": 0, "read": 3, "write": 0, "timeout": 0}}
"""  # noqa: E501
KEY = Key("ours", "tabular", "json", "16")


def sample(rate: float) -> Sample:
    return Sample(rate, 1.0, 2.0, 0.05)


def test_the_last_line_of_a_generator_is_what_it_counted() -> None:
    load = read_load(WRK)

    assert (load.rate, load.p50, load.p99) == (2000, 0.7, 2.1)
    assert load.failures == {"read": 3}


def test_what_the_open_loop_could_not_send_is_a_failure() -> None:
    counted = {"requests": 1, "seconds": 1, "p50_us": 1, "p99_us": 1, "failures": {}, "unsent": 7}

    assert sum(read_load(json.dumps(counted)).failures.values()) == 7


def test_a_process_may_have_any_name() -> None:
    stat = parse_stat("42 (a) b (c)) S 7 41 40 0 -1 0 1 2 3 4 10 20 30 40 20 0 1 0 999 1 2")

    assert stat == Stat(pid=42, parent=7, session=40, ticks=100, started=999)


def test_a_tree_has_descendants_and_orphans_of_the_session_but_not_the_neighbours() -> None:
    stats = [
        Stat(13, 12, 12, 0, 0),  # below one that made a session of its own
        Stat(12, 10, 12, 0, 0),
        Stat(14, 1, 10, 0, 0),  # its parent has ended
        Stat(10, 5, 10, 0, 0),
        Stat(5, 1, 5, 0, 0),
        Stat(20, 5, 20, 0, 0),
    ]

    assert {stat.pid for stat in tree(10, stats)} == {10, 12, 13, 14}


def test_ratios_are_taken_round_by_round() -> None:
    ours = {0: sample(100), 1: sample(300), 2: sample(90)}
    theirs = {0: sample(50), 1: sample(100)}

    assert ratio(ours, theirs) == 2.5
    assert ratio(ours, {}) is None


def test_spread_is_half_of_the_range() -> None:
    assert spread([90, 100, 120]) == pytest.approx(0.15)


def test_what_failed_once_is_not_reported() -> None:
    samples = Samples()
    samples.add(KEY, 0, sample(100))
    assert samples.of(KEY)

    samples.give_up("ours", "tabular", "json", "3 of 1,000 failed")
    assert not samples.of(KEY)


def test_a_server_that_did_not_start_has_nothing_to_report() -> None:
    samples = Samples()
    samples.add(KEY, 0, sample(100))
    samples.give_up("ours", "tabular", "", "ended with 1")

    assert not samples.of(KEY)


def test_table() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_memory_that_settles_has_not_drifted() -> None:
    assert soak.drift([80, *[100] * 20]) == 0
    assert soak.drift([100] * 11 + [110] * 10) == pytest.approx(0.1)


@pytest.mark.parametrize("case", (*cases.CASES, *LARGER), ids=lambda case: case.name)
def test_requests_carry_the_input(case: cases.Case) -> None:
    post = messages.protocol_json(case)
    (tensor,) = json.loads(post.body)["inputs"]
    head, _, body = post.raw("127.0.0.1:1").partition(b"\r\n\r\n")

    values = np.array(tensor["data"], case.input.dtype).reshape(tensor["shape"])
    assert (values == case.input).all()
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == post.body


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_models_answer(case: cases.Case, tmp_path: Path) -> None:
    answer = cases.answer_of(cases.write_model(case, tmp_path), case.input)

    assert answer.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("case", LARGER, ids=lambda case: case.name)
def test_larger_models_answer_each_row_by_itself(case: cases.Case, tmp_path: Path) -> None:
    model, rows = cases.write_model(case, tmp_path), case.rows(2)
    both = cases.answer_of(model, rows)

    assert both.shape[0] == 2
    assert np.isfinite(both).all()
    assert both[1:] == pytest.approx(cases.answer_of(model, rows[1:]), rel=1e-3, abs=1e-5)


def test_what_servers_get_is_compared_round_by_round() -> None:
    def seen(*rates: float) -> list[Seen]:
        return [Seen(bare, 2 * bare, rate, 9.0, 0.5) for bare, rate in zip((10, 50), rates, strict=True)]

    row = _row(LARGER[0], "never joined", {way: seen(100, 10) for way in WAYS} | {"never joined": seen(200, 30)})

    assert row[3] == "2.00 ±0 %"
    assert row[5] == "2.50 ±20 %"
