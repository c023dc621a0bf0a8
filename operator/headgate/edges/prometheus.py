"""Prometheus: raw samples of the counters that decisions are made of, and sums over pods for drift.

Called by `observe` and `background`. Answers are checked with pydantic and handed to `core.statistics.counters` as they
are.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Literal, Protocol, TypeVar

import httpx
import numpy as np
from pydantic import BaseModel, Field, ValidationError

from headgate.api.contract import STARTED
from headgate.core.statistics.counters import Series
from headgate.core.statistics.difference import Floats
from headgate.edges.prometheus_access import Access, host_of
from headgate.edges.promql import Labels, gained, selector
from headgate.errors import MetricsError, TooMuchData

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


class _Success(BaseModel):
    status: Literal["success"]
    warnings: list[str] = []


class _Answer(_Success):
    data: _Data


class _Scalar(BaseModel):
    result: tuple[_Number, _Number]


class _Time(_Success):
    data: _Scalar


class _Refusal(BaseModel):
    status: Literal["error"]
    error: str = ""


_Shape = TypeVar("_Shape", bound=_Success)

Connect = Callable[..., httpx.AsyncClient]
"""Makes the client for an address, with httpx's options as keywords."""

MOST_BYTES = 8 << 20
"""Of one answer. Reading them takes the event loop a part of a second, and some hundred megabytes."""

_LONGEST_REASON = 200
"""Characters of what Prometheus says that a message repeats."""

LONGEST_RANGE = 6 * 3600.0
"""Seconds; older samples are not asked for."""


class Prometheus:
    """`MetricsSource` over Prometheus' HTTP API."""

    def __init__(self, access: Access, connect: Connect = lambda _, **options: httpx.AsyncClient(**options)) -> None:
        """`connect` makes the client for an address, with httpx's options; anew when certificates have changed."""
        self._access = access
        self._connect = connect
        self._clients: dict[str, tuple[tuple[float, ...], httpx.AsyncClient]] = {}
        self._urls = [url.rstrip("/") for url in access.urls]

    async def close(self) -> None:
        """Close all connections."""
        for _, client in self._clients.values():
            await client.aclose()

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
        return series_of((r.metric, r.values) for r in data.result)

    async def largest(self, metric: str, labels: Labels, by: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        """See `MetricsSource`."""
        data = await self._query(f"max by ({', '.join(by)}) ({self._selector((metric,), labels)})")
        return {tuple(r.metric.get(b, "") for b in by): r.value[1] for r in data.result if r.value}

    async def gains(
        self, metric: str, whose: Labels, more: Labels, by: tuple[str, ...], ends: Sequence[float], seconds: float
    ) -> dict[tuple[str, ...], Floats]:
        """See `MetricsSource`."""
        expression = gained(metric, STARTED, {**whose, **self._access.matchers}, more, by, seconds)
        found = dict[tuple[str, ...], Floats]()
        for result in (await self._range(expression, ends[0], ends[-1], max(1.0, seconds))).result:
            points = found.setdefault(tuple(result.metric.get(b, "") for b in by), np.zeros(len(ends)))
            for at, value in result.values:
                place = round((at - ends[0]) / max(1.0, seconds))
                if 0 <= place < len(ends):
                    points[place] = value
        return found

    async def answer(self, endpoint: str, parameters: Mapping[str, str], most: int) -> tuple[int, bytes]:
        """HTTP status and body for a query that is not ours, from the first address that gives one: nothing is read
        into it. Raises MetricsError, TooMuchData beyond `most` bytes."""
        failures = list[MetricsError]()
        for url in list(self._urls):
            try:
                return await self._answer_of(url, endpoint, parameters, most)
            except TooMuchData:
                raise
            except MetricsError as error:
                failures.append(error)
        raise MetricsError(" ".join(map(str, failures)))

    def _selector(self, metrics: tuple[str, ...], labels: Labels) -> str:
        return selector(metrics, {**labels, **self._access.matchers})

    async def _range(self, expression: str, start: float, end: float, step: float) -> _Data:
        parameters = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return (await self._ask("query_range", parameters, _Answer)).data

    async def now(self) -> float:
        """See `MetricsSource`."""
        return (await self._ask("query", {"query": "time()"}, _Time)).data.result[0]

    async def _query(self, expression: str, at: float | None = None) -> _Data:
        parameters = {"query": expression, **({"time": f"{at:.3f}"} if at else {})}
        return (await self._ask("query", parameters, _Answer)).data

    async def _ask(self, endpoint: str, parameters: dict[str, str], shape: type[_Shape]) -> _Shape:
        """The answer of the first address that has one, which is the first one asked from now on."""
        failures = list[MetricsError]()
        for url in list(self._urls):
            try:
                answer = await self._ask_one(url, endpoint, parameters, shape)
            except TooMuchData:
                raise
            except MetricsError as error:
                failures.append(error)
                continue
            self._urls.sort(key=lambda each: each != url)
            return answer
        raise MetricsError(" ".join(map(str, failures)))

    async def _ask_one(self, url: str, endpoint: str, parameters: dict[str, str], shape: type[_Shape]) -> _Shape:
        host = host_of(url)
        status, body = await self._answer_of(url, endpoint, parameters, MOST_BYTES)
        try:
            answer = shape.model_validate_json(body)
        except ValidationError as error:
            raise MetricsError(_refusal(host, status, body, error)) from error
        if answer.warnings:
            raise MetricsError(f"Prometheus at {host} answered in part only: {answer.warnings[0][:_LONGEST_REASON]}.")
        return answer

    async def _answer_of(self, url: str, endpoint: str, parameters: Mapping[str, str], most: int) -> tuple[int, bytes]:
        host = host_of(url)
        try:
            return await self._body(url, endpoint, parameters, most)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise MetricsError(f"Prometheus at {host} can't be asked ({_cause(error, url, host)}).") from error

    async def _body(self, url: str, endpoint: str, parameters: Mapping[str, str], most: int) -> tuple[int, bytes]:
        """Status and body. What is too long is not read to its end."""
        body = bytearray()
        # Thanos would leave out what it can't reach, and call that a success.
        asked = {**parameters, "partial_response": "false"}
        client = await self._client(url)
        async with client.stream("GET", f"{url}/api/v1/{endpoint}", params=asked) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > most:
                    raise TooMuchData(f"Prometheus at {host_of(url)} has more to say than {_size(most)}.")
        return response.status_code, bytes(body)

    async def _client(self, url: str) -> httpx.AsyncClient:
        stamp = self._access.stamp()
        known = self._clients.get(url)
        if known and known[0] == stamp:
            return known[1]
        client = self._connect(url, **self._access.options(QUERY_TIMEOUT))
        self._clients[url] = stamp, client
        if known:
            await known[1].aclose()
        return client


def series_of(results: Iterable[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]) -> tuple[Series, ...]:
    """Each series once, its samples once and in the order of time, whatever a server between has made of them."""
    found = dict[tuple[tuple[str, str], ...], dict[float, float]]()
    for labels, values in results:
        found.setdefault(tuple(sorted(labels.items())), {}).update(values)
    return tuple(Series(dict(labels), tuple(sorted(samples.items()))) for labels, samples in found.items())


def _refusal(host: str, status: int, body: bytes, error: ValidationError) -> str:
    """What an answer says that is not what was asked for."""
    try:
        told = _Refusal.model_validate_json(body)
    except ValidationError:
        what = f"HTTP status {status}" if status != httpx.codes.OK else str(error.errors()[0]["msg"])
        return f"Prometheus at {host} gave an answer that is none: {what}."
    return f"Prometheus at {host} refused the query: {told.error[:_LONGEST_REASON] or status}."


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >> 20 else f"{count >> 10} KiB"


def _cause(error: Exception, url: str, host: str) -> str:
    """In words that hold nothing of the address but the host."""
    text = str(error) or type(error).__name__
    return text.replace(url, host)[:_LONGEST_REASON]
