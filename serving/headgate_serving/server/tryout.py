"""The start of a model: load it, let it run on made-up rows, and choose by what that takes.

What is found out: how long a run takes, and by that how many threads work on one; whether the model's rows are
independent, and whether joined ones are faster. The first run is limited by `--run-timeout`, as users' runs are; all
others by a budget of time. What that leaves open the server learns beside its users' requests (`joining.py`).
`worker.py` calls `TryOut.start` in a thread of its own, and its watchdog looks at `overdue`.
"""

import logging
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExecutionFailed, RunTooLong
from .cores import cores
from .joining import joinable
from .model import Model, Run, Tensor, load_model
from .rows import LATER, ON, UNTRIED, examples, independence, why_not
from .settings import Settings

logger = logging.getLogger(__name__)

BUDGET = 1.0
"""Seconds for what may be left to later, and the most that loading a second time may take."""

LARGE = 0.002
"""Seconds of a run with one thread from which on all cores work on one. docs/serving.md has the measurements."""

_SMALL_FILES = 64 << 20  # bytes of models that may be in memory twice; others are loaded for all cores at once
_TIMES = 3  # runs of a kind, of which the fastest counts
_JOINED = (4, 16)  # rows whose time is compared with that of one


@dataclass(frozen=True)
class Tried:
    """A model that can be served, and what is known of it.

    `row_seconds` is what a run of one row takes; `joined` what a row takes, by the rows in a run; `unproven` if it is
    still open whether rows are independent.
    """

    model: Model
    threads: int
    row_seconds: float
    joined: Mapping[int, float]
    unproven: bool


class TryOut:
    """One start. `start` is called once; the other methods may be called by other threads meanwhile."""

    def __init__(self, settings: Settings, *, budget: float = BUDGET) -> None:
        self._settings = settings
        self._budget = budget
        self._until = 0.0
        self._cores = cores()
        self._run = Run()
        self.doing = "loading the model"
        """What the start is at, for who waits for it."""

    def overdue(self, seconds: float) -> list[Run]:
        """The run that is under way, if it takes longer than that by now."""
        return [self._run] if self._run.overdue(seconds) else []

    def start(self) -> Tried:
        """The model, loaded and tried out; ModelInvalid or DeviceUnavailable if it can't be loaded."""
        given = self._settings.intra_op_threads
        small = _bytes_in(self._settings.model) <= _SMALL_FILES
        threads = given or (1 if small else self._cores)
        model = self._load(threads)
        seconds = self._warm_up(model)
        if not given and (better := self._threads_for(model, seconds, threads)) != threads:
            if better > 1:
                self._load_for_lone_runs(model, better)
            else:
                del model  # the memory of the first is given back before the second needs it
                model = self._load(better)
                seconds = self._warm_up(model)
            threads = better
        joined, unproven = self._try_rows(model, seconds)
        at_a_time = self._settings.threads or runs_at_a_time(self._cores)
        self.doing = "reading the profile"
        logger.info(
            "a run of one row takes %s with the threads that it had first; %d at a time, and %d threads for one alone",
            "a time that is not known" if seconds is None else f"{1e3 * seconds:.3g} ms", at_a_time, threads
        )  # fmt: skip
        return Tried(model, at_a_time, 1.0 if seconds is None else seconds, joined, unproven)

    def _load(self, threads: int) -> Model:
        self.doing = "loading the model"
        settings = self._settings
        model = load_model(settings.model, settings.device, memory=settings.device_memory, threads=threads)
        self.doing = "trying out the model"
        self._until = time.monotonic() + self._budget
        return model

    def _load_for_lone_runs(self, model: Model, threads: int) -> None:
        """Once more, for runs that have all cores to themselves; where others run as well, one thread each is best."""
        other = self._load(threads)
        self._warm_up(other)
        model.run_alone_on(other)

    def _threads_for(self, model: Model, seconds: float | None, now: int) -> int:
        """Threads that should work on a run; as now where that is not known, or would take too long to change."""
        if seconds is None or model.device != "cpu" or model.load_seconds > self._budget:
            return now
        if now == 1:
            return self._cores if seconds >= LARGE else 1
        return 1 if seconds * now < LARGE else now  # so fast that it would be with one thread too

    def _warm_up(self, model: Model) -> float | None:
        """Seconds of a run of one row; None if the model does not like small numbers: its users' it may still like.

        After it no user waits for the first allocation.
        """
        one = examples(model, 1)
        try:
            seconds = self._timed(model, one)
            if self._fits(seconds):
                with self._limited():
                    seconds = min(seconds, self._fastest(model, one, seconds))
        except ExecutionFailed as error:
            logger.warning("the model failed when it was tried out with small numbers: %s", error)
            return None
        return seconds

    def _try_rows(self, model: Model, seconds: float | None) -> tuple[Mapping[int, float], bool]:
        """Set `batches` and `batching`: what a row takes by rows in a run, and whether the rest is to be learnt."""
        most = joinable(model, self._settings.max_batch)
        if reason := why_not(model) or _why_never(self._settings.max_batch, most):
            model.batching = reason
            return {}, False
        model.batching, unproven = LATER, True
        if seconds is None or not self._fits(6 * seconds):
            return {}, unproven
        try:
            with self._limited():
                model.batching, unproven = _end_of(independence(model, examples(model, 2), self._run)), False
                model.batches = model.batching == ON
                return (self._compared(model, seconds, most) if model.batches else {}), unproven
        except ExecutionFailed as error:
            unproven = not (model.batches or isinstance(error, RunTooLong)) and _may_be_longer(model)
            if not model.batches:
                model.batching = f"{UNTRIED}: {error}"
            return {}, unproven

    def _compared(self, model: Model, seconds: float, most: int) -> Mapping[int, float]:
        """What a row takes alone and in larger runs; nothing where users' rows have lengths that nobody knows yet."""
        if _may_be_longer(model):
            return {}
        found = {1: seconds}
        for rows in _JOINED:
            if rows <= most and self._fits(2 * rows * found[max(found)]):
                inputs = examples(model, rows)
                found[rows] = self._fastest(model, inputs, self._timed(model, inputs)) / rows
        return found

    def _fastest(self, model: Model, inputs: Mapping[str, Tensor], seconds: float) -> float:
        """Seconds of the fastest of some more runs, as many as there is time for."""
        for _ in range(_TIMES):
            if not self._fits(seconds):
                break
            seconds = min(seconds, self._timed(model, inputs))
        return seconds

    def _timed(self, model: Model, inputs: Mapping[str, Tensor]) -> float:
        started = time.perf_counter()
        model.run(inputs, model.output_names, self._run)
        return time.perf_counter() - started

    def _fits(self, seconds: float) -> bool:
        return time.monotonic() + seconds <= self._until

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Stop what runs when the budget is spent."""
        timer = threading.Timer(max(0.0, self._until - time.monotonic()), self._run.terminate)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def runs_at_a_time(available: int) -> int:
    """Of a model, on so many cores."""
    return min(4, available)


def _why_never(asked: int, most: int) -> str:
    """Why rows would not be joined even if they were independent; empty if they would."""
    if asked == 1:
        return "off: --max-batch is 1"
    return "off: a row is too large to be copied together with others" if most == 1 else ""


def _may_be_longer(model: Model) -> bool:
    """Whether users' rows may have other shapes than the made-up ones."""
    return any(dim < 0 for spec in model.inputs for dim in spec.assumed[1:])


def _end_of(steps: Generator[None, None, str]) -> str:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return str(end.value)


def _bytes_in(path: Path) -> int:
    """Of the model, its external weights included where they are in its folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
