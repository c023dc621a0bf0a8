"""Clusters that nobody ends are said, and a checkout that was made anew ends that of its path. None is started here."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cluster import ending, layout, left, records
from tools.cluster.layout import Layout
from tools.cluster.processes import Process, start_time
from tools.cluster.records import Record
from tools.setup import cache

REPOSITORY = cache.REPOSITORY
OURS, THEIRS = "ours-of-a-test", "theirs-of-a-test"


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing here may find, or end, a cluster that is really there."""
    monkeypatch.setattr(layout, "STATES", tmp_path / "states")
    monkeypatch.setattr(cache, "REPOSITORY", tmp_path / "checkout")
    monkeypatch.setenv("CLUSTER_NAME", OURS)
    monkeypatch.delenv(records.OWNER, raising=False)
    return tmp_path / "states"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names = list[str]()
    monkeypatch.setattr(ending, "down", lambda layout: names.append(layout.name))
    return names


@pytest.fixture
def gone() -> Iterator[Process]:
    """A process that has ended. Another one may have its pid by now."""
    yield ended_process("make demo")


def ended_process(name: str) -> Process:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = start_time(process.pid)
        assert started is not None
        process.communicate(b"\n")
    return Process(name, process.pid, started)


def myself(name: str = "etcd") -> Process:
    return Process(name, os.getpid(), start_time(os.getpid()) or 0)


def note(name: str, checkout: Path, *processes: Process, owner: Process | None = None, since: float = 0.0) -> None:
    Layout(name).state.mkdir(parents=True)
    records.write(Layout(name), Record("inputs", processes, str(checkout), since, owner))


def checkout(place: Path) -> Path:
    place.mkdir()
    (place / "Makefile").touch()
    return place


def test_a_cluster_of_another_checkout_is_said_with_its_path_its_age_and_how_to_end_it(
    tmp_path: Path, ended: list[str]
) -> None:
    other = checkout(tmp_path / "an other")
    note(THEIRS, other, myself(), since=1000.0, owner=myself("make demo"))
    (running,) = left.running()
    line = left.described(running, 1000.0 + 90 * 60, ours=False)
    assert line.startswith(f"cluster {THEIRS} of {other} runs since 1970-01-01 ")
    assert f"(90 minutes). `make demo` (pid {os.getpid()}), which started it, is still at work." in line
    assert line.endswith(f"To end it: make -C '{other}' clean")
    assert len(left.worth_saying()) == 1
    assert ended == []


def test_who_started_it_and_was_killed_is_said_to_be_gone(tmp_path: Path, gone: Process) -> None:
    note(THEIRS, checkout(tmp_path / "other"), myself(), owner=gone)
    (line,) = left.worth_saying()
    assert f"`make demo` (pid {gone.pid}), which started it, is gone." in line


def test_another_process_with_the_pid_of_who_started_it_is_not_taken_for_it(tmp_path: Path) -> None:
    note(THEIRS, checkout(tmp_path / "other"), myself(), owner=Process("make demo", os.getpid(), 1))
    assert "is gone" in left.worth_saying()[0]


def test_of_a_checkout_that_is_no_more_there_is_a_command_that_works_without_it(tmp_path: Path) -> None:
    note(THEIRS, tmp_path / "deleted", myself())
    (line,) = left.worth_saying()
    assert line.endswith(f"To end it: make cluster-down CLUSTER_NAME={THEIRS}")


def test_what_runs_no_more_is_not_said(tmp_path: Path, gone: Process) -> None:
    note(THEIRS, tmp_path / "other", gone)
    assert left.worth_saying() == []


def test_our_own_is_said_only_if_a_test_was_killed(tmp_path: Path) -> None:
    note(OURS, cache.REPOSITORY, myself(), owner=ended_process("make demo"))
    assert left.worth_saying() == []  # the demo leaves it on purpose
    shutil.rmtree(Layout(OURS).state)
    note(OURS, cache.REPOSITORY, myself(), owner=ended_process("make test"))
    (line,) = left.worth_saying()
    assert f"of this checkout ({cache.REPOSITORY}) runs" in line
    shutil.rmtree(Layout(OURS).state)
    note(OURS, cache.REPOSITORY, myself(), owner=myself("make test"))
    assert left.worth_saying() == []


def test_clean_ends_all_clusters_of_the_path_and_no_others(tmp_path: Path, ended: list[str]) -> None:
    note(OURS, cache.REPOSITORY, myself())
    note("ours-by-name-2", cache.REPOSITORY, myself())
    note(THEIRS, tmp_path / "other", myself())
    assert left.clean() == ended == ["ours-by-name-2", OURS]


def test_where_there_is_nothing_clean_ends_nothing_and_needs_no_root(ended: list[str]) -> None:
    assert left.clean() == ended == []


def test_what_is_no_record_hides_no_other_and_ends_nothing(tmp_path: Path, states: Path, ended: list[str]) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"inputs": "", "processes": [1]}'), ("d", "null")):
        (states / name).mkdir(parents=True)
        (states / name / "cluster.json").write_text(text)
    (states / "Not A Name").mkdir()
    note(THEIRS, tmp_path / "other", myself())
    assert len(left.worth_saying()) == 1
    assert left.clean() == ended == []


def test_a_record_of_an_earlier_version_is_read() -> None:
    state = Layout(OURS).state
    state.mkdir(parents=True)
    Layout(OURS).record.write_text(json.dumps({"inputs": "x", "processes": [vars(myself())]}))
    assert records.read(Layout(OURS)) == Record("x", (myself(),))


def test_a_new_record_says_whose_it_is_and_who_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(records.OWNER, f"make test:{os.getpid()}")
    new = records.new("inputs")
    assert (new.checkout, new.owner) == (str(cache.REPOSITORY), myself("make test"))
    for said in ("", "make test", "make test:", "make test:999999999"):
        monkeypatch.setenv(records.OWNER, said)
        assert records.new("inputs").owner is None


@pytest.mark.parametrize("command", ["clean", "others", "status"])
def test_nothing_has_to_be_installed_to_see_and_to_end_clusters(tmp_path: Path, command: str) -> None:
    """By Python alone (-S), as in a checkout that was made anew, and for a name that nobody has."""
    environ = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "CLUSTER_NAME": "nobody-has-this-name",
        "HEADGATE_CACHE": str(tmp_path),
    }
    start = "import sys, pathlib\nfrom tools.setup import cache\nfrom tools.cluster import layout\n"
    start += f"cache.REPOSITORY = layout.STATES = pathlib.Path({str(tmp_path)!r}) / 'none'\n"
    start += f"from tools.cluster.__main__ import main\nsys.argv[1:] = [{command!r}]\nsys.exit(main())"
    done = subprocess.run([sys.executable, "-S", "-c", start], env=environ, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1 if command == "status" else 0, "")


def test_make_clean_calls_for_it_where_there_is_no_environment(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path / "Makefile")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "clean", f"PYTHON={python}"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "called").read_text().splitlines() == ["-m tools.cluster clean", "-m tools.cluster others"]
