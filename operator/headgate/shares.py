"""Reads what is too much for one answer in shares: by names of series, then by revision, then by pods.

Called by `observe`. One answer is bounded, and so is the number of shares: memory is, too. An answer grows with routers
times pods, so a model with some hundred pods has more to say than one answer holds. What was too much a moment ago is
not asked again: Prometheus would read all of it once more, to be refused.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from headgate.api import contract
from headgate.core.provenance import OF_RUNTIMES, ModelPods
from headgate.core.statistics.counters import TARGET_POD, Series
from headgate.edges.promql import AnyOf, Labels
from headgate.errors import TooMuchData

MOST_SHARES = 8
"""Answers that one reading is made of, at most."""

REMEMBERED_SECONDS = 300.0
"""So long only the parts are asked for of what was too much; then the whole is tried again."""

MOST_REMEMBERED = 1000
"""Questions of all models together; one reading divides at most a dozen."""

_MOST_NAMED = 50
"""Pods that one question names, at most: it is part of an address, which proxies bound to some 8 KiB."""


@dataclass(frozen=True)
class Share:
    """A question for a part of the series."""

    names: tuple[str, ...]
    labels: Labels

    def parts(self, pods: ModelPods) -> "Iterator[Share]":
        """Smaller ones, which together ask for the same; none where it can't be divided."""
        if len(self.names) > 1:
            middle = len(self.names) // 2
            return (replace(self, names=names) for names in (self.names[:middle], self.names[middle:]))
        for label in (contract.REVISION, TARGET_POD):
            values = self._values(label, pods)
            if len(values) > 1:
                return self._by(label, values)
        return iter(())

    @property
    def question(self) -> str:
        """What is asked, whenever it is."""
        return repr((self.names, sorted(self.labels.items())))

    def _values(self, label: str, pods: ModelPods) -> tuple[str, ...]:
        wanted = self.labels.get(label)
        if isinstance(wanted, AnyOf):
            return wanted.values
        return self._scraped(pods) if label == TARGET_POD and wanted is None else ()

    def _by(self, label: str, values: tuple[str, ...]) -> "Iterator[Share]":
        size = (len(values) + 1) // 2
        if label == TARGET_POD:
            size = min(size, _MOST_NAMED)
        for at in range(0, len(values), size):
            yield replace(self, labels={**self.labels, label: AnyOf(values[at : at + size])})

    def _scraped(self, pods: ModelPods) -> tuple[str, ...]:
        """The model's pods that tell these series; those of others do not count."""
        revision = self.labels.get(contract.REVISION, "")
        revisions = revision.values if isinstance(revision, AnyOf) else (revision,)
        found = set[str]()
        if not OF_RUNTIMES.issuperset(self.names):
            found |= pods.routers
        if not OF_RUNTIMES.isdisjoint(self.names) or contract.STARTED in self.names:
            found = found.union(*(pods.serving.get(each, ()) for each in revisions if isinstance(each, str)))
        return tuple(sorted(found))


Ask = Callable[[Share], Awaitable[Sequence[Series]]]


@dataclass
class TooLarge:
    """Questions that were too much for one answer, of all models: each names its own."""

    clock: Callable[[], float] = time.monotonic
    _until: "OrderedDict[str, float]" = field(default_factory=OrderedDict)

    def __contains__(self, share: Share) -> bool:
        return self._until.get(share.question, -math.inf) > self.clock()

    def add(self, share: Share) -> None:
        """It was divided just now. Those that are over go, and of too many the oldest."""
        now = self.clock()
        if share in self:
            return
        self._until.pop(share.question, None)
        self._until[share.question] = now + REMEMBERED_SECONDS
        while len(self._until) > MOST_REMEMBERED or next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)


async def read_in_shares(ask: Ask, whole: Share, pods: ModelPods, too_large: TooLarge) -> tuple[Series, ...]:
    """The series of `whole`, one share after another. Raises TooMuchData where it is too much even so."""
    waiting, found, shares = [whole], list[Series](), 0
    while waiting:  # each question is answered or becomes several, and there are at most MOST_SHARES of those
        share = waiting.pop()
        why = TooMuchData("Prometheus had more to say than is read at once, some minutes ago.")
        if share not in too_large:
            try:
                found += await ask(share)
                shares += 1
                continue
            except TooMuchData as error:
                why = error
        parts = list(share.parts(pods))
        if not parts or shares + len(waiting) + len(parts) > MOST_SHARES:
            raise why
        too_large.add(share)
        waiting += parts
    return tuple(found)
