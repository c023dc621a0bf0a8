"""How many rows of several requests share a run: as many as make a row cheaper, which is measured and not assumed.

Together a row often takes less time than alone, for a run has costs of its own; or more, where the tensors of many rows
no longer fit into the processor's caches. `runner.py` asks `Joining` before each run and tells it afterwards what the
run took. Where the start had no time to find out whether rows are independent, `Proof` does it beside users'
requests.
"""

import logging
import math
import sys
from collections.abc import Generator, Mapping
from itertools import takewhile

from ..codec.tensor import Tensor
from ..errors import ExecutionFailed, RunTooLong
from .model import Model, Run
from .rows import UNTRIED, examples, independence

logger = logging.getLogger(__name__)

JOINED_BYTES = 256 << 10

_PAYS = 0.95  # more rows share a run only if a row then takes less than this share of the time
_FOLLOW = 0.2  # weight of the newest run
_ENOUGH = 3  # runs of a size after which what they took is believed: the first ones allocate
_OUTLIER = 1.5  # a run counts as at most so many times what was expected: it may have waited for a core
_TRY_EVERY = 64  # one in so many runs has more or fewer rows than is best by what is known, for that may change
_CHOOSE_EVERY = 16  # runs after which the choice is made anew, for it takes longer than a small run
_PROOFS = 3  # shapes of rows that are tried, should the model fail on them
_STEP_EVERY = 16  # where somebody always waits, one in so many runs is the proof's


def joinable(model: Model, most: int) -> int:
    """Rows that may share a run: at most `most`, and on a CPU none that would have to be copied at length."""
    size = sum(math.prod(dim for dim in spec.assumed if dim > 0) * spec.datatype.size for spec in model.inputs)
    return min(most, max(1, JOINED_BYTES // max(1, size)) if model.device == "cpu" else sys.maxsize)


class Joining:
    """What a row takes in runs of 1, 2, 4, 8, … rows, and how many rows the next run should have.

    It begins with those of one request, and goes to twice as many only where that is faster.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._costs = [0.0] * (_size(most) + 1)
        self._seen = [0] * len(self._costs)
        self._best: dict[int, int] = {}
        self._chances = 0
        self._followed = 0
        self.on = False
        """Whether the last run could have had rows of several requests."""

    def most(self, waiting: int, rows: int = 1) -> int:
        """Rows that the next run should have at most, where so many requests wait for it, the first with `rows`."""
        own = min(_size(rows), len(self._costs) - 1)
        if own not in self._best:
            self._best[own] = self._best_from(own)
        size = self._best[own]
        self.on = size > own
        if waiting > 1:
            self._chances += 1
            if self._chances % _TRY_EVERY == 0:
                size += 1 if self._chances // _TRY_EVERY % 2 else -1
        return min(self._most, 1 << max(0, size))

    def ran(self, rows: int, work: int, seconds: float) -> None:
        """A run of so many rows took so long, where there was a choice.

        `work` is what its time is divided by: rows, or elements where rows may differ in length.
        """
        size, each = min(_size(rows), len(self._costs) - 1), seconds / work
        expected = self._costs[size]
        if self._seen[size] >= _ENOUGH:
            self._costs[size] += _FOLLOW * (min(each, _OUTLIER * expected) - expected)
            self._followed += 1
            if self._followed % _CHOOSE_EVERY == 0:
                self._best.clear()
        else:
            self._costs[size] = min(each, expected) if self._seen[size] else each
            self._seen[size] += 1
            self._best.clear()

    def _best_from(self, own: int) -> int:
        """The fewest rows that are about as fast as the fastest; twice as many while that is not known of those.

        Those of the request itself come first, and what is known counts as far as there is no gap: others may have had
        many rows.
        """
        known = list(takewhile(lambda size: self._seen[size] >= _ENOUGH, range(own, len(self._costs))))
        if not known:
            return own
        least = min(self._costs[size] for size in known)
        best = next(size for size in known if self._costs[size] * _PAYS <= least)
        return min(best + 1, len(self._costs) - 1) if best == known[-1] else best


class Proof:
    """Whether rows are independent, found out beside users' requests, with made-up rows as long as theirs.

    What users sent is not used: two of their rows may be the same just where a model mixes rows. `step` is called in a
    thread, while `running` is set; everything else belongs to the event loop's.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._steps: Generator[None, None, str] | None = None
        self._left = _PROOFS
        self._passed = 0
        self.running = False
        self.run = Run()
        self.verdict = ""

    def offer(self, inputs: Mapping[str, Tensor]) -> None:
        """Inputs that the model has answered: a proof begins with their shapes, if rows like that may differ at all."""
        if self._steps or self.running or sum(tensor.nbytes for tensor in inputs.values()) > JOINED_BYTES:
            return
        two = examples(self._model, 2, {name: tensor.shape for name, tensor in inputs.items()})
        if all(tensor.size for tensor in two.values()):
            self._steps = independence(self._model, two, self.run)

    def due(self, waiting: int) -> bool:
        """Whether to take a step now: at once where nobody waits, and now and then where somebody always does."""
        self._passed += 1
        return bool(self._steps) and not self.running and (not waiting or self._passed % _STEP_EVERY == 0)

    def step(self) -> None:
        """One more run, in a thread; the last one, or a failure that is one too many, ends in a verdict."""
        assert self._steps
        try:
            next(self._steps)
        except StopIteration as end:
            self.verdict = end.value
        except ExecutionFailed as error:
            self._left -= 1
            self._steps = None
            if not self._left or isinstance(error, RunTooLong):
                self.verdict = f"{UNTRIED}: {error}"
        except Exception as error:  # of NumPy, or memory: whatever it is, it must not cost a thread
            logger.exception("it could not be found out whether the model's rows are independent")
            self.verdict = f"{UNTRIED}: {error!r}"


def _size(rows: int) -> int:
    """0 for one row or none, 1 for 2, 2 for 3 and 4, 3 for 5 to 8, …"""
    return (max(1, rows) - 1).bit_length()
