"""How many rows share a run, by what runs have taken; and finding out beside requests whether they may."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import serving_models as models
from headgate_serving.codec.tensor import Tensor
from headgate_serving.errors import ExecutionFailed, RunTooLong
from headgate_serving.runtime import rows
from headgate_serving.runtime.joining import Joining, Proof
from headgate_serving.runtime.model import Model, Run, load_model
from headgate_serving.runtime.rows import UNTRIED
from headgate_serving.runtime.runner import Runner
from headgate_serving.runtime.telemetry import Telemetry
from patience import PATIENCE, until
from serving_jobs import DEPENDENT, SLOW, Asked, Watched, sums
from serving_tried import start_of, taught

Costs = Callable[[int], float]


def cheaper_together(rows: int) -> float:
    """Seconds of a run that has a price of its own."""
    return 0.010 + 0.001 * rows


def dearer_together(rows: int) -> float:
    """Seconds of a run whose rows drive each other out of the cache."""
    return 0.009 * rows * (1 + 0.3 * (rows > 1))


def best_at_four(rows: int) -> float:
    return cheaper_together(rows) if rows <= 4 else 0.02 * rows


def served(joining: Joining, costs: Costs, runs: int, waiting: int = 32) -> list[int]:
    """Rows of so many runs, one after the other, while others always wait."""
    found = []
    for _ in range(runs):
        rows = min(joining.most(waiting), waiting)
        joining.ran(rows, rows, costs(rows))
        found.append(rows)
    return found


def usual(rows: list[int]) -> int:
    return max(set(rows), key=rows.count)


@pytest.mark.parametrize(("costs", "rows"), [(cheaper_together, 32), (dearer_together, 1), (best_at_four, 4)])
def test_so_many_rows_share_a_run_as_make_a_row_cheapest(costs: Costs, rows: int) -> None:
    joining = Joining(32)
    found = served(joining, costs, 300)
    assert usual(found[100:]) == rows
    assert joining.on == (rows > 1)


def test_requests_of_several_rows_are_joined_too() -> None:
    """Nobody asks for one row, so that what one takes is never known."""
    joining = Joining(32)
    assert joining.most(2) == 1  # but somebody did once
    for _ in range(100):
        rows = max(5, joining.most(32, rows=5) // 5 * 5)
        joining.ran(rows, rows, cheaper_together(rows))
    assert joining.most(1, rows=5) == 32


def test_a_few_large_requests_do_not_decide_for_small_ones() -> None:
    """A row of theirs is cheap here, but not one of the sizes between."""
    joining = Joining(32)
    for count in (16, 1000) * 10:
        joining.ran(count, count, count * 0.0005)
    assert usual(served(joining, dearer_together, 300)[20:]) == 1


@pytest.mark.parametrize("costs", [dearer_together, best_at_four])
def test_it_goes_no_further_than_one_step_beyond_what_pays(costs: Costs) -> None:
    found = served(Joining(32), costs, 300)
    assert max(found) <= 8
    assert sum(rows != usual(found) for rows in found) < 30


@pytest.mark.parametrize("now", [cheaper_together, dearer_together])
def test_what_changes_is_noticed(now: Costs) -> None:
    joining = Joining(32)
    served(joining, dearer_together if now is cheaper_together else cheaper_together, 300)
    served(joining, now, 6000)
    assert usual(served(joining, now, 100)) == (32 if now is cheaper_together else 1)


def test_one_run_that_waited_for_a_core_changes_nothing() -> None:
    joining = Joining(32)
    served(joining, cheaper_together, 100)
    joining.ran(32, 32, 10.0)
    assert usual(served(joining, cheaper_together, 40)) == 32


def test_who_is_alone_is_no_chance_to_try_something() -> None:
    joining = Joining(32)
    served(joining, dearer_together, 100)
    assert {joining.most(waiting=1) for _ in range(200)} == {1}


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Runner]]:
    runners: list[Runner] = []

    def started(model: Model, **changed: Any) -> Runner:
        options = {"threads": 1, "max_batch": 32, "max_delay": 0.0, "max_queue": 100, "row_seconds": SLOW} | changed
        runners.append(Runner(model, None, Telemetry({}), **options))
        return runners[-1]

    yield started
    for runner in runners:
        runner.close()


Start = Callable[..., Runner]


async def waiting_together(runner: Runner, model: Model, watched: Watched, count: int) -> list[int]:
    """Rows of the runs of so many jobs that wait while another one runs."""
    watched.go_on.clear()
    jobs = [Asked(model, X=x) for x in sums(count + 1)]
    runner.submit(jobs[0])
    await watched.until_it_runs()
    del watched.rows[:]
    for job in jobs[1:]:
        runner.submit(job)
        await asyncio.sleep(0)
    watched.go_on.set()
    assert [(await job.answer())["score"].tolist() for job in jobs] == [[2.0 * at] for at in range(1, count + 2)]
    return watched.rows


@pytest.mark.parametrize(
    ("costs", "rows"), [(lambda rows: rows**2, [1] * 8), (lambda rows: rows**2 if rows > 2 else 1, [2] * 4)]
)
async def test_the_runner_joins_as_it_has_learnt(start: Start, tmp_path: Path, costs: Costs, rows: list[int]) -> None:
    model = start_of(models.score(tmp_path / "model.onnx")).model
    assert await waiting_together(taught(start(model), costs, 4), model, Watched(model), 8) == rows


class Told(Joining):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__(32)
        self.said: list[tuple[int, int]] = []

    def ran(self, rows: int, work: int, seconds: float) -> None:
        self.said.append((rows, work))


@pytest.mark.parametrize(("columns", "work"), [(1, 1), ("k", 30)])
async def test_the_unit_is_rows_however_many_inputs_of_fixed_shape_there_are(
    start: Start, tmp_path: Path, columns: int | str, work: int
) -> None:
    """Converters make an input of each column. Elements are the unit only where rows may differ in length."""
    model = start_of(models.column_by_column(tmp_path / "model.onnx", 30, columns)).model
    runner = start(model)
    runner._joining = told = Told()
    columns_of = [dict[str, Any]({spec.name: [[at]] for spec in model.inputs}) for at in range(3)]
    jobs = [Asked(model, **each) for each in columns_of]
    for job in jobs:
        runner.submit(job)
    assert [(await job.answer())["OUT"].tolist() for job in jobs] == [[[30 * at]] for at in range(3)]
    assert told.said[0] == (1, work)


@pytest.mark.parametrize("another_session", [True, False])
async def test_what_all_cores_do_is_not_compared_with_what_one_does(
    start: Start, tmp_path: Path, another_session: bool
) -> None:
    path = models.score(tmp_path / "model.onnx")
    model = start_of(path).model
    if another_session:
        model.run_alone_on(load_model(path))
    runner = taught(start(model))
    runner._joining.ran = (told := Told()).ran  # type: ignore[method-assign]
    assert await waiting_together(runner, model, Watched(model), 8) == [8]
    assert told.said == ([] if another_session else [(8, 8)])


async def test_what_the_start_had_no_time_for_is_found_out_beside_requests(start: Start, tmp_path: Path) -> None:
    found = start_of(models.score(tmp_path / "model.onnx"), budget=0)
    model, said = found.model, list[str]()
    runner = start(model, unproven=found.unproven, tell=said.append)
    job = Asked(model, X=[[1, 1]])
    runner.submit(job)
    assert (await job.answer())["score"].tolist() == [2]
    await until(lambda: said)
    assert (said, model.batches, model.batching) == (["on"], True, "on")
    assert await waiting_together(runner, model, Watched(model), 9) == [1, 1, 1, 2, 2, 2]


async def test_until_it_is_known_nothing_is_joined_and_nobody_waits_long(start: Start, tmp_path: Path) -> None:
    """Somebody always waits here, so that the runs that find it out have to come between."""
    found = start_of(models.score(tmp_path / "model.onnx"), budget=0)
    model, said = found.model, list[str]()
    runner = start(model, unproven=found.unproven, tell=said.append)
    watched = Watched(model)
    assert await waiting_together(runner, model, watched, 90) == watched.rows
    proving = [at for at, rows in enumerate(watched.rows) if rows == 2]
    before = watched.rows[: proving[0]]
    assert set(before) == {1}
    await until(lambda: said)
    assert said == ["on"]


@pytest.mark.parametrize("name", DEPENDENT)
async def test_dependent_rows_are_never_joined(start: Start, tmp_path: Path, name: str) -> None:
    """Whatever users send: also where two of their rows are the same."""
    operator, attributes = DEPENDENT[name]
    found = start_of(models.by_rows(tmp_path / "model.onnx", operator, **attributes), budget=0)
    model, said = found.model, list[str]()
    runner = start(model, unproven=found.unproven, tell=said.append)
    for _ in range(3):
        job = Asked(model, IN=[[1, 1]])
        runner.submit(job)
        await job.answer()
    await until(lambda: said)
    assert said == ["off: a row's answer depends on the other rows"]
    assert not model.batches


async def test_rows_without_elements_prove_nothing(start: Start, tmp_path: Path) -> None:
    """All answers to them are the same, whatever the model does with its rows; and any client can send some."""
    found = start_of(models.by_rows(tmp_path / "model.onnx", "CumSum", columns="k"), budget=0)
    model, said = found.model, list[str]()
    runner = start(model, unproven=found.unproven, tell=said.append)
    for row in ([], [], [1, 2]):
        job = Asked(model, IN=[row])
        runner.submit(job)
        assert (await job.answer())["OUT"].tolist() == [row]
    await until(lambda: said)
    assert (said, model.batches) == (["off: a row's answer depends on the other rows"], False)


@pytest.mark.parametrize(("columns", "unproven"), [("k", True), (3, False)])
def test_an_output_without_elements_proves_nothing(tmp_path: Path, columns: str | int, unproven: bool) -> None:
    found = start_of(models.from_the_fourth(tmp_path / "model.onnx", columns))
    assert (found.model.batches, found.unproven) == (False, unproven)
    proof = Proof(found.model)
    proof.offer({"IN": np.ones((1, 3), np.float32)})
    while proof.due(waiting=0):
        proof.step()
    assert proof.verdict == ""


@pytest.mark.parametrize("threads", [2, 4])
async def test_one_step_of_the_proof_at_a_time(start: Start, tmp_path: Path, threads: int) -> None:
    """With several threads free, a second step would be of a generator that runs already."""
    found = start_of(models.score(tmp_path / "model.onnx"), budget=0)
    model, said = found.model, list[str]()
    runner = start(model, threads=threads, unproven=found.unproven, tell=said.append)
    assert runner._proof
    proofs, begun, go_on, plain = runner._proof.run, threading.Event(), threading.Event(), model.run

    def held_up(inputs: Mapping[str, Tensor], outputs: Sequence[str], run: Run | None = None) -> dict[str, Tensor]:
        if run is proofs:
            begun.set()
            assert go_on.wait(PATIENCE)
        return plain(inputs, outputs, run)

    model.run = held_up  # type: ignore[method-assign]
    for at, x in enumerate(sums(64)):
        job = Asked(model, X=x)
        runner.submit(job)
        await job.answer()
        if at == 0:
            assert await asyncio.to_thread(begun.wait, PATIENCE)
    assert not said
    go_on.set()
    await until(lambda: said)
    await until(lambda: len(runner._free) == threads)
    assert said == ["on"]


@pytest.mark.parametrize("threads", [1, 2, 4])
async def test_whatever_goes_wrong_in_the_proof_it_costs_no_thread(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    found = start_of(models.score(tmp_path / "model.onnx"), budget=0)
    model, said = found.model, list[str]()

    def fails(*_: object) -> bool:
        raise MemoryError("no room for the answers of two rows")

    monkeypatch.setattr(rows, "_stacked", fails)
    runner = start(model, threads=threads, unproven=found.unproven, tell=said.append)
    job = Asked(model, X=[[1, 1]])
    runner.submit(job)
    await job.answer()
    await until(lambda: said)
    assert said == [f"{UNTRIED}: MemoryError('no room for the answers of two rows')"]
    await until(lambda: len(runner._free) == threads)
    assert await waiting_together(runner, model, Watched(model), 3) == [1, 1, 1]


async def test_a_column_of_large_numbers_hides_no_other(tmp_path: Path) -> None:
    found = start_of(models.beside_a_million(tmp_path / "model.onnx"))
    assert found.model.batching == "off: a row's answer depends on the other rows"


async def test_rows_are_as_long_as_users_rows(start: Start, tmp_path: Path) -> None:
    """A row of length one, which the start has to guess, is too short for this model."""
    found = start_of(models.long_rows(tmp_path / "model.onnx"))
    model, said = found.model, list[str]()
    runner = start(model, unproven=found.unproven, tell=said.append)
    job = Asked(model, IN=[[[1, 2, 3, 4]]])
    runner.submit(job)
    assert (await job.answer())["OUT"].tolist() == [[[3, 4]]]
    await until(lambda: said)
    assert said == ["on"]


def offered(model: Model) -> Proof:
    proof = Proof(model)
    proof.offer({"X": np.ones((1, 2), np.float32)})
    return proof


@pytest.mark.parametrize(("error", "tries"), [(ExecutionFailed("no such index"), 3), (RunTooLong("after 60 s"), 1)])
def test_a_model_that_fails_on_made_up_rows_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: ExecutionFailed, tries: int
) -> None:
    model = start_of(models.score(tmp_path / "model.onnx")).model
    asked = []

    def fails(*_: object) -> None:
        asked.append(1)
        raise error

    monkeypatch.setattr(model, "run", fails)
    proof = offered(model)
    for _ in range(100):
        if proof.verdict:
            break
        proof.offer({"X": np.ones((1, 2), np.float32)})
        if proof.due(waiting=0):
            proof.step()
    assert (proof.verdict, len(asked)) == (f"{UNTRIED}: {error}", tries)


def test_where_somebody_always_waits_the_proof_takes_few_runs(tmp_path: Path) -> None:
    model = start_of(models.score(tmp_path / "model.onnx")).model
    proof = offered(model)
    assert sum(proof.due(waiting=5) for _ in range(1000)) < 100
    assert proof.due(waiting=0)
