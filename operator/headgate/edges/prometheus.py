"""Prometheus: raw samples of the counters that decisions are made of, and totals for drift.

`reconcile` asks; the answers are checked with pydantic and handed to `core.evidence.counters` as they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import httpx
from pydantic import BaseModel, Field, ValidationError

from headgate.core.evidence.counters import Series
from headgate.errors import MetricsError

QUERY_TIMEOUT = 5.0
"""Seconds for one query."""


@dataclass(frozen=True)
class Samples:
    """What Prometheus has, and its own time (seconds since the epoch) when it was asked."""

    now: float
    series: tuple[Series, ...]


class MetricsSource(Protocol):
    """What Headgate needs of a Prometheus."""

    async def samples(self, metrics: tuple[str, ...], labels: Mapping[str, str], since: float | None) -> Samples:
        """Raw samples of all series of `metrics` with `labels`, from a while before `since` (None: recent) to now.

        Raises MetricsError.
        """

    async def totals(self, metric: str, labels: Mapping[str, str], by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """Current sum of `metric` for each value of the labels `by`. Raises MetricsError."""


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


LOOK_BACK = 60.0
"""Seconds before the cursor that are read too, for each series' last sample before it."""

LONGEST_RANGE = 6 * 3600.0
"""Seconds; older samples are not asked for."""


class Prometheus:
    """`MetricsSource` over Prometheus' HTTP API."""

    def __init__(self, url: str, client: httpx.AsyncClient | None = None) -> None:
        self.url = url.rstrip("/")
        self._client = client or httpx.AsyncClient(timeout=QUERY_TIMEOUT)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def samples(self, metrics: tuple[str, ...], labels: Mapping[str, str], since: float | None) -> Samples:
        """See `MetricsSource`."""
        now = await self._now()
        span = LOOK_BACK if since is None else min(now - since + LOOK_BACK, LONGEST_RANGE)
        names = "|".join(metrics)
        selector = _selector({**labels}, name_pattern=names)
        data = await self._query(f"{selector}[{max(1, math.ceil(span))}s]", at=now)
        return Samples(now, tuple(Series(r.metric, tuple(r.values)) for r in data.result))

    async def totals(self, metric: str, labels: Mapping[str, str], by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """See `MetricsSource`."""
        data = await self._query(f"sum by ({', '.join(by)}) ({_selector(labels, name_pattern=metric)})")
        return {tuple(r.metric.get(b, "") for b in by): r.value[1] for r in data.result if r.value}

    async def _now(self) -> float:
        """Prometheus' own clock: ours may be off."""
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
            what = str(error) or type(error).__name__
            raise MetricsError(f"Prometheus at {self.url} can't be asked ({what}).") from error
        if not isinstance(body, dict) or body.get("status") != "success" or not isinstance(body.get("data"), dict):
            detail = body.get("error", response.status_code) if isinstance(body, dict) else response.status_code
            raise MetricsError(f"Prometheus at {self.url} refused the query: {detail}.")
        data: dict[str, Any] = body["data"]
        return data


def _selector(labels: Mapping[str, str], name_pattern: str) -> str:
    matchers = [f'__name__=~"{name_pattern}"'] + [
        f'{k}=~"{v}"' if "|" in v else f'{k}="{v}"' for k, v in labels.items()
    ]
    return "{" + ",".join(matchers) + "}"
