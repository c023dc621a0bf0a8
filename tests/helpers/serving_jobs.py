"""Jobs for a Runner, models that count what runs, and models whose rows may not run together."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from headgate_serving.codec.tensor import Tensor
from headgate_serving.runtime.model import Model, Run
from headgate_serving.runtime.runner import INLINE_SECONDS, Job, Outcome
from patience import PATIENCE

SLOW, QUICK = INLINE_SECONDS * 100, INLINE_SECONDS / 100_000


DEPENDENT = {
    "running sum": ("CumSum", {}),
    "running sum from behind": ("CumSum", {"reverse": 1}),
    "softmax over the rows": ("Softmax", {"axis": 0}),
    "normalised over the rows": ("LpNormalization", {"axis": 0, "p": 1}),
    "the largest row": ("Hardmax", {"axis": 0}),
}


class Asked(Job):
    """A job of one or several inputs whose outcome can be waited for."""

    def __init__(self, model: Model, *, deadline: float | None = None, **inputs: object) -> None:
        super().__init__()
        self.inputs = {spec.name: np.array(inputs[spec.name], spec.datatype.dtype) for spec in model.inputs}
        self.outputs = model.output_names
        self.rows = len(self.inputs[model.inputs[0].name])
        self.deadline = deadline
        self.outcomes: list[Outcome] = []
        self._done = asyncio.Event()

    def done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._done.set()

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(PATIENCE):
            await self._done.wait()
        assert len(self.outcomes) == 1
        return self.outcomes[0]

    async def answer(self) -> Mapping[str, Tensor]:
        outcome = await self.outcome()
        assert isinstance(outcome, dict), outcome
        return outcome


class Watched:
    """Notes how many rows each run of a model has, and can hold it up in the middle."""

    def __init__(self, model: Model) -> None:
        self.rows: list[int] = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self._run = model.run
        model.run = self.run  # type: ignore[method-assign]

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], run: Run | None = None) -> dict[str, Tensor]:
        self.rows.append(len(next(iter(inputs.values()))))
        self.begun.release()
        assert self.go_on.wait(20)
        return self._run(inputs, outputs, run)

    async def until_it_runs(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE)


def sums(count: int, rows: int = 1) -> Iterator[list[list[float]]]:
    """Inputs of so many jobs; the sums of their rows are 2, 4, 6, …"""
    for at in range(count):
        yield [[at * rows + row + 1.0] * 2 for row in range(rows)]
