"""The start of a model: load it, let it run on made-up rows, and choose by what that takes.

What is found out: how long a run takes, and by that how many threads work on one; and whether the model's rows are
independent. The first run is limited by `--run-timeout`, as users' runs are; all others by a budget of time. What that
leaves open the server learns beside its users' requests (`joining.py`, `pace.py`).
`worker.py` calls `TryOut.start` in a thread of its own, and its watchdog looks at `overdue`.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ..artifact.onnx_file import NotOnnx, read_onnx
from ..codec.tensor import Tensor
from ..errors import ExecutionFailed, RunTooLong
from ..turns import at_once
from .cores import cores
from .joining import joinable
from .model import Model, Run, find_model, load_model
from .pace import LARGE
from .rows import LATER, ON, UNTRIED, examples, independence, may_be_longer, why_not
from .settings import Settings

logger = logging.getLogger(__name__)

BUDGET = 1.0
"""Seconds after the first run of a session for what may be left to later, and the most for loading a second time."""

_SMALL_FILES = 64 << 20  # bytes of models that may be in memory twice; others are loaded for all cores at once
_MOST_THREADS = 8  # for one run: more were not measured
_FASTER = 0.9  # a second session is kept if a run takes less than this share of the time with it
_TIMES = 3  # runs of a kind after the first, of which the fastest counts


@dataclass(frozen=True)
class Tried:
    """A model that can be served, and what is known of it.

    `threads` are runs at a time; `row_seconds` what a run of one row takes, None where that is not known, or where
    users' rows may be longer than the made-up one; `unproven` if it is still open whether rows are independent.
    """

    model: Model
    threads: int
    row_seconds: float | None
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
        at_a_time = self._settings.threads or runs_at_a_time(self._cores)
        most = self._settings.intra_op_threads or min(self._cores, _MOST_THREADS)
        twice = min(most, at_a_time) > 1 and not self._settings.intra_op_threads and self._small()
        threads = 1 if twice else most
        model = self._load(threads)
        seconds = self._warm_up(model)
        unproven = self._try_rows(model, seconds)
        alone = most if twice and self._load_for_lone_runs(model, seconds, most) else threads
        self.doing = "reading the profile"
        longer = may_be_longer(model)
        logger.info(
            "a run of one made-up row%s takes %s with %d thread(s); %d run(s) at a time have as many, and a large one "
            "that is alone has %d (--threads and --intra-op-threads change that)",
            ", whose free dimensions have length 1," if longer else "",
            "a time that is not known" if seconds is None else f"{1e3 * seconds:.3g} ms", threads, at_a_time, alone
        )  # fmt: skip
        return Tried(model, at_a_time, None if longer else seconds, unproven)

    def _small(self) -> bool:
        """Whether the model may be in memory twice: its file, and the files that have its weights."""
        file = find_model(self._settings.model)
        try:
            files = [file, *(file.parent / one.location for one in read_onnx(file).external)]
        except NotOnnx:
            files = [file]
        return sum(one.stat().st_size for one in files if one.is_file()) <= _SMALL_FILES

    def _load(self, threads: int) -> Model:
        self.doing = "loading the model"
        settings = self._settings
        model = load_model(settings.model, settings.device, memory=settings.device_memory, threads=threads)
        self.doing = "trying out the model"
        return model

    def _load_for_lone_runs(self, model: Model, seconds: float | None, threads: int) -> bool:
        """Once more, for large runs that are alone; where others run as well, one thread each is best.

        Whether that was done: not if a run is small, or if it is not faster. Where users' runs may be larger than that
        of a made-up row, or nothing is known of that, `runner.py` finds out which of them are large.
        """
        if model.device != "cpu" or model.load_seconds > self._budget:
            return False
        keep = seconds is None or may_be_longer(model)
        if not keep and seconds is not None and seconds < LARGE:
            return False
        other = self._load(threads)
        if seconds is not None:  # what failed, or had no end, would do so again
            alone = self._warm_up(other)
            keep = keep or (alone is not None and alone < _FASTER * seconds)
        if keep:
            model.run_alone_on(other)
        return keep

    def _warm_up(self, model: Model) -> float | None:
        """Seconds of a run of one row; None if the model does not like small numbers: its users' it may still like.

        After it no user waits for the first allocation. The budget begins after the first run, which says little of
        what others take: on a GPU it may take seconds.
        """
        one = examples(model, 1)
        try:
            first = self._timed(model, one)
            self._until = time.monotonic() + self._budget
            return self._fastest(model, one, first)
        except ExecutionFailed as error:
            logger.warning("the model failed when it was tried out with small numbers: %s", error)
            return None

    def _try_rows(self, model: Model, seconds: float | None) -> bool:
        """Set `batches` and `batching`; whether it is still open, and to be learnt."""
        if reason := why_not(model) or self._why_never(model):
            model.batching = reason
            return False
        model.batching = LATER
        if seconds is None or not self._fits(6 * seconds):
            return True
        try:
            with self._limited():
                model.batching = at_once(independence(model, examples(model, 2), self._run))
        except ExecutionFailed as error:
            if self._may_succeed_later(model, error):
                return True
            model.batching = f"{UNTRIED}: {error}"
        model.batches = model.batching == ON
        return False

    def _may_succeed_later(self, model: Model, error: ExecutionFailed) -> bool:
        """With rows as long as users'; or, if it was only the budget that ended, where a run has a limit by itself."""
        if isinstance(error, RunTooLong):
            return self._settings.run_timeout > 0 and not self._fits(0.0)
        return may_be_longer(model)

    def _why_never(self, model: Model) -> str:
        """Why rows would not be joined even if they were independent; empty if they would."""
        asked = self._settings.max_batch
        if asked == 1:
            return "off: --max-batch is 1"
        return "" if joinable(model, asked) > 1 else "off: a row is too large to be copied together with others"

    def _fastest(self, model: Model, inputs: Mapping[str, Tensor], first: float) -> float:
        """Seconds of the fastest of the first run and some more, as many as there is time for."""
        seconds = first
        with self._limited(), suppress(RunTooLong):
            for at in range(_TIMES):
                if not self._fits(seconds if at else 0.0):
                    break
                seconds = min(seconds, self._timed(model, inputs))
        return seconds

    def _timed(self, model: Model, inputs: Mapping[str, Tensor]) -> float:
        started = time.perf_counter()
        model.run(inputs, model.output_names, self._run)
        return time.perf_counter() - started

    def _fits(self, seconds: float) -> bool:
        return time.monotonic() + seconds < self._until

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
