"""Prometheus: raw samples of the counters that decisions are made of, and sums over pods for drift.

Called by `observe` and `background`. Answers are checked with pydantic and handed to `core.statistics.counters` as they
are.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import httpx
import numpy as np
from pydantic import BaseModel, Field, ValidationError

from headgate.api.contract import STARTED
from headgate.core.statistics.counters import Series
from headgate.core.statistics.difference import Floats
from headgate.edges.promql import Labels, gained, selector
from headgate.errors import MetricsError

QUERY_TIMEOUT = 5.0
"""Seconds for one query."""

LOOK_BACK = 60.0
"""Seconds before the cursor that are read too, for each series' last sample before it."""


class MetricsSource(Protocol):
    """What Headgate needs of a Prometheus."""

    async def now(self) -> float:
        """Prometheus' own time, in seconds since the epoch: ours may be off. Raises MetricsError."""

    async def samples(
        self,
        metrics: tuple[str, ...],
        labels: Labels,
        now: float,
        since: float | None,
        look_back: float = LOOK_BACK,
    ) -> tuple[Series, ...]:
        """Raw samples of all series of `metrics` with `labels`, from `look_back` seconds before `since` to `now`.

        `since` None: before `now`. Raises MetricsError.
        """

    async def largest(self, metric: str, labels: Labels, by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """Largest current value of `metric` for each value of the labels `by`: what each pod says of the same thing.

        Raises MetricsError.
        """

    async def gains(
        self, metric: str, whose: Labels, more: Labels, by: tuple[str, ...], ends: Sequence[float], seconds: float
    ) -> dict[tuple[str, ...], Floats]:
        """Rows that all pods of `whose` counted in the `seconds` before each of `ends`, which are as far apart.

        By the values of the labels `by`; `more` chooses among the counters. Raises MetricsError.
        """


_Number = Annotated[float, Field(allow_inf_nan=False)]
"""Counters are numbers; Prometheus writes their values as text."""


class _Result(BaseModel):
    metric: dict[str, str]
    value: tuple[_Number, _Number] | None = None
    values: list[tuple[_Number, _Number]] = []


class _Data(BaseModel):
    resultType: Literal["matrix", "vector", "scalar", "string"]  # noqa: N815
    result: list[_Result] = []


class _Scalar(BaseModel):
    result: tuple[_Number, _Number]


LONGEST_RANGE = 6 * 3600.0
"""Seconds; older samples are not asked for."""


class Prometheus:
    """`MetricsSource` over Prometheus' HTTP API."""

    def __init__(
        self, url: str, client: httpx.AsyncClient | None = None, matchers: Mapping[str, str] | None = None
    ) -> None:
        """`matchers` are labels that every series must have, such as the cluster's, where several are in one view."""
        self.url = url.rstrip("/")
        self._matchers = dict(matchers or {})
        self._client = client or httpx.AsyncClient(timeout=QUERY_TIMEOUT)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def samples(
        self,
        metrics: tuple[str, ...],
        labels: Labels,
        now: float,
        since: float | None,
        look_back: float = LOOK_BACK,
    ) -> tuple[Series, ...]:
        """See `MetricsSource`."""
        span = look_back if since is None else min(now - since + look_back, LONGEST_RANGE)
        data = await self._query(f"{self._selector(metrics, labels)}[{max(1, math.ceil(span))}s]", at=now)
        return tuple(Series(r.metric, tuple(r.values)) for r in data.result)

    async def largest(self, metric: str, labels: Labels, by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """See `MetricsSource`."""
        data = await self._query(f"max by ({', '.join(by)}) ({self._selector((metric,), labels)})")
        return {tuple(r.metric.get(b, "") for b in by): r.value[1] for r in data.result if r.value}

    async def gains(
        self, metric: str, whose: Labels, more: Labels, by: tuple[str, ...], ends: Sequence[float], seconds: float
    ) -> dict[tuple[str, ...], Floats]:
        """See `MetricsSource`."""
        expression = gained(metric, STARTED, {**whose, **self._matchers}, more, by, seconds)
        found = dict[tuple[str, ...], Floats]()
        for result in (await self._range(expression, ends[0], ends[-1], max(1.0, seconds))).result:
            points = found.setdefault(tuple(result.metric.get(b, "") for b in by), np.zeros(len(ends)))
            for at, value in result.values:
                place = round((at - ends[0]) / max(1.0, seconds))
                if 0 <= place < len(ends):
                    points[place] = value
        return found

    def _selector(self, metrics: tuple[str, ...], labels: Labels) -> str:
        return selector(metrics, {**labels, **self._matchers})

    async def _range(self, expression: str, start: float, end: float, step: float) -> _Data:
        parameters = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        try:
            return _Data.model_validate(await self._raw("query_range", parameters))
        except ValidationError as error:
            raise MetricsError(f"{self.url} gave an answer that is none: {error.errors()[0]['msg']}.") from error

    async def now(self) -> float:
        """See `MetricsSource`."""
        try:
            return _Scalar.model_validate(await self._raw("query", {"query": "time()"})).result[0]
        except ValidationError as error:
            raise MetricsError(f"{self.url} gave no time.") from error

    async def _query(self, expression: str, at: float | None = None) -> _Data:
        parameters = {"query": expression, **({"time": f"{at:.3f}"} if at else {})}
        try:
            return _Data.model_validate(await self._raw("query", parameters))
        except ValidationError as error:
            raise MetricsError(f"{self.url} gave an answer that is none: {error.errors()[0]['msg']}.") from error

    async def _raw(self, endpoint: str, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            response = await self._client.get(f"{self.url}/api/v1/{endpoint}", params=parameters)
            body = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            cause = str(error) or type(error).__name__
            raise MetricsError(f"Prometheus at {self.url} can't be asked ({cause}).") from error
        if not isinstance(body, dict) or body.get("status") != "success" or not isinstance(body.get("data"), dict):
            detail = body.get("error", response.status_code) if isinstance(body, dict) else response.status_code
            raise MetricsError(f"Prometheus at {self.url} refused the query: {detail}.")
        data: dict[str, Any] = body["data"]
        return data
