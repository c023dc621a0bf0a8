"""When and where the model runs: what waits is run together as soon as there is somebody to run it.

`rest_app.py` and `grpc_app.py` submit jobs on the event loop and are called back on it. Jobs that arrive in the same
turn of the loop, or while all threads are busy, share one run if the model's rows are independent of each other and
take less time together (`joining.py`); nobody ever waits for a timer. Small runs happen on the loop itself, for handing
one to a thread would cost more than it takes; what is expected to take longer than INLINE_SECONDS goes to a thread, so
that probes and other requests are not kept waiting.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..codec.tensor import Tensor
from ..errors import DeadlineExceeded, ExecutionFailed, Overloaded, RequestError
from ..monitor import Monitor
from .confidence import Confidence
from .finite import floating, has_invalid
from .joining import Joining, Proof, joinable
from .model import Model, Run
from .pace import LARGE, Pace
from .rows import ON, may_be_longer
from .telemetry import Telemetry

logger = logging.getLogger(__name__)

INLINE_SECONDS = 0.0005

Results = dict[str, Tensor]
Outcome = Results | RequestError


class Job:
    """One request's run: `done` is called once, on the loop, unless `cancelled` was set before.

    `deadline` is a time of `time.monotonic`, or None; `unsure` counts the rows whose answer has little confidence;
    `invalid` if a number of the answer is NaN or infinite; `in_company` if others waited as well when it was taken.
    """

    __slots__ = (
        *("cancelled", "deadline", "expiry", "finished", "in_company", "inputs", "invalid", "outputs", "queued"),
        *("rows", "unsure"),
    )

    def __init__(self) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: tuple[str, ...] = ()
        self.rows = 0
        self.deadline: float | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.queued = 0.0
        self.cancelled = False
        self.finished = False
        self.unsure = 0
        self.invalid = False
        self.in_company = False

    def done(self, outcome: Outcome) -> None:
        """The model has run, or could not."""
        raise NotImplementedError


class Runner:
    """The model, its queue and its threads. All methods but `overdue` belong to the event loop's thread.

    `row_seconds` are those of a row (of an element of the inputs, where rows differ in length), None if they are not
    known; `unproven` if it is open whether rows are independent, of which `tell` is told once it is known.
    """

    def __init__(
        self,
        model: Model,
        monitor: Monitor | None,
        telemetry: Telemetry,
        *,
        threads: int,
        max_batch: int,
        max_delay: float,
        max_queue: int,
        row_seconds: float | None,
        confidence: Confidence | None = None,
        unproven: bool = False,
        tell: Callable[[str], None] = lambda batching: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._model = model
        self._monitor = monitor
        self._telemetry = telemetry
        self._joinable = joinable(model, max_batch)
        self._joining = Joining(self._joinable if model.batches else 1)
        self._proof = Proof(model) if unproven and self._joinable > 1 else None
        self._tell = tell
        self._max_delay = max_delay
        self._max_queue = max_queue
        self._pace = Pace(row_seconds)
        self._by_elements = may_be_longer(model)  # else by rows: what a run takes
        self._everything = model.output_names
        self._floating = floating(model.outputs)
        self._required = len(model.inputs)
        self._alike = self._required == 1 and not model.optional and all(dim > 0 for dim in model.inputs[0].assumed[1:])
        self._confidence = confidence
        self._counted = (*(monitor.outputs if monitor else ()), *([confidence.output] if confidence else []))
        self._waiting: deque[Job] = deque()
        self._flushing = False
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "model")
        self._free = [Run() for _ in range(threads)]
        self._inline = Run()
        self._runs = (self._inline, *self._free, *([self._proof.run] if self._proof else []))

    def submit(self, job: Job) -> None:
        """Run the job as soon as possible; Overloaded if too many are waiting."""
        if len(self._waiting) >= self._max_queue:
            raise Overloaded(f"{len(self._waiting)} requests are waiting already, the most that is allowed")
        job.queued = time.monotonic()
        if job.deadline is not None:
            job.expiry = self._loop.call_later(max(0.0, job.deadline - job.queued), self._expire, job)
        self._waiting.append(job)
        if not self._flushing and self._free:
            self._flushing = True
            if self._max_delay and self._joining.on:
                self._loop.call_later(self._max_delay, self._flush)
            else:
                self._loop.call_soon(self._flush)
        self._telemetry.queued = len(self._waiting)

    def close(self) -> None:
        """Give the threads back; who still waits is not called."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def overdue(self, seconds: float) -> list[Run]:
        """Runs that take longer than that by now; for the watchdog's thread."""
        return [run for run in self._runs if run.overdue(seconds)]

    def _flush(self) -> None:
        self._flushing = False
        while self._waiting and self._free:
            if self._proof and self._proof.due(len(self._waiting)):
                self._prove(self._proof)
                continue
            batch, rows = self._take()
            if not batch:
                continue
            expected = self._pace.expected(self._work(batch, rows))
            if expected < INLINE_SECONDS:
                self._finish(batch, *self._run(batch, self._inline), self._inline)
            else:
                run = self._free.pop()
                run.alone = self._has_all_cores(expected)
                self._pool.submit(self._run_in_thread, batch, run)
        if self._proof and len(self._free) == self._threads and self._proof.due(0):
            self._prove(self._proof)
        self._telemetry.queued = len(self._waiting)

    def _has_all_cores(self, expected: float) -> bool:
        """Whether a run that begins now does, which is expected to take so many seconds: if it is large and alone."""
        alone = not self._waiting and len(self._free) == self._threads - 1
        return alone and self._model.changes_alone and self._pace.known and expected >= LARGE

    def _take(self) -> tuple[list[Job], int]:
        """The next jobs that can share a run, and their rows: a fair share of those that wait for each free thread."""
        waiting, batch, rows = self._waiting, list[Job](), 0
        in_company = len(waiting) > 1
        first = waiting[0]
        most = share = self._joining.most(len(waiting), first.rows) if in_company or self._max_delay else 1
        if in_company and self._pace.expected(self._work([first], first.rows)) * len(waiting) >= INLINE_SECONDS:
            share = -(-len(waiting) // len(self._free))
        now = time.monotonic()
        while waiting:
            job = waiting[0]
            full = rows + job.rows > most or len(batch) == share
            if batch and (full or not (self._alike or _can_share(batch[0], job, self._required))):
                break
            waiting.popleft()
            if job.cancelled:
                self._telemetry.drop("cancelled")
                _forget_deadline(job)
            elif not job.finished:
                self._telemetry.waited(now - job.queued)
                job.in_company = in_company
                batch.append(job)
                rows += job.rows
        return batch, rows

    def _work(self, batch: list[Job], rows: int) -> int:
        """What the time of such a run goes by."""
        return _elements(batch) if self._by_elements else rows

    def _prove(self, proof: Proof) -> None:
        """One step of it, in the place of a run."""
        proof.running = True
        self._pool.submit(self._prove_in_thread, proof, self._free.pop())

    def _prove_in_thread(self, proof: Proof, run: Run) -> None:
        try:
            proof.step()
        finally:
            self._loop.call_soon_threadsafe(self._proven, proof, run)

    def _proven(self, proof: Proof, run: Run) -> None:
        proof.running = False
        self._free.append(run)
        if proof.verdict:
            self._proof = None
            self._model.batches = proof.verdict == ON
            self._model.batching = proof.verdict
            self._joining = Joining(self._joinable if self._model.batches else 1)
            self._tell(proof.verdict)
        if not self._flushing:
            self._flush()

    def _run_in_thread(self, batch: list[Job], run: Run) -> None:
        outcomes, seconds = self._run(batch, run)
        self._loop.call_soon_threadsafe(self._back, batch, outcomes, seconds, run)

    def _back(self, batch: list[Job], outcomes: list[Outcome], seconds: float, run: Run) -> None:
        self._free.append(run)
        self._finish(batch, outcomes, seconds, run)
        if (self._waiting or self._proof) and not self._flushing:
            self._flush()

    def _run(self, batch: list[Job], run: Run) -> tuple[list[Outcome], float]:
        """What came of each job, and the seconds that it took; one that fails alone fails alone."""
        started = time.perf_counter()
        outcomes: list[Outcome]
        try:
            outcomes = [*self._run_together(batch, run)]
        except Exception as error:
            outcomes = [_failed(error)] if len(batch) == 1 else [self._run_alone(job, run) for job in batch]
        return outcomes, time.perf_counter() - started

    def _run_alone(self, job: Job, run: Run) -> Outcome:
        if job.cancelled or job.finished:
            return {}
        return self._run([job], run)[0][0]

    def _run_together(self, batch: list[Job], run: Run) -> Iterable[Outcome]:
        if len(batch) == 1:
            job = batch[0]
            results = self._model.run(job.inputs, self._names(job.outputs), run)
            self._look_at(batch, job.inputs, results, job.rows)
            return [results]
        first = batch[0].outputs
        alike = all(job.outputs is first for job in batch)
        names = self._names(first if alike else [name for job in batch for name in job.outputs])
        inputs = {name: np.concatenate([job.inputs[name] for job in batch]) for name in batch[0].inputs}
        rows = sum(job.rows for job in batch)
        results = self._model.run(inputs, names, run)
        if any(len(tensor) != rows for tensor in results.values()):
            raise ExecutionFailed("the model's answer does not have one row for each row of its input")
        self._look_at(batch, inputs, results, rows)
        return _split(batch, results)

    def _look_at(self, batch: list[Job], inputs: Results, results: Results, rows: int) -> None:
        """Count what goes in and out, and which jobs got an invalid answer, or one that the model is not sure of."""
        if has_invalid(results, self._floating):
            mark_invalid(batch, results, self._floating)
        if self._monitor:
            self._monitor.observe(inputs, results, rows)
        if self._confidence and (unsure := self._confidence.unsure(results, rows)) is not None:
            start = 0
            for job in batch:
                job.unsure = int(unsure[start : start + job.rows].sum())
                start += job.rows

    def _names(self, asked: Iterable[str]) -> tuple[str, ...]:
        """What was asked for and what the monitor counts."""
        if asked is self._everything:
            return self._everything
        return tuple(dict.fromkeys((*asked, *self._counted)))

    def _finish(self, batch: list[Job], outcomes: list[Outcome], seconds: float, run: Run) -> None:
        rows = batch[0].rows if len(batch) == 1 else sum(job.rows for job in batch)
        work = self._work(batch, rows)
        if rows and work and not run.alone:  # none says nothing of what one takes, nor do all cores of what one does
            self._pace.ran(work, seconds)
            if batch[0].in_company:
                self._joining.ran(rows, work, seconds)
        if self._proof and batch and isinstance(outcomes[0], dict):
            self._proof.offer(batch[0].inputs)
        self._telemetry.ran(rows, seconds)
        for job, outcome in zip(batch, outcomes, strict=True):
            if job.expiry:
                _forget_deadline(job)
            if not (job.cancelled or job.finished):
                job.finished = True
                self._telemetry.low_confidence += job.unsure
                job.done(outcome)

    def _expire(self, job: Job) -> None:
        if not (job.cancelled or job.finished):
            job.finished = True
            self._telemetry.drop("deadline")
            job.done(DeadlineExceeded("the request's deadline passed before the model had answered"))


def mark_invalid(batch: list[Job], results: Results, floats: Iterable[str]) -> None:
    """Whose answer it is: of a run for several requests each has its own rows."""
    parts = [results] if len(batch) == 1 else _split(batch, results)
    for job, part in zip(batch, parts, strict=True):
        job.invalid = has_invalid(part, [name for name in floats if name in job.outputs])


def _elements(batch: list[Job]) -> int:
    """Of all tensors: what a run's time goes by where some rows are longer than others."""
    return sum(tensor.size for job in batch for tensor in job.inputs.values())


def _failed(error: Exception) -> RequestError:
    """What a client is told of it."""
    if isinstance(error, RequestError):
        return error
    logger.error("unhandled error in a run of the model", exc_info=error)
    return ExecutionFailed("internal error; the server's log says more")


def _can_share(one: Job, other: Job, required: int) -> bool:
    """Whether all tensors of each have its number of rows, and differ in nothing else.

    A model may broadcast a tensor with fewer rows. Behind one another such requests would answer for each other. More
    inputs than are required are another model's weights: whoever gives some has a run for itself.
    """
    if not len(one.inputs) == len(other.inputs) == required:
        return False
    for name, tensor in one.inputs.items():
        follows = other.inputs[name]
        if tensor.shape[1:] != follows.shape[1:] or len(tensor) != one.rows or len(follows) != other.rows:
            return False
    return True


def _forget_deadline(job: Job) -> None:
    """Let go of the timer, which holds on to the tensors."""
    if job.expiry:
        job.expiry.cancel()
        job.expiry = None


def _split(batch: list[Job], results: Results) -> Iterable[Results]:
    start = 0
    for job in batch:
        end = start + job.rows
        yield {name: tensor[start:end] for name, tensor in results.items()}
        start = end
