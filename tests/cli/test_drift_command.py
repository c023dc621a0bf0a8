"""`headgate drift` and `headgate profile` as a user types them: verdicts, exit status, and every wrong question."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from headgate_cli import drift, main

Answer = tuple[int, str, list[str]]
"""Exit status, standard output, and the lines of complaint."""
Ask = Callable[..., Answer]
Column = np.ndarray[Any, Any]
Change = Callable[[Any], object]
"""What is done to a profile's JSON."""

ROWS = 5000
HARMLESS = "left out: "


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs the command line: exit status, what it printed, and the lines that it complained with."""

    def run(*argv: object) -> Answer:
        try:
            status = main([str(word) for word in argv])
        except SystemExit as error:
            assert isinstance(error.code, int)
            status = error.code
        said = capsys.readouterr()
        return status, said.out, [line for line in said.err.splitlines() if not line.startswith(HARMLESS)]

    return run


def rows(seed: int, n: int = ROWS, shift: float = 0.0, **more: Column) -> dict[str, Column]:
    random = np.random.default_rng(seed)
    return {
        "age": random.normal(40 + shift, 10, n).round(1),
        "state": random.choice(["MA", "NY", "CA", ""], n, p=[0.5, 0.3, 0.1, 0.1]),
        "member": random.random(n) < 0.5,
        **more,
    }


def write(place: Path, columns: Mapping[str, Column]) -> Path:
    parquet.write_table(pa.table(columns), place)
    return place


@pytest.fixture
def folder(tmp_path: Path, ask: Ask) -> Path:
    """A folder with a profile of `train.parquet`."""
    write(tmp_path / "train.parquet", rows(1))
    assert ask("profile", "--data", tmp_path / "train.parquet")[0] == 0
    return tmp_path


def of(out: str) -> dict[str, Any]:
    return {feature["feature"]: feature for feature in json.loads(out)["features"]}


def test_rows_of_the_same_kind_have_not_drifted(folder: Path, ask: Ask) -> None:
    data = write(folder / "live.parquet", rows(2))
    status, out, complaints = ask("drift", "--profile", folder / "profile.json", "--data", data)
    assert (status, complaints) == (0, [])
    header, *lines = out.splitlines()[:4]
    assert header.split() == ["FEATURE", "ROWS", "MISSING", "UNSEEN", "KS", "LIMIT", "PSI", "JS", "VERDICT"]
    assert [line.split()[0] for line in lines] == ["age", "state", "member"]
    assert all(line.endswith("no drift") for line in lines)
    assert len({line.index("no drift") for line in lines}) == 1


def test_one_drifted_feature_is_drift(folder: Path, ask: Ask) -> None:
    data = write(folder / "live.parquet", rows(2, shift=8))
    status, out, _ = ask("drift", "--profile", folder / "profile.json", "--data", data, "--json")
    assert status == 1
    assert json.loads(out)["drift"] is True
    assert {name: feature["verdict"] for name, feature in of(out).items()} == {
        "age": "drift",
        "state": "no drift",
        "member": "no drift",
    }
    (window,) = of(out)["age"]["windows"]
    assert window["ks"] > window["limit"]
    assert window["rows"] == ROWS


def test_a_tolerance_that_is_large_enough_holds_it_for_no_drift(folder: Path, ask: Ask) -> None:
    data = write(folder / "live.parquet", rows(2, shift=8))
    assert ask("drift", "--profile", folder / "profile.json", "--data", data, "--tolerance", "0.5")[0] == 0


def test_windows_say_when_it_began(folder: Path, ask: Ask) -> None:
    quiet, changed = rows(2, 4000), rows(3, 2000, shift=4)
    mixed = {name: np.concatenate([quiet[name], changed[name]]) for name in quiet}
    data = write(folder / "live.parquet", {**mixed, "week": np.arange(6000) // 1000})
    status, out, _ = ask("drift", "--profile", folder / "profile.json", "--data", data, "--by", 500, "--json")
    age = of(out)["age"]
    assert status == 1
    assert age["firstAlarm"] in ("rows 4001-4500", "rows 4501-5000", "rows 5001-5500")
    assert age["alarms"] == sum(window["verdict"] == "drift" for window in age["windows"])
    assert len(age["windows"]) == 12
    # The band alone would have missed it: each window is within its own limit.
    assert all(window["ks"] < window["limit"] for window in age["windows"])
    status, out, _ = ask("drift", "--profile", folder / "profile.json", "--data", data, "--by", "week")
    assert "week=" in out.splitlines()[1]
    assert "FIRST ALARM" in out.splitlines()[0]
    status, out, _ = ask("drift", "--profile", folder / "profile.json", "--data", data, "--by", "week", "--verbose")
    assert len(out.splitlines()) == 1 + 3 * 6
    assert out.splitlines()[1].split()[:3] == ["age", "week=0", "1000"]


def test_missing_and_unseen_values_are_told_and_count(folder: Path, ask: Ask) -> None:
    live = rows(2)
    live["age"][:2000] = np.nan
    live["age"][2000:2010] = 1e6
    live["state"][:1500] = "TX"
    data = write(folder / "live.parquet", live)
    status, out, _ = ask("drift", "--profile", folder / "profile.json", "--data", data, "--json")
    assert status == 1
    (age,), (state,) = of(out)["age"]["windows"], of(out)["state"]["windows"]
    assert (age["missing"], age["verdict"]) == (2000, "drift")
    assert age["unseen"] >= 10
    assert (state["unseen"], state["verdict"]) == (1500, "drift")


def test_the_column_of_the_windows_is_not_compared_itself(tmp_path: Path, ask: Ask) -> None:
    train = write(tmp_path / "train.parquet", rows(1, year=np.arange(ROWS) % 3))
    ask("profile", "--data", train)
    live = write(tmp_path / "live.parquet", rows(2, year=np.full(ROWS, 9)))
    assert ask("drift", "--profile", tmp_path / "profile.json", "--data", live)[0] == 1
    assert ask("drift", "--profile", tmp_path / "profile.json", "--data", live, "--by", "year")[0] == 0


def test_too_few_rows_are_no_answer(folder: Path, ask: Ask) -> None:
    data = write(folder / "live.parquet", rows(2, 60))
    status, out, complaints = ask("drift", "--profile", folder / "profile.json", "--data", data)
    assert status == 2
    assert out.count("too few rows") == 3
    assert len(complaints) == 1
    assert "a window needs 100" in complaints[0]


def damaged(folder: Path, change: Change) -> list[str | Path]:
    whole = json.loads((folder / "profile.json").read_text())
    change(whole)
    place = folder / "damaged.json"
    place.write_text(json.dumps(whole))
    return ["--profile", place]


def set_count(value: object) -> Change:
    def change(whole: Any) -> None:
        counts = whole["features"][0]["counts"]
        counts[next(iter(counts))] = value

    return change


def text(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


WRONG: dict[str, tuple[Callable[[Path], list[str | Path]], str]] = {
    "a profile that is not there": (lambda f: ["--profile", f / "none.json"], "none.json"),
    "a profile that is a folder": (lambda f: ["--profile", f], "directory"),
    "a profile that is no JSON": (lambda f: ["--profile", text(f, "p.json", "{")], "p.json: profile.json is damaged"),
    "a profile that is no text": (lambda f: ["--profile", text(f, "p.json", b"\xff\xff")], "p.json: profile.json"),
    "a profile that is a list": (lambda f: ["--profile", text(f, "p.json", "[1]")], "damaged"),
    "a profile without end": (lambda f: ["--profile", text(f, "p.json", "[" * 100_000)], "damaged"),
    "a profile of a later version": (lambda f: damaged(f, lambda w: w.update(version=2)), "version 2"),
    "a profile of another layout": (lambda f: damaged(f, lambda w: w.update(layout="0" * 12)), "says layout 0000"),
    "a profile with other edges": (lambda f: damaged(f, lambda w: w["features"][0]["edges"].pop()), "headgate profile"),
    "a profile without features": (lambda f: damaged(f, lambda w: [w.update(features=[]), w.pop("layout")]), "no feat"),
    "a profile without counts": (
        lambda f: damaged(f, lambda w: w["features"][0].update(counts=dict.fromkeys(w["features"][0]["counts"], 0))),
        "no rows of 'age'",
    ),
    "counts below zero": (lambda f: damaged(f, set_count(-1)), "-1 is no number of rows"),
    "counts that are not a number": (lambda f: damaged(f, set_count(float("nan"))), "nan is no number of rows"),
    "counts without end": (lambda f: damaged(f, set_count(float("inf"))), "inf is no number of rows"),
    "counts that are fractions": (lambda f: damaged(f, set_count(0.5)), "0.5 is no number of rows"),
    "counts that are texts": (lambda f: damaged(f, set_count("many")), "'many' is no number of rows"),
    "an empty file": (lambda f: ["--data", text(f, "l.csv", "")], "can't read"),
    "a file without rows": (lambda f: ["--data", text(f, "l.csv", "age,state,member\n")], "has no rows"),
    "no file": (lambda f: ["--data", f / "none.csv"], "none.csv"),
    "a folder": (lambda f: ["--data", f], "has to be a .csv or a .parquet"),
    "a file of another form": (lambda f: ["--data", text(f, "l.xlsx", "x")], "has to be a .csv or a .parquet"),
    "a parquet file that is none": (lambda f: ["--data", text(f, "l.parquet", "x")], "can't read"),
    "a csv file that is cut off": (lambda f: ["--data", text(f, "l.csv", "age,state,member\n1,MA\n")], "3 columns"),
    "a column that is missing": (
        lambda f: ["--data", text(f, "l.csv", "age,state\n1,MA\n")],
        "lacks the profile's member",
    ),
    "words for numbers": (lambda f: ["--data", text(f, "l.csv", "age,state,member\nold,MA,true\n")], "column 'age'"),
    "times for numbers": (
        lambda f: ["--data", text(f, "l.csv", "age,state,member\n2026-01-01,MA,true\n")],
        "column 'age'",
    ),
    "numbers for words": (lambda f: ["--data", text(f, "l.csv", "age,state,member\n1,7,true\n")], "column 'state'"),
    "words for flags": (lambda f: ["--data", text(f, "l.csv", "age,state,member\n1,MA,maybe\n")], "column 'member'"),
    "windows of no rows": (lambda f: ["--by", "0"], "--by 0"),
    "windows of less than none": (lambda f: ["--by=-3"], "--by -3"),
    "windows by no column": (lambda f: ["--by", "wek"], "no column 'wek'"),
    "stretches of no column": (lambda f: ["--every", "7d"], "--every needs --by"),
    "stretches of a number": (lambda f: ["--by", "age", "--every", "7d"], "does not have a time"),
    "a tolerance of words": (lambda f: ["--tolerance", "little"], "--tolerance little"),
    "a tolerance that is not a number": (lambda f: ["--tolerance", "nan"], "--tolerance nan"),
    "no tolerance": (lambda f: ["--tolerance", "0"], "--tolerance 0"),
    "all the tolerance that there is": (lambda f: ["--tolerance", "1"], "--tolerance 1"),
}


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_question_gets_one_line_and_no_verdict(folder: Path, ask: Ask, name: str, as_json: list[str]) -> None:
    options, reason = WRONG[name]
    write(folder / "live.parquet", rows(2, shift=8))
    usual = {"--profile": folder / "profile.json", "--data": folder / "live.parquet"}
    changed = options(folder)
    kept = [word for option, value in usual.items() if option not in changed for word in (option, value)]
    status, out, complaints = ask("drift", *kept, *changed, *as_json)
    assert (status, out) == (2, "")
    (line,) = complaints
    assert line.startswith("headgate drift: ")
    assert reason in line


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="no limit in this Python")
def test_a_count_of_too_many_digits_is_a_damaged_profile(folder: Path, ask: Ask) -> None:
    whole = (folder / "profile.json").read_text().replace('"missing": 0', '"missing": ' + "9" * 5000, 1)
    place = text(folder, "huge.json", whole)
    status, _, complaints = ask("drift", "--profile", place, "--data", folder / "train.parquet")
    assert (status, len(complaints)) == (2, 1)


class Counting:
    """A table that counts how often somebody asks for the names of all its columns: each time they are all built."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def __getitem__(self, name: str) -> Any:
        return self._table[name]

    @property
    def column_names(self) -> list[str]:
        self.asked += 1
        names: list[str] = self._table.column_names
        return names


@pytest.mark.parametrize("command", ["profile", "drift"])
def test_the_names_of_all_columns_are_not_looked_through_for_each_column(
    folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    counted = []
    for columns in (10, 100):
        data = write(folder / "wide.parquet", {f"c{at}": np.random.default_rng(at).random(60) for at in range(columns)})
        profile = folder / f"{columns}.json"
        assert ask("profile", "--data", data, "--out", profile)[0] == 0
        table = Counting(parquet.read_table(data))
        monkeypatch.setattr(parquet, "read_table", lambda _, table=table: table)
        ask("profile", "--data", data) if command == "profile" else ask("drift", "--profile", profile, "--data", data)
        monkeypatch.undo()
        counted.append(table.asked)
    assert counted[0] == counted[1] < 10


def test_the_verdicts_of_all_windows_are_made_once(folder: Path) -> None:
    options = ["--profile", str(folder / "profile.json"), "--data", str(folder / "train.parquet"), "--by", "1000"]
    parser = argparse.ArgumentParser()
    drift.add_parser(parser.add_subparsers())
    _, (one, *_) = drift.judge(parser.parse_args(["drift", *options]))
    assert len(one.verdicts) == 5
    assert one.verdicts is one.verdicts
    assert one.alarms is one.alarms
