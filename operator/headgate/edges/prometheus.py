"""Prometheus: raw samples of the counters that decisions are made of, and totals for drift.

Called by `observe` and `background`. Answers are checked with pydantic and handed to `core.statistics.counters` as they
are.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

import httpx
from pydantic import BaseModel, Field, ValidationError

from headgate.core.statistics.counters import Series
from headgate.edges.promql import Labels, selector
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

    async def totals(self, metric: str, labels: Labels, by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """Current sum of `metric` for each value of the labels `by`. Raises MetricsError."""

    async def history(self, metric: str, labels: Labels, span: float, step: float) -> tuple[Series, ...]:
        """`metric` of each target at the full multiples of `step` seconds within the last `span`, and now.

        Raises MetricsError.
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


_Points = dict[tuple[tuple[str, str], ...], tuple[tuple[float, float], ...]]
"""Samples by labels."""


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
        self._past: dict[tuple[str, float, float], tuple[float, _Points]] = {}

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

    async def totals(self, metric: str, labels: Labels, by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """See `MetricsSource`."""
        data = await self._query(f"sum by ({', '.join(by)}) ({self._selector((metric,), labels)})")
        return {tuple(r.metric.get(b, "") for b in by): r.value[1] for r in data.result if r.value}

    async def history(self, metric: str, labels: Labels, span: float, step: float) -> tuple[Series, ...]:
        """See `MetricsSource`. The past does not change: it is read once for each step, and kept until the next."""
        now = await self.now()
        end = math.floor(now / step) * step
        selector = self._selector((metric,), labels)
        self._past = {asked: past for asked, past in self._past.items() if past[0] >= end - step}
        cached = self._past.get((selector, span, step))
        if cached is None or cached[0] != end:
            cached = (end, await self._range(selector, end - span, end, step))
            self._past[selector, span, step] = cached
        points = dict(cached[1])
        for result in (await self._query(selector, at=now)).result:
            if result.value and now > end:
                labels_of = tuple(sorted(result.metric.items()))
                points[labels_of] = (*points.get(labels_of, ()), (now, result.value[1]))
        return tuple(Series(dict(labels_of), samples) for labels_of, samples in points.items())

    def _selector(self, metrics: tuple[str, ...], labels: Labels) -> str:
        return selector(metrics, {**labels, **self._matchers})

    async def _range(self, expression: str, start: float, end: float, step: float) -> _Points:
        parameters = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        try:
            data = _Data.model_validate(await self._raw("query_range", parameters))
        except ValidationError as error:
            raise MetricsError(f"{self.url} gave an answer that is none: {error.errors()[0]['msg']}.") from error
        return {tuple(sorted(r.metric.items())): tuple(r.values) for r in data.result}

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
