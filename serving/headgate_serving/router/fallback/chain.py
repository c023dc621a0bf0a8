"""One request down the chain: who is asked, for how long, and what is counted.

The agent tells it what the spec says (`follow`); `rest` and `grpc` ask it for each request that stable failed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter

from headgate.api import contract
from headgate.api.policy import Fallback
from headgate_serving.router.fallback.static import StaticResponder

Outcome = Literal["answered", "refused", "failed", "late"]
OUTCOMES: tuple[Outcome, ...] = ("answered", "refused", "failed", "late")
T = TypeVar("T")

NOBODY = "none"
"""The label `fallback` of requests that no fallback answered."""

LEFT_UNSAID = 0.25
"""Seconds for a request of which Envoy doesn't say how long it waits."""

KEPT = 0.4
LEAST_KEPT = 0.06
MOST_KEPT = 2 / 3
"""Of the time that Envoy waits, a part and at least so many seconds are kept for a static answer and for its way, but
never more than the last part. With what Envoy waits longer than `timeout` (`budget.whole_ms`), the answer is meant to
be there shortly before `timeout`, and as much as is kept may go wrong."""

READ_PER_SECOND = 32 << 20
"""Bytes of a request for which the static answer is made. To read a large one takes longer than is kept."""

LEAST_SECONDS = 0.002
"""Least time that a model of the chain gets."""


class Unanswered(Exception):
    """A model of the chain gave no answer."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome: Outcome = outcome


def for_models(waits: float) -> float:
    """Seconds that the models have in all, where Envoy waits `waits` seconds for whoever answers."""
    return waits - min(MOST_KEPT * waits, max(LEAST_KEPT, KEPT * waits))


class Chain:
    """The models and the static answer that the policy names now."""

    def __init__(self, namespace: str, model: str, registry: CollectorRegistry) -> None:
        self.model = model
        self._answers = Counter(
            "headgate_fallback",
            "Requests that stable could not answer, by who was asked instead and what came of it",
            (contract.NAMESPACE, contract.MODEL, "fallback", "outcome"),
            registry=registry,
        )
        self._whose = (namespace, model)
        self._fallback = Fallback()
        self.static: StaticResponder | None = None

    def follow(self, fallback: Fallback) -> None:
        """What the spec says now. Its counters are there before there is anything to count."""
        if fallback == self._fallback:
            return
        self.static = StaticResponder(fallback.static) if fallback.static else None
        self._fallback = fallback
        for name in (*fallback.models, *((fallback.static.name,) if fallback.static else ()), NOBODY):
            for outcome in OUTCOMES:
                self._answers.labels(*self._whose, name, outcome)

    def count(self, name: str, outcome: Outcome) -> None:
        """Count that a fallback was asked, and the outcome."""
        self._answers.labels(*self._whose, name, outcome).inc()

    async def first(self, deadline: float, ask: Callable[[str, float], Awaitable[T]]) -> tuple[T | None, list[str]]:
        """The first answer of a model before the loop's time is `deadline`, and why there was none of those before it.

        `ask` gets a model's name and the seconds that it has; Unanswered is its way to say no. Each model gets an equal
        part of what is left when it is its turn.
        """
        loop = asyncio.get_running_loop()
        models, why = self._fallback.models, list[str]()
        for number, name in enumerate(models):
            seconds = max(LEAST_SECONDS, (deadline - loop.time()) / (len(models) - number))
            try:
                async with asyncio.timeout(seconds):
                    answer = await ask(name, seconds)
            except TimeoutError:
                self.count(name, "late")
                why.append(f"{name}: no answer within {1000 * seconds:.0f} ms")
            except Unanswered as no:
                self.count(name, no.outcome)
                why.append(f"{name}: {no}")
            else:
                self.count(name, "answered")
                return answer, why
        return None, why
