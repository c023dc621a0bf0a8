"""Asks the queries of `spec.rollout.signals`. Called by `observe` when there are new samples of routers.

What text a query has is its user's own business, so nothing of what goes wrong here is an error: a signal that can't be
read says why, and holds its own rollout. `core.user_queries` says which queries are asked, and what may be told.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from headgate.core.signals.signal import Comparison, Signal
from headgate.core.statistics.counters import TARGET_NAMESPACE
from headgate.core.user_queries import MOST_BYTES, Answer, Asked, answer_of, number_of, reads_others
from headgate.errors import MetricsError, TooMuchData

SECONDS = 2.0
"""For all queries of one model: so long a rollback for other reasons may wait for them."""

MOST_AT_ONCE = 4
"""Queries of users, of all models together."""

MOST_REMEMBERED = 1000
"""Queries that were parsed before, and may be asked."""

NOT_ALLOWED = "this installation does not ask users' queries (userSignals.enabled of the chart)"


class AnswerSource(Protocol):
    """What is needed of a Prometheus."""

    async def answer(self, endpoint: str, parameters: Mapping[str, str], most: int) -> tuple[int, bytes]:
        """HTTP status and body. Raises MetricsError, TooMuchData beyond `most` bytes."""


@dataclass
class UserSignals:
    """The queries of all models. Belongs to one event loop."""

    source: AnswerSource | None = None
    """None: they are not allowed."""
    matchers: Mapping[str, str] = field(default_factory=dict)
    """Labels that every selector has to have besides the namespace: where Prometheus shows more than this cluster."""
    _may_be_asked: "OrderedDict[tuple[str, str], None]" = field(default_factory=OrderedDict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))

    async def ask(
        self, signals: Iterable[Signal[Any, Any]], namespace: str, compared: Comparison, at: float
    ) -> dict[str, Asked]:
        """By the name of each signal what its queries say at a time by Prometheus' clock."""
        until = asyncio.get_running_loop().time() + SECONDS
        wanted = list(signals)
        found = await asyncio.gather(*(self._ask(each, namespace, compared, at, until) for each in wanted))
        return {signal.name: asked for signal, asked in zip(wanted, found, strict=True)}

    async def _ask(
        self, signal: Signal[Any, Any], namespace: str, compared: Comparison, at: float, until: float
    ) -> Asked:
        if self.source is None:
            return Asked(at, trouble=NOT_ALLOWED)
        try:
            async with asyncio.timeout_at(until):
                answers = [await self._answer(self.source, query, namespace, at) for query in signal.queries]
        except TimeoutError:
            return Asked(at, trouble=f"Prometheus did not answer within {SECONDS:g} seconds")
        except TooMuchData:
            return Asked(at, trouble=f"its answer is longer than {MOST_BYTES >> 10} KiB")
        except MetricsError as error:
            return Asked(at, trouble=str(error).rstrip("."))
        revisions = [compared.candidate, *([compared.stable] if signal.about_stable else [])]
        numbers = [[number_of(answer, revision, namespace) for answer in answers] for revision in revisions]
        if trouble := next((each for of_one in numbers for each in of_one if isinstance(each, str)), ""):
            return Asked(at, trouble=trouble)
        candidate, *stable = (tuple(float(each) for each in of_one) for of_one in numbers)
        return Asked(at, candidate, stable[0] if stable else ())

    async def _answer(self, source: AnswerSource, query: str, namespace: str, at: float) -> Answer:
        async with self._slots:
            if trouble := await self._refused(source, query, namespace):
                return Answer(trouble=trouble)
            parameters = {"query": query, "time": f"{at:.3f}", "timeout": f"{SECONDS:g}s"}
            return answer_of(*await source.answer("query", parameters, MOST_BYTES))

    async def _refused(self, source: AnswerSource, query: str, namespace: str) -> str:
        """Why it may not be asked, if so. A query that may is parsed once."""
        known = self._may_be_asked
        if (query, namespace) in known:
            known.move_to_end((query, namespace))
            return ""
        wanted = {**self.matchers, TARGET_NAMESPACE: namespace}
        trouble = reads_others(*await source.answer("parse_query", {"query": query}, MOST_BYTES), wanted)
        if not trouble:
            known[query, namespace] = None
            if len(known) > MOST_REMEMBERED:
                known.popitem(last=False)
        return trouble
