"""Which jobs run together, which do not run at all, and that each gets its own answer."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import serving_models as models
from headgate_serving.codec.tensor import Tensor
from headgate_serving.errors import DeadlineExceeded, ExecutionFailed, Overloaded
from headgate_serving.monitor import InputForm, Monitor, build_profile
from headgate_serving.monitor.counter import attach
from headgate_serving.monitor.profile import Column
from headgate_serving.runtime import pace
from headgate_serving.runtime.joining import JOINED_BYTES
from headgate_serving.runtime.model import Model, Run, load_model
from headgate_serving.runtime.pace import LARGE, Pace
from headgate_serving.runtime.runner import INLINE_SECONDS, Job, Outcome, Runner
from headgate_serving.runtime.telemetry import Telemetry
from serving_jobs import DEPENDENT, QUICK, SLOW, Asked, Watched, sums
from serving_tried import taught, tried


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Runner]]:
    runners: list[Runner] = []

    def started(model: Model, **changed: Any) -> Runner:
        options: dict[str, Any] = {"threads": 2, "max_batch": 32, "max_delay": 0.0, "max_queue": 100}
        options |= {"monitor": None, "telemetry": Telemetry({}), "row_seconds": QUICK} | changed
        monitor, telemetry = options.pop("monitor"), options.pop("telemetry")
        runners.append(taught(Runner(model, monitor, telemetry, **options)))
        return runners[-1]

    yield started
    for runner in runners:
        runner.close()


Start = Callable[..., Runner]


@pytest.fixture
def score(tmp_path: Path) -> Model:
    return tried(models.score(tmp_path / "model.onnx"))


@pytest.mark.parametrize("row_seconds", [QUICK, SLOW], ids=["inline", "in a thread"])
async def test_jobs_of_one_turn_share_one_run_and_have_their_own_answers(
    start: Start, score: Model, row_seconds: float
) -> None:
    watched, telemetry = Watched(score), Telemetry({})
    runner = start(score, row_seconds=row_seconds, threads=1, telemetry=telemetry)
    jobs = [Asked(score, X=x) for x in sums(5, rows=2)]
    for job in jobs:
        runner.submit(job)
    answers = [(await job.answer())["score"].tolist() for job in jobs]
    assert answers == [[2, 4], [6, 8], [10, 12], [14, 16], [18, 20]]
    assert watched.rows == [10]
    assert telemetry.statistics()["execution_count"] == 1
    assert telemetry.queued == 0


async def test_no_more_rows_run_together_than_allowed_but_one_job_may_have_more(start: Start, score: Model) -> None:
    watched = Watched(score)
    runner = start(score, max_batch=4)
    jobs = [Asked(score, X=x) for x in (*sums(3, rows=2), *sums(1, rows=9))]
    for job in jobs:
        runner.submit(job)
    assert (await jobs[-1].answer())["score"].tolist() == [2.0 * at for at in range(1, 10)]
    assert watched.rows == [4, 2, 9]


async def test_on_a_cpu_large_rows_are_not_copied_together(start: Start, tmp_path: Path) -> None:
    model = tried(
        models.save(
            tmp_path / "model.onnx",
            [helper.make_node("Identity", ["X"], ["Y"])],
            [("X", TensorProto.FLOAT, ["n", JOINED_BYTES // 8])],
            [("Y", TensorProto.FLOAT, ["n", JOINED_BYTES // 8])],
        )
    )
    assert model.batches
    for device, runs in (("cpu", [2, 2, 1]), ("cuda", [5])):
        model.device = device
        watched = Watched(model)
        runner = start(model)
        jobs = [Asked(model, X=np.full((1, JOINED_BYTES // 8), at, np.float32)) for at in range(5)]
        for job in jobs:
            runner.submit(job)
        assert [(await job.answer())["Y"][0, 0] for job in jobs] == [0, 1, 2, 3, 4]
        assert watched.rows == runs


async def test_jobs_may_ask_for_different_outputs(start: Start, score: Model) -> None:
    runner = start(score)
    one, other = [Asked(score, X=x) for x in sums(2)]
    one.outputs = ("label",)
    runner.submit(one)
    runner.submit(other)
    assert (await one.answer())["label"].tolist() == [True]
    assert (await other.answer())["score"].tolist() == [4]


async def test_different_shapes_behind_the_rows_run_apart(start: Start, tmp_path: Path) -> None:
    model = tried(models.by_rows(tmp_path / "model.onnx", "Neg", columns="k"))
    assert model.batches
    watched, runner = Watched(model), start(model)
    jobs = [Asked(model, IN=[row]) for row in ([1], [2], [3, 4], [5])]
    for job in jobs:
        runner.submit(job)
    assert [(await job.answer())["OUT"].tolist() for job in jobs] == [[[-1]], [[-2]], [[-3, -4]], [[-5]]]
    assert watched.rows == [2, 1, 1]


async def test_tensors_with_fewer_rows_that_the_model_broadcasts_never_answer_for_others(
    start: Start, tmp_path: Path
) -> None:
    """Behind one another, 1 + 2 and 2 + 1 rows are 3 + 3."""
    model = tried(models.broadcast(tmp_path / "model.onnx"))
    assert model.batches
    runner = start(model)
    jobs = [Asked(model, A=a, B=b) for a, b in (([1], [10, 20]), ([100, 200], [3]), ([5], [6]), ([7], [8]))]
    for job in jobs:
        runner.submit(job)
    assert [(await job.answer())["SUM"].tolist() for job in jobs] == [[11, 21], [103, 203], [11], [15]]


@pytest.mark.parametrize("name", DEPENDENT)
async def test_a_model_whose_rows_depend_on_each_other_is_never_batched(
    start: Start, tmp_path: Path, name: str
) -> None:
    operator, attributes = DEPENDENT[name]
    model = tried(models.by_rows(tmp_path / "model.onnx", operator, **attributes))
    assert model.batching == "off: a row's answer depends on the other rows"
    watched, runner = Watched(model), start(model)
    jobs = [Asked(model, IN=x) for x in sums(3)]
    alone = [model.run(job.inputs, ("OUT",))["OUT"].tolist() for job in jobs]
    for job in jobs:
        runner.submit(job)
    assert [(await job.answer())["OUT"].tolist() for job in jobs] == alone
    assert watched.rows[3:] == [1, 1, 1]


async def test_why_a_model_is_not_batched_is_said(tmp_path: Path) -> None:
    assert "not every tensor's first dimension is free" in tried(models.looping(tmp_path / "loop.onnx")).batching
    assert "could not be tried" in tried(models.mixed(tmp_path / "mixed.onnx")).batching
    assert "was not tried" in load_model(models.score(tmp_path / "score.onnx")).batching


async def test_one_bad_row_fails_alone(start: Start, tmp_path: Path) -> None:
    model = tried(models.table(tmp_path / "model.onnx"))
    assert model.batches
    runner = start(model)
    jobs = [Asked(model, IN=[at]) for at in (0, 1, 99, 3)]
    for job in jobs:
        runner.submit(job)
    outcomes = [await job.outcome() for job in jobs]
    assert isinstance(outcomes.pop(2), ExecutionFailed)
    assert [outcome["OUT"].tolist() for outcome in outcomes if isinstance(outcome, dict)] == [[0], [10], [30]]


async def test_an_answer_without_a_row_for_each_row_is_not_cut_up(start: Start, score: Model) -> None:
    plain = score.run

    def without_last(inputs: Mapping[str, Tensor], outputs: Sequence[str], run: Run | None = None) -> dict[str, Tensor]:
        results = plain(inputs, outputs, run)
        return results if len(inputs["X"]) == 1 else {name: tensor[:-1] for name, tensor in results.items()}

    score.run = without_last  # type: ignore[method-assign]
    runner = start(score)
    jobs = [Asked(score, X=x) for x in sums(3)]
    for job in jobs:
        runner.submit(job)
    assert [(await job.answer())["score"].tolist() for job in jobs] == [[2], [4], [6]]


@pytest.mark.parametrize(("rows", "runs"), [(1, [4, 4]), (3, [12, 12])])
async def test_each_thread_gets_a_fair_share(start: Start, score: Model, rows: int, runs: list[int]) -> None:
    watched = Watched(score)
    watched.go_on.clear()
    runner = start(score, row_seconds=SLOW)
    jobs = [Asked(score, X=x) for x in sums(8, rows=rows)]
    for job in jobs:
        runner.submit(job)
    for _ in range(2):
        await watched.until_it_runs()
    watched.go_on.set()
    assert [(await job.answer())["score"][0] for job in jobs] == [2.0 * (at * rows + 1) for at in range(8)]
    assert watched.rows == runs


async def test_what_comes_while_all_threads_are_busy_runs_together_afterwards(start: Start, score: Model) -> None:
    watched = Watched(score)
    watched.go_on.clear()
    runner = start(score, row_seconds=SLOW, threads=1)
    jobs = [Asked(score, X=x) for x in sums(4)]
    runner.submit(jobs[0])
    await watched.until_it_runs()
    for job in jobs[1:]:
        runner.submit(job)
        await asyncio.sleep(0)
    watched.go_on.set()
    assert [(await job.answer())["score"].tolist() for job in jobs] == [[2], [4], [6], [8]]
    assert watched.rows == [1, 3]


@pytest.fixture
async def busy(start: Start, score: Model) -> AsyncIterator[tuple[Runner, Watched, Asked, Telemetry]]:
    """A runner with one thread, which is held up by a job."""
    watched, telemetry = Watched(score), Telemetry({})
    watched.go_on.clear()
    runner = start(score, row_seconds=SLOW, threads=1, max_queue=2, telemetry=telemetry)
    job = Asked(score, X=[[1, 1]])
    runner.submit(job)
    await watched.until_it_runs()
    yield runner, watched, job, telemetry
    watched.go_on.set()
    await job.outcome()


Busy = tuple[Runner, Watched, Asked, Telemetry]


async def test_a_job_whose_deadline_passes_while_it_waits_is_not_run(busy: Busy, score: Model) -> None:
    runner, watched, first, telemetry = busy
    late = Asked(score, X=[[2, 2]], deadline=time.monotonic() + 0.01)
    runner.submit(late)
    assert isinstance(await late.outcome(), DeadlineExceeded)
    watched.go_on.set()
    await first.answer()
    last = Asked(score, X=[[3, 3]])
    runner.submit(last)
    assert (await last.answer())["score"].tolist() == [6]
    assert watched.rows == [1, 1]
    assert telemetry._dropped == {"cancelled": 0, "deadline": 1}


async def test_a_deadline_that_passes_during_the_run_is_told_at_once_and_the_answer_dropped(
    start: Start, score: Model
) -> None:
    watched = Watched(score)
    watched.go_on.clear()
    runner = start(score, row_seconds=SLOW)
    late, other = Asked(score, X=[[2, 2]], deadline=time.monotonic() + 0.05), Asked(score, X=[[3, 3]])
    runner.submit(late)
    assert isinstance(await late.outcome(), DeadlineExceeded)
    watched.go_on.set()
    runner.submit(other)
    await other.answer()
    assert watched.rows[0] == 1
    await late.outcome()  # still the only one


async def test_a_deadline_that_has_passed_already(start: Start, score: Model) -> None:
    runner = start(score, row_seconds=SLOW)
    late = Asked(score, X=[[2, 2]], deadline=time.monotonic() - 1)
    runner.submit(late)
    assert isinstance(await late.outcome(), DeadlineExceeded)


async def test_a_distant_deadline_does_not_hold_on_to_the_tensors(start: Start, score: Model) -> None:
    runner = start(score)
    job = Asked(score, X=[[1, 1]], deadline=time.monotonic() + 3600)
    tensor = weakref.ref(job.inputs["X"])
    runner.submit(job)
    await job.answer()
    del job
    gc.collect()
    assert tensor() is None


async def test_who_left_is_not_run_and_not_answered(busy: Busy, score: Model) -> None:
    runner, watched, first, telemetry = busy
    left, stays = Asked(score, X=[[2, 2]]), Asked(score, X=[[3, 3]])
    runner.submit(left)
    runner.submit(stays)
    left.cancelled = True
    watched.go_on.set()
    assert (await stays.answer())["score"].tolist() == [6]
    assert (watched.rows, left.outcomes) == ([1, 1], [])
    assert telemetry._dropped == {"cancelled": 1, "deadline": 0}
    assert isinstance(await first.outcome(), dict)


async def test_who_leaves_during_the_run_is_not_answered(busy: Busy, score: Model) -> None:
    runner, watched, first, _ = busy
    next_one = Asked(score, X=[[2, 2]])
    runner.submit(next_one)
    first.cancelled = True
    watched.go_on.set()
    await next_one.answer()
    assert first.outcomes == []
    first.done({})  # for the fixture, which waits for it


async def test_more_than_may_wait_are_refused(busy: Busy, score: Model) -> None:
    runner, watched, _, telemetry = busy
    waiting = [Asked(score, X=[[2, 2]]) for _ in range(2)]
    for job in waiting:
        runner.submit(job)
    with pytest.raises(Overloaded, match="2 requests are waiting already"):
        runner.submit(Asked(score, X=[[2, 2]]))
    assert telemetry.queued == 2
    watched.go_on.set()
    for job in waiting:
        await job.answer()
    assert telemetry.queued == 0


async def test_after_a_run_that_took_long_the_next_ones_go_to_threads(
    start: Start, score: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_LONG", 0.0)
    runner, threads, plain = start(score), list[str](), score.run

    def noted(inputs: Mapping[str, Tensor], outputs: Sequence[str], run: Run | None = None) -> dict[str, Tensor]:
        threads.append(threading.current_thread().name)
        if len(threads) == 1:
            time.sleep(INLINE_SECONDS * 2)
        return plain(inputs, outputs, run)

    score.run = noted  # type: ignore[method-assign]
    for x in sums(2):
        job = Asked(score, X=x)
        runner.submit(job)
        await job.answer()
    assert [name.startswith("model") for name in threads] == [False, True]


async def test_a_run_that_takes_long_is_seen(busy: Busy) -> None:
    runner, watched, first, _ = busy
    assert runner.overdue(3600) == []
    run = Run()
    run.started = time.monotonic() - 10
    runner._runs = (*runner._runs, run)
    assert runner.overdue(5) == [run]
    watched.go_on.set()
    await first.answer()


async def test_a_stop_that_comes_too_late_does_not_hit_the_next_run(score: Model) -> None:
    run = Run()
    run.terminate()
    inputs = {"X": np.ones((1, 2), np.float32)}
    assert score.run(inputs, score.output_names, run)["score"].tolist() == [2]


@pytest.mark.parametrize("delay", [0.0, 0.01])
async def test_bins_are_the_same_together_and_alone(start: Start, score: Model, delay: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 2)).astype(np.float32)
    columns = [Column(name, "X", at, rows[:, at]) for at, name in enumerate("ab")]
    profile, _ = build_profile(columns, score.run({"X": rows}, score.output_names))
    inputs = {spec.name: InputForm(2, False) for spec in score.inputs}
    live = rng.normal(1, 2, size=(300, 2)).astype(np.float32)
    live[::7, 0] = np.nan
    counts = []
    for max_batch in (1, 32):
        monitor = Monitor([attach(profile, inputs, score.output_names)])
        runner = start(score, monitor=monitor, max_batch=max_batch, max_queue=1000, max_delay=delay)
        jobs = [Asked(score, X=part) for part in np.split(live, [1, 4, 50, 51, *range(60, 300)])]
        jobs[5].outputs = ("label",)
        for job in jobs:
            runner.submit(job)
        for job in jobs:
            await job.answer()
        monitor.flush()
        counts.append([series.counts.tolist() for series in (*monitor.features(), *monitor.predictions())])
    assert counts[0] == counts[1]
    assert sum(counts[0][0]) == 300


@pytest.mark.parametrize("row_seconds", [QUICK, SLOW], ids=["inline", "in a thread"])
async def test_requests_without_rows_are_run_with_others_and_alone(
    start: Start, score: Model, row_seconds: float
) -> None:
    runner = start(score, row_seconds=row_seconds, threads=1)
    for sizes in ([0], [0, 0], [1, 0, 2]):
        jobs = [Asked(score, X=np.ones((size, 2))) for size in sizes]
        for job in jobs:
            runner.submit(job)
        assert [(await job.answer())["score"].shape[0] for job in jobs] == sizes


def noting_alone(model: Model) -> list[bool]:
    """Has another session for lone runs; what each run is told from now on."""
    alone, plain = list[bool](), model.run
    model._session_alone = object()
    assert model.changes_alone

    def noted(inputs: Mapping[str, Tensor], outputs: Sequence[str], run: Run | None = None) -> dict[str, Tensor]:
        assert run
        alone.append(run.alone)
        run.alone, was = False, run.alone
        try:
            return plain(inputs, outputs, run)
        finally:
            run.alone = was

    model.run = noted  # type: ignore[method-assign]
    return alone


async def test_only_a_run_without_company_has_all_cores(start: Start, score: Model) -> None:
    alone = noting_alone(score)
    watched = Watched(score)
    watched.go_on.clear()
    runner = start(score, row_seconds=SLOW, max_batch=1)
    jobs = [Asked(score, X=x) for x in sums(4)]
    for job in jobs[:3]:
        runner.submit(job)
    for _ in range(2):
        await watched.until_it_runs()
    watched.go_on.set()
    for job in jobs[:3]:
        await job.answer()
    assert alone[:2] == [False, False]
    runner.submit(jobs[3])
    await jobs[3].answer()
    assert alone[3:] == [True]


async def test_only_large_runs_have_all_cores(start: Start, tmp_path: Path) -> None:
    """How large is learnt from users' own runs, where the start knew only rows of length one."""
    model = tried(models.by_rows(tmp_path / "model.onnx", "Neg", columns="k"))
    alone, runner = noting_alone(model), start(model, row_seconds=None)
    each, plain = LARGE / 1000, runner._run

    def took(batch: list[Job], run: Run) -> tuple[list[Outcome], float]:
        outcomes, _ = plain(batch, run)
        return outcomes, each * batch[0].inputs["IN"].size

    runner._run = took  # type: ignore[method-assign]
    for length in (10, 10, 10, 900, 1100, 2000, 500):
        job = Asked(model, IN=[[1.0] * length])
        runner.submit(job)
        await job.answer()
    assert alone == [False, False, False, False, True, True, False]


def test_where_nothing_is_known_the_fastest_of_three_runs_is_believed() -> None:
    """The first ones allocate. Until there was one, a run is expected to be long, and goes to a thread."""
    pace = Pace(None)
    assert pace.expected(1) > INLINE_SECONDS
    seen = []
    for seconds in (0.080, 0.020, 0.030):
        assert not pace.known
        pace.ran(10, seconds)
        seen.append(pace.expected(10))
    assert pace.known
    assert seen == pytest.approx([0.080, 0.020, 0.020])


@pytest.mark.parametrize("known", [0.001, None])
def test_what_runs_take_is_followed_by_the_median(known: float | None) -> None:
    pace = Pace(known)
    for at in range(1000):
        pace.ran(2, 0.090 if at % 10 == 0 else 0.010)
    assert pace.expected(2) == pytest.approx(0.010, rel=0.1)
