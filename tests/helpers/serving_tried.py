"""A model as the runtime has it after its start, for tests that need no server."""

from collections.abc import Callable
from pathlib import Path

from headgate_serving.runtime.model import Model
from headgate_serving.runtime.runner import Runner
from headgate_serving.runtime.settings import read_settings
from headgate_serving.runtime.tryout import Tried, TryOut
from patience import PATIENCE


def start_of(path: Path, *options: str, budget: float = PATIENCE) -> Tried:
    """What the start finds out, in all the time that it likes."""
    return TryOut(read_settings(["--model", str(path), *options], {}), budget=budget).start()


def tried(path: Path) -> Model:
    """The model, tried out."""
    return start_of(path).model


def taught(runner: Runner, seconds_of: Callable[[int], float] = lambda rows: 1e-9, most: int = 32) -> Runner:
    """A runner that has learnt what runs of up to so many rows take: it joins rows at once if that is faster."""
    for size in range(most.bit_length()):
        for _ in range(3):
            runner._joining.ran(1 << size, 1 << size, seconds_of(1 << size))
    return runner
